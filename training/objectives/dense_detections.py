"""Loss of dense detections (Eq. 11-19): target assignment by masks or by boxes, six terms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from panoptic_ros.classes import VOID
from panoptic_ros.errors import InputError
from panoptic_ros.geometry.boxes import box_iou
from panoptic_ros.methods.dense_detections.boxes import (
    absolute_boxes,
    dense_boxes,
    grid,
    location_probability,
    locations,
    query_boxes,
)

from ..ground_truth import GroundTruth, ground_truth_objects
from ..losses.cross_entropy import bootstrapped_cross_entropy
from .objective import Objective, weighted_total

# Stride of levelness, semantics and masks, and that of the first level.
QUARTER = 4
STRIDE = 8
# Assigned to a location without valid ground truth: it is left out of the loss.
IGNORE = -1


@dataclass(frozen=True)
class Settings:
    """Weights and choices of the loss; defaults are the paper's on Cityscapes.

    semantics: weight lambda of the semantic loss in Eq. 19, 1 for Cityscapes, 0.4 for COCO. bootstrap: share of the
        pixels, those with the largest loss, that it is the mean of.
    mask: weight of the explicit mask loss (Eq. 16), 0 = none.
    supervision: `masks`: a location is assigned to the object whose mask it is in. `boxes`: to the smallest box that it
        is in, and there is no mask loss (section 5.6, weakly supervised).
    regression_ranges: m_1 .. m_4 of Eq. 9, the largest offset that each level but the last regresses, in pixels; in
        half pixels where the network's `finest_stride` is 4, as its boxes are.
    focal_mean: the focal loss is normalised by the number of `locations`, as the paper says, or of `positives`, as in
        FCOS.
    prior_prob: initial score of every class at every location (RetinaNet's prior probability).
    """

    # Name before 0.1.0 -> name.
    renamed: ClassVar[dict[str, str]] = {"largest": "regression_ranges", "prior": "prior_prob"}

    semantics: float = 1.0
    bootstrap: float = 0.3
    mask: float = 1.0
    supervision: Literal["masks", "boxes"] = "masks"
    regression_ranges: tuple[float, float, float, float] = (64.0, 128.0, 256.0, 512.0)
    focal_mean: Literal["locations", "positives"] = "locations"
    prior_prob: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.bootstrap <= 1 or not 0 < self.prior_prob < 1:
            raise InputError(f"bootstrap is {self.bootstrap}, a share above 0 and up to 1; prior_prob is "
                             f"{self.prior_prob}, between 0 and 1")
        if list(self.regression_ranges) != sorted(self.regression_ranges) or len(self.regression_ranges) != 4:
            raise InputError(f"regression_ranges is {list(self.regression_ranges)}; it is four numbers that rise")


class DenseDetectionsObjective(Objective):
    """Eq. 11 to 19 on the outputs of `methods.dense_detections.Network`.

    Boxes are those of the masks. Crowds (things without an instance) and void are ignored by the box terms.
    """

    settings_type = Settings

    def initialise(self, seed: int) -> None:
        """Set the bias of the class logits so that every score is `prior_prob` (Lin et al. 2017)."""
        if isinstance(box_class := getattr(self.network, "box_class", None), nn.Conv2d):
            prior = self.settings.prior_prob
            nn.init.constant_(box_class.bias, -math.log((1 - prior) / prior))  # type: ignore[arg-type]

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """The terms of Eq. 19 and their weighted sum `total`.

        Raises InputError for a class id that the table does not have.
        """
        settings, is_thing = self.settings, self.is_thing
        class_map, instance_map = batch["class_map"].long(), batch["instance_map"].long()
        if bool(((class_map >= len(is_thing)) & (class_map != VOID)).any()):
            raise InputError(f"the truth has a class id beyond the {len(is_thing)} classes of the table")
        truth = ground_truth_objects(class_map, instance_map) if "class_logits" in outputs else None
        # With a finest stride of 4 its geometry is that of an image twice as large.
        if (factor := STRIDE * outputs["semantic_logits"].shape[2] // class_map.shape[1]) > 1:
            class_map = enlarged(class_map, factor)
            if truth is not None:
                truth = truth._replace(number=enlarged(truth.number, factor), box=truth.box * factor)
        quarter_classes = class_map[:, QUARTER // 2::QUARTER, QUARTER // 2::QUARTER]
        logits = F.interpolate(outputs["semantic_logits"], quarter_classes.shape[1:], mode="bilinear",
                               align_corners=False)
        terms = {"semantics": bootstrapped_cross_entropy(logits, quarter_classes, settings.bootstrap)}  # Eq. 15
        if truth is not None:
            terms.update(_box_terms(outputs, class_map, truth, is_thing, settings))
        return weighted_total(terms, {"semantics": settings.semantics, "mask": settings.mask})


def enlarged(maps: Tensor, factor: int) -> Tensor:
    """Nearest upsampling by a whole factor: (B, H, W) -> (B, factor H, factor W)."""
    return maps.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def _box_terms(outputs: dict[str, Tensor], class_map: Tensor, truth: GroundTruth, is_thing: Tensor,
               settings: Settings) -> dict[str, Tensor]:
    rows, columns = outputs["semantic_logits"].shape[2:]
    location, level = locations(rows, columns, class_map.device)
    quarter = grid(2 * rows, 2 * columns, QUARTER, class_map.device)
    assigned = assign(truth, location, class_map, is_thing, settings.supervision)  # (B, L)
    target = truth.box[assigned.clamp(min=0)]  # (B, L, 4)
    distance = offsets_to(target, location)
    positive = (assigned > 0) & in_range(distance.amax(2), level, settings.regression_ranges)
    box = absolute_boxes(location, outputs["offsets"])  # (B, 4, L)

    overlap = box_iou(box.transpose(1, 2)[positive], target[positive])
    positives = positive.sum().clamp(min=1)
    of_class = F.one_hot(thing_index(truth.class_id, is_thing)[assigned.clamp(min=0)], int(is_thing.sum()))
    focal = sigmoid_focal_loss(outputs["class_logits"], (of_class * positive[..., None]).transpose(1, 2).float())
    valid = assigned != IGNORE
    terms = {
        "box_reg": -overlap.clamp(min=1e-6).log().sum() / positives,  # Eq. 11
        "center": F.binary_cross_entropy_with_logits(outputs["centerness"][positive], centerness(distance[positive]),
                                                     reduction="sum") / positives,  # Eq. 12
        "box_cls": (focal * valid[:, None]).sum() / (
            valid.sum().clamp(min=1) if settings.focal_mean == "locations" else positives)}
    if "levelness" in outputs or (settings.mask and settings.supervision == "masks"):
        quarter_assigned = assign(truth, quarter, class_map, is_thing, settings.supervision)
    if "levelness" in outputs:
        level_target = levelness_target(quarter_assigned, truth, quarter, settings.regression_ranges)
        errors = F.cross_entropy(outputs["levelness"].flatten(2), level_target, ignore_index=VOID, reduction="sum")
        terms["levelness"] = errors / (level_target != VOID).sum().clamp(min=1)  # Eq. 13
    if settings.mask and settings.supervision == "masks":
        terms["mask"] = _mask_term(outputs, box, level, torch.where(positive, assigned, 0), quarter_assigned, truth)
    return terms


def assign(truth: GroundTruth, points: Tensor, class_map: Tensor, is_thing: Tensor, supervision: str) -> Tensor:
    """Target assignment: the object of each of P points (P, 2), x and y, in each image: (B, P) int64, 0 = background.

    IGNORE where there is no valid ground truth: void, things without an instance, points beyond the image.
    """
    height, width = class_map.shape[1:]
    x, y = points.long().unbind(1)
    beyond = (x >= width) | (y >= height)
    x, y = x.clamp(max=width - 1), y.clamp(max=height - 1)
    assigned = truth.number[:, y, x] if supervision == "masks" else _smallest_boxes(truth, points, len(class_map))
    # Classes that are ignored where there is no instance: things and, up to 255, void.
    ignored = torch.ones(VOID + 1, dtype=torch.bool, device=class_map.device)
    ignored[:len(is_thing)] = is_thing
    return torch.where(beyond | (assigned == 0) & ignored[class_map[:, y, x]], IGNORE, assigned)


def _smallest_boxes(truth: GroundTruth, points: Tensor, images: int) -> Tensor:
    """The object with the smallest box around each point, (images, P); 0 = none."""
    width, height = (truth.box[:, 2:] - truth.box[:, :2]).T
    size = width * height
    size[0] = math.inf
    inside = ((points[:, None] >= truth.box[:, :2]) & (points[:, None] < truth.box[:, 2:])).all(2)  # (P, G + 1)
    here = truth.image == torch.arange(images, device=points.device)[:, None]  # (B, G + 1)
    smallest, assigned = torch.where(inside & here[:, None], size, math.inf).min(2)
    return torch.where(smallest < math.inf, assigned, 0)


def offsets_to(box: Tensor, location: Tensor) -> Tensor:
    """Eq. 8: boxes (B, L, 4) and locations (L, 2) -> l, t, r, b (B, L, 4)."""
    return torch.cat([location - box[..., :2], box[..., 2:] - location], -1)


def in_range(max_offset: Tensor, level: Tensor, regression_ranges: tuple[float, ...]) -> Tensor:
    """Eq. 9: whether `max_offset` (B, L), max(l, t, r, b), is in the regression range of the location's level (L,)."""
    limits = torch.tensor([-1.0, *regression_ranges, math.inf], device=max_offset.device)
    return (limits[level] <= max_offset) & (max_offset <= limits[level + 1])


def levelness_target(assigned: Tensor, truth: GroundTruth, points: Tensor,
                     regression_ranges: tuple[float, ...]) -> Tensor:
    """The level 1..5 that Eq. 9 gives the box at each point, 0 = background, 255 = ignore; assigned (B, P) -> (B, P).

    Where the ranges of two levels meet, the finer one.
    """
    max_offset = offsets_to(truth.box[assigned.clamp(min=0)], points).amax(2)
    level = torch.bucketize(max_offset, torch.tensor(regression_ranges, device=max_offset.device)) + 1
    return torch.where(assigned > 0, level, torch.where(assigned == IGNORE, VOID, 0))


def centerness(offsets: Tensor) -> Tensor:
    """Centerness, Eq. 10, of l, t, r, b (M, 4) -> (M,) in [0, 1]."""
    across, down = offsets[:, 0::2], offsets[:, 1::2]
    ratio = across.amin(1) / across.amax(1) * (down.amin(1) / down.amax(1))
    return ratio.clamp(min=0).sqrt()


def thing_index(class_id: Tensor, is_thing: Tensor) -> Tensor:
    """Class ids of things (N,) -> 0..T-1, the rows of the box class logits; of other classes it means nothing."""
    return (is_thing.cumsum(0) - 1).clamp(min=0)[class_id.clamp(max=len(is_thing) - 1)]


def _mask_term(outputs: dict[str, Tensor], box: Tensor, level: Tensor, assigned: Tensor, quarter_assigned: Tensor,
               truth: GroundTruth) -> Tensor:
    """Eq. 16, over the query boxes of all images whose location has a target; assigned (B, L), 0 where it has none."""
    rows, columns = outputs["semantic_logits"].shape[2:]
    levelness = outputs.get("levelness")
    errors = []
    for b in range(len(box)):
        query, _, _, index = query_boxes(box[b].detach(), outputs["class_logits"][b].detach(),
                                         outputs["centerness"][b].detach(), level, 0.0, 0.6, 100,
                                         (STRIDE * rows, STRIDE * columns))
        has_target = assigned[b, index] > 0
        dense = dense_boxes(box[b], None if levelness is None else levelness[b].detach(), 2 * rows, 2 * columns)
        errors.append(mask_errors(dense, query[has_target], assigned[b, index[has_target]], quarter_assigned[b],
                                  truth.box))
    every = torch.cat(errors)
    return every.mean() if len(every) else box.sum() * 0


def mask_errors(dense: Tensor, query: Tensor, target: Tensor, assigned: Tensor, target_box: Tensor) -> Tensor:
    """The terms of Eq. 16, one for each of J query boxes: beta_j / N_j (E_FP + E_FN), with Eq. 17 and 18.

    dense (K, 4, h, w) boxes of the pixels, query (J, 4), target (J,) the object of each query, assigned (h w,) the
    object of each pixel, or IGNORE, target_box (G + 1, 4). The gradient is that of the pixels' boxes alone, which shall
    agree with the query boxes and not the other way round.
    """
    weight = box_iou(query, target_box[target])
    boxes = dense.flatten(2).transpose(1, 2)  # (K, P, 4)
    size = (assigned[:, None] == target).sum(0)
    # A pixel whose boxes do not intersect the query box has an IoU of 0 and no gradient: wrong if it is in the mask,
    # and counted above. Only of the others, a few per cent of all pairs, the IoU is computed.
    intersects = _intersect(boxes.detach(), query) & (assigned != IGNORE)[:, None]
    pixel, j = intersects.nonzero(as_tuple=True)
    overlap = location_probability(boxes[:, pixel], query[j])
    change = torch.where(assigned[pixel] == target[j], -overlap, overlap)
    return weight / size.clamp(min=1) * (size + torch.zeros_like(weight).index_add(0, j, change))


def _intersect(boxes: Tensor, query: Tensor) -> Tensor:
    """Whether any of the K boxes of each pixel (K, P, 4) intersects each query box (J, 4): (P, J) bool."""
    x0, y0, x1, y1 = boxes[..., None].unbind(2)
    qx0, qy0, qx1, qy1 = query.T
    return ((x0 < qx1) & (x1 > qx0) & (y0 < qy1) & (y1 > qy0)).any(0)
