"""Masks from dense boxes without parameters (section 3.2): which pixels are in the mask of which query box."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptic_ros.methods.dense_detections.boxes import location_probability

# Side of a tile of pixels: a query box that cannot match any pixel of a tile is ruled out for all of them at once.
TILE = 8
# Pairs of a tile and a query box that are compared at once: on a CPU what fits into its cache, on a GPU what bounds
# memory.
PAIRS_AT_ONCE = {"cpu": 1 << 10, "cuda": 1 << 16}
# Above what rounding can lift a comparison of boxes over its bound.
ROUNDING = 1e-4


def mask_pixels(dense: Tensor, semantic: Tensor, query: Tensor, query_class: Tensor, sigma: float,
                giou: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The masks of Eq. 7, one entry for each pixel of each mask: pixel (E,), query box (E,), probability (E,) of Eq. 5.

    dense: (K, 4, h, w) boxes of the pixels, h and w multiples of 8. semantic: (C, h, w) probabilities. query: (J, 4),
    of the classes query_class (J,). A pixel's number is y w + x.

    The same as comparing every pixel with every query box: a tile of pixels is compared with those query boxes that an
    upper bound of Eq. 5 does not rule out, which are a few of hundreds.
    """
    classes, class_row = query_class.unique(return_inverse=True)
    boxes, probability = _tiles(dense), _tiles(semantic[classes])
    pixel_number = _tiles(torch.arange(semantic[0].numel(), device=dense.device).view(semantic.shape[1:]))
    bound = _largest_probability(boxes, (probability > sigma).any(0), query) * probability.amax(2)[class_row].T
    tile, query_index = (bound > sigma).nonzero(as_tuple=True)
    entries = []
    count = PAIRS_AT_ONCE[dense.device.type]
    for t, j in zip(tile.split(count), query_index.split(count), strict=True):
        location = location_probability(boxes.index_select(2, t).movedim(1, 3), query[j, None], giou)
        mask = location * probability.flatten(0, 1)[class_row[j] * len(pixel_number) + t]  # Eq. 5, (pairs, pixels)
        inside = mask > sigma  # Eq. 7
        pair = inside.nonzero()[:, 0]
        entries.append((pixel_number[t][inside], j[pair], mask[inside]))
    pixel, assigned, score = (torch.cat(column) for column in zip(*entries, strict=True))
    return pixel, assigned, score


def _tiles(maps: Tensor) -> Tensor:
    """(..., h, w) -> (..., N, pixels) of the N tiles, each row by row."""
    *leading, height, width = maps.shape
    down, across = height // TILE, width // TILE
    return maps.view(*leading, down, TILE, across, TILE).transpose(-3, -2).reshape(*leading, down * across, TILE**2)


def _largest_probability(boxes: Tensor, possible: Tensor, query: Tensor) -> Tensor:
    """An upper bound of P_loc between the query boxes (J, 4) and the possible pixels (N, pixels) of each tile: (N, J).

    boxes (K, 4, N, pixels). The intersection of a pixel's box with a query box is at most that of the box that encloses
    all boxes of the tile, its area at least that of the smallest of them. The bound holds for both mask scores, as
    (I + 1) / (U + 1) is above I / U.
    """
    infinity = torch.tensor(torch.inf, device=boxes.device)
    x0, y0 = torch.where(possible, boxes[:, :2], infinity).amin(3)[..., None].unbind(1)  # (K, N, 1)
    x1, y1 = torch.where(possible, boxes[:, 2:], -infinity).amax(3)[..., None].unbind(1)
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    area = torch.where(possible, width * height, infinity).amin(2)[..., None]
    qx0, qy0, qx1, qy1 = query.T
    intersection = ((torch.minimum(x1, qx1) - torch.maximum(x0, qx0)).clamp(min=0)
                    * (torch.minimum(y1, qy1) - torch.maximum(y0, qy0)).clamp(min=0))
    union = area + (qx1 - qx0) * (qy1 - qy0) - intersection
    return ((intersection + 1) / (union + 1)).amax(0) + ROUNDING
