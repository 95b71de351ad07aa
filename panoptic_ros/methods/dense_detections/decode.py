"""Panoptic decode of dense detections: masks of the query boxes, then the merge of things and stuff."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.decoding.panoptic_merge import panoptic_merge
from panoptic_ros.decoding.segments import Decoded, DecodedImage, segments_of_cells
from panoptic_ros.errors import InputError
from panoptic_ros.methods.dense_detections.boxes import (
    absolute_boxes,
    dense_boxes,
    locations,
    query_boxes,
)
from panoptic_ros.methods.dense_detections.masks import mask_pixels
from panoptic_ros.settings import check_ranges, setting

MASK_SCORES = ("iou", "giou")


@dataclass(frozen=True)
class Thresholds:
    """Settings of the decode, the paper's where it has them."""

    # Name before 0.1.0 -> name.
    renamed: ClassVar[dict[str, str]] = {"suppression": "nms_iou", "instances": "max_instances"}

    score: float = setting(0.4, 0.0, 1.0, "box score threshold, of class score times centerness",
                           search=(0.1, 0.7))
    nms_iou: float = setting(0.6, 0.0, 1.0, "IoU threshold of the NMS within each class",
                                 search=(0.3, 0.8))
    mask: float = setting(0.3, 0.0, 1.0, "mask threshold sigma of Eq. 7, on the mask probability of a pixel",
                          search=(0.02, 0.6))
    overlap: float = setting(0.5, 0.0, 1.0, "an instance is dropped if better ones hide more than this share of it",
                             search=(0.2, 0.9))
    thing_area: int = setting(0, 0, 1 << 24, "smaller instances, in pixels of the output, become void", search=(8, 400))
    stuff_area: int = setting(0, 0, 1 << 24, "smaller stuff segments, in pixels of the output, become void",
                              search=(16, 4000))
    max_instances: int = setting(100, 1, 1000, "instances per image at most, those of the best boxes")
    mask_score: str = field(default="iou", metadata={
        "choices": MASK_SCORES, "description": "P_loc, by which the box of a pixel is compared with a query box: iou, "
        "as in the paper, or giou, as in its published code (there with a mask threshold of 0.4)"})

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.mask_score == "generalised":  # its name before 0.1.0
            object.__setattr__(self, "mask_score", "giou")
        if self.mask_score not in MASK_SCORES:
            raise InputError(f"mask_score is '{self.mask_score}'; it must be {' or '.join(MASK_SCORES)}")


def decode(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds,
           output_size: tuple[int, int], with_semantics: bool = False) -> Decoded:
    """Network outputs -> segments, on the device of the outputs.

    outputs: what `Network.forward` returns. is_thing: (C,) bool. output_size: (H, W). with_semantics: whether to make
    the semantic map, argmax of P_sem. Segments come as things, best box first, then stuff by class; they have no
    embedding.
    """
    names = list(outputs)
    return Decoded.of_images(_decode_one(dict(zip(names, image, strict=True)), is_thing, thresholds, output_size,
                                         with_semantics)
                             for image in zip(*outputs.values(), strict=True))


def _decode_one(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds,
                output_size: tuple[int, int], with_semantics: bool) -> DecodedImage:
    """One image: outputs without the dimension of the batch, the rest as in `decode`."""
    height, width = (2 * n for n in outputs["semantic_logits"].shape[1:])
    logits = F.interpolate(outputs["semantic_logits"][None], (height, width), mode="bilinear", align_corners=False)
    semantic = logits[0].softmax(0)  # P_sem of Eq. 2, (C, h, w)
    class_score, class_id = (values.flatten() for values in semantic.max(0))
    instance, score = torch.zeros_like(class_id), class_score
    thing_class = is_thing.nonzero()[:, 0]
    box_class, box_score = thing_class[:0], score[:0]
    if "class_logits" in outputs:
        query, box_class, box_score, dense = _queries(outputs, thresholds, height, width)
        box_class = thing_class[box_class]
        pixel, assigned, probability = mask_pixels(dense, semantic, query, box_class, thresholds.mask,
                                                   thresholds.mask_score == "giou")
        instance = panoptic_merge(pixel, assigned, len(instance), len(query), thresholds.overlap)
        visible = instance[pixel] == assigned + 1
        score = score.index_put((pixel[visible],), probability[visible])
    # What no instance took is stuff where stuff is the likeliest class, as one segment a class.
    return segments_of_cells(instance, box_class, box_score, class_id, class_score, score, is_thing, (height, width),
                             output_size, thresholds.thing_area, thresholds.stuff_area,
                             with_semantics=with_semantics)


def _queries(outputs: dict[str, Tensor], thresholds: Thresholds, height: int,
             width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Query boxes (J, 4), their class (J,) among the things and score (J,), and the dense boxes (K, 4, h, w)."""
    location, level = locations(height // 2, width // 2, outputs["offsets"].device)
    box = absolute_boxes(location, outputs["offsets"])
    query, box_class, score, _ = query_boxes(
        box, outputs["class_logits"], outputs["centerness"], level, thresholds.score, thresholds.nms_iou,
        thresholds.max_instances, (4 * height, 4 * width))
    return query, box_class, score, dense_boxes(box, outputs.get("levelness"), height, width)
