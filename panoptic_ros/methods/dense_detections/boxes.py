"""Boxes of dense detections: locations, offsets, query boxes by NMS, dense boxes and their IoU with query boxes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from panoptic_ros.geometry.boxes import box_iou, generalized_box_iou
from panoptic_ros.networks.feature_pyramid import STRIDES, level_sizes, upsample

# Candidates of NMS per level, and the class score that they must be above, as in FCOS.
PRE_NMS_TOP_K = 1000
PRE_NMS_SCORE = 0.05
# IoU of the class-agnostic NMS that follows the one within each class: boxes of several classes on one object.
CLASS_AGNOSTIC_NMS_IOU = 0.97


def locations(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The L locations of all levels, level after level, row by row (section 4.1).

    height, width: of the first level. Returns x and y (L, 2) in pixels of the image, and the level 0..4 (L,).
    """
    grids = [grid(rows, columns, stride, device)
             for stride, (rows, columns) in zip(STRIDES, level_sizes(height, width), strict=True)]
    level = torch.arange(len(grids), device=device).repeat_interleave(
        torch.tensor([len(g) for g in grids], device=device), output_size=sum(map(len, grids)))
    return torch.cat(grids), level


def grid(rows: int, columns: int, stride: int, device: torch.device) -> Tensor:
    """x * stride + floor(stride / 2), and y likewise, of each cell of a map: (rows * columns, 2)."""
    y, x = (stride * torch.arange(n, device=device, dtype=torch.float32) + stride // 2 for n in (rows, columns))
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], 1)


def absolute_boxes(location: Tensor, offsets: Tensor) -> Tensor:
    """location (L, 2), offsets (..., 4, L) to left, top, right, bottom (Eq. 8) -> boxes (..., 4, L) x0, y0, x1, y1."""
    return torch.cat([location.T - offsets[..., :2, :], location.T + offsets[..., 2:, :]], -2)


def query_boxes(box: Tensor, class_logits: Tensor, centerness: Tensor, level: Tensor, score_threshold: float,
                nms_iou: float, max_boxes: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """B_query of Eq. 4: non-maximum suppression of an image's boxes, best first.

    box (4, L), class_logits (T, L), centerness (L,) logits, level (L,); size: height and width of the image, to which
    boxes are clipped; empty ones are dropped. Returns box (J, 4), class (J,) 0..T-1, score (J,) in (0, 1], which is the
    class's times the centerness, and location (J,), an index into L.
    """
    class_score = class_logits.sigmoid()
    score = class_score * centerness.sigmoid()
    classes, index = ((score > score_threshold) & (class_score > PRE_NMS_SCORE)).nonzero(as_tuple=True)
    best, order = score[classes, index].sort(descending=True, stable=True)
    classes, index = classes[order], index[order]
    # The top k of each level: a candidate's rank is how many better ones of its level there are.
    on_level = level[index][:, None] == torch.arange(len(STRIDES), device=box.device)
    in_top_k = (on_level.cumsum(0) * on_level).sum(1) <= PRE_NMS_TOP_K
    limit = torch.tensor([size[1], size[0], size[1], size[0]], device=box.device)[:, None]
    candidates = torch.minimum(box[:, index].clamp(min=0), limit).T
    valid = in_top_k & (candidates[:, 2] > candidates[:, 0]) & (candidates[:, 3] > candidates[:, 1])
    candidates, classes, index, best = candidates[valid], classes[valid], index[valid], best[valid]
    kept = batched_nms(candidates, best, classes, nms_iou)
    kept = kept[nms(candidates[kept], best[kept], CLASS_AGNOSTIC_NMS_IOU)][:max_boxes]
    return candidates[kept], classes[kept], best[kept], index[kept]


def dense_boxes(box: Tensor, levelness: Tensor | None, height: int, width: int) -> Tensor:
    """Dense boxes B(x, y) of Eq. 14 at a quarter of the image's size, as K maps (K, 4, h, w).

    box: (4, L) of all levels; levelness: (6, h, w) logits, of which the background is ignored, or None. height, width:
    h and w. With levelness there is one map, without there is one for each level (Eq. A21).
    """
    sizes = level_sizes(height // 2, width // 2)
    maps = [upsample(part.view(1, 4, *size), 2**(i + 1), (height, width)) for i, (part, size) in enumerate(
        zip(box.split([rows * columns for rows, columns in sizes], 1), sizes, strict=True))]
    if levelness is None:
        return torch.cat(maps)
    level = levelness[1:].max(0).indices  # several times as fast as argmax on a CPU
    chosen = maps[0]
    for i, of_level in enumerate(maps[1:], 1):
        chosen = torch.where(level == i, of_level, chosen)
    return chosen


def location_probability(dense: Tensor, query: Tensor, giou: bool = False) -> Tensor:
    """P_loc of Eq. 6, and of Eq. A23 where there are boxes of several levels, the largest over the levels.

    dense (K, ..., 4), query (..., 4), broadcast against each other -> (...). giou: GIoU in place of IoU, as in the
    published code.
    """
    measure = generalized_box_iou if giou else box_iou
    best = measure(dense[0], query)
    for boxes in dense[1:]:
        best = torch.maximum(best, measure(boxes, query))
    return best
