"""Panoptic decoding: the masks of the query boxes, then fusion of things and stuff."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.decoding.panoptic_merge import panoptic_merge
from panoptic_ros.decoding.segments import make_segments
from panoptic_ros.decoding.upsampling import upsample_labels
from panoptic_ros.errors import InputError
from panoptic_ros.methods.dense_detections.boxes import (
    absolute_boxes,
    dense_boxes,
    locations,
    query_boxes,
)
from panoptic_ros.methods.dense_detections.masks import mask_pixels
from panoptic_ros.segments import Segments
from panoptic_ros.settings import check_ranges, setting

MASK_SCORES = ("iou", "generalised")


@dataclass(frozen=True)
class Thresholds:
    """Settings of the decode, the paper's where it has them."""

    score: float = setting(0.4, 0.0, 1.0, "a box whose class score times centerness is above this is an instance",
                           search=(0.1, 0.7))
    suppression: float = setting(0.6, 0.0, 1.0, "of two boxes of a class with an IoU above this the better one stays",
                                 search=(0.3, 0.8))
    mask: float = setting(0.3, 0.0, 1.0, "sigma of Eq. 7: a pixel whose mask probability is above this is in the mask",
                          search=(0.02, 0.6))
    overlap: float = setting(0.5, 0.0, 1.0, "an instance of which better ones hide more than this share is left out",
                             search=(0.2, 0.9))
    thing_area: int = setting(0, 0, 1 << 24, "smaller instances, in pixels of the output, become void", search=(8, 400))
    stuff_area: int = setting(0, 0, 1 << 24, "smaller stuff segments, in pixels of the output, become void",
                              search=(16, 4000))
    instances: int = setting(100, 1, 1000, "boxes that become instances at most, the best ones")
    mask_score: str = field(default="iou", metadata={
        "choices": MASK_SCORES, "description": "how the box of a pixel is compared with that of an instance: iou, as "
        "in the paper, or generalised, as in its published code (there with a mask threshold of 0.4)"})

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.mask_score not in MASK_SCORES:
            raise InputError(f"mask_score is '{self.mask_score}'; it must be {' or '.join(MASK_SCORES)}")


def decode(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds,
           output_size: tuple[int, int]) -> tuple[Tensor, list[Segments[Tensor]]]:
    """Network outputs -> segment map (B, H, W) int32 and B Segments, on the device of the outputs.

    outputs: what `Network.forward` returns. is_thing: (C,) bool. output_size: (H, W). Segments come as things, best
    box first, then stuff by class; they have no embedding.
    """
    names = list(outputs)
    decoded = [_decode_one(dict(zip(names, image, strict=True)), is_thing, thresholds, output_size)
               for image in zip(*outputs.values(), strict=True)]
    segment_maps, rows = zip(*decoded, strict=True)
    return segment_maps[0][None] if len(rows) == 1 else torch.stack(segment_maps), list(rows)


def _decode_one(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds,
                output_size: tuple[int, int]) -> tuple[Tensor, Segments[Tensor]]:
    """One image: outputs without the dimension of the batch, the rest as in `decode`."""
    height, width = (2 * n for n in outputs["semantic_logits"].shape[1:])
    logits = F.interpolate(outputs["semantic_logits"][None], (height, width), mode="bilinear", align_corners=False)
    semantic = logits[0].softmax(0)  # P_sem of Eq. 2, (C, h, w)
    score, class_id = (values.flatten() for values in semantic.max(0))
    label = torch.zeros_like(class_id)
    thing_class = is_thing.nonzero()[:, 0]
    box_class, box_score = thing_class[:0], score[:0]
    if "class_logits" in outputs:
        query, box_class, box_score, dense = _queries(outputs, thresholds, height, width)
        box_class = thing_class[box_class]
        pixel, owner, probability = mask_pixels(dense, semantic, query, box_class, thresholds.mask,
                                                thresholds.mask_score == "generalised")
        label = panoptic_merge(pixel, owner, len(label), len(query), thresholds.overlap)
        first = label[pixel] == owner + 1
        score[pixel[first]] = probability[first]
    # What no instance took is stuff where stuff is the likeliest class, as one segment a class.
    stuff_label = torch.where(is_thing, 0, torch.cumsum(~is_thing, 0) + len(box_class))
    label = torch.where(label == 0, stuff_label[class_id], label)

    segment_class = torch.cat([box_class, (~is_thing).nonzero()[:, 0]])
    segment_is_thing = is_thing[segment_class]
    count = len(segment_class) + 1
    area = torch.zeros(count, device=score.device).scatter_add_(0, label, torch.ones_like(score))[1:]
    confidence = torch.zeros(count, device=score.device).scatter_add_(0, label, score)[1:] / area.clamp(min=1)
    confidence[:len(box_score)] = box_score

    smallest = torch.where(segment_is_thing, thresholds.thing_area, thresholds.stuff_area)
    pixels_per_cell = output_size[0] * output_size[1] / (height * width)
    kept = (area > 0) & (area * pixels_per_cell >= smallest)
    number = F.pad(kept.cumsum(0) * kept, (1, 0)).int()
    segment_map = number[label].view(height, width)
    if (height, width) != output_size:
        segment_map = upsample_labels(segment_map, score.view(height, width), output_size)
    return make_segments(segment_map, segment_class[kept], segment_is_thing[kept], confidence[kept], None)


def _queries(outputs: dict[str, Tensor], thresholds: Thresholds, height: int,
             width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query boxes (J, 4), their class (J,) among the things and score (J,), and the dense boxes (K, 4, h, w)."""
    location, level = locations(height // 2, width // 2, outputs["offsets"].device)
    box = absolute_boxes(location, outputs["offsets"])
    query, box_class, score, _ = query_boxes(
        box, outputs["class_logits"], outputs["centerness"], level, thresholds.score, thresholds.suppression,
        thresholds.instances, (4 * height, 4 * width))
    return query, box_class, score, dense_boxes(box, outputs.get("levelness"), height, width)
