"""Test-time augmentation of the two-stage network: detections and semantics of an image and its mirror image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from panoptic_ros.errors import InputError
from panoptic_ros.methods.all_scales.boxes import suppressed
from panoptic_ros.networks.test_time_augmentation import AugmentedOutputs, augmented

# IoU from which detections of a class, of the image and of its mirror image, are of one object.
SAME_OBJECT_IOU = 0.5


def test_time_augmentation(network: Callable[[Tensor], dict[str, Tensor]], image: Tensor, scales: Sequence[float],
                           flip: bool, stride: int) -> dict[str, Tensor]:
    """See `panoptic_ros.methods.AugmentedNetwork`.

    Semantic logits and features are averaged; of the detections of both images the best remain, as many as one image
    has. Raises InputError for scales: the network has anchors for one size of the image.
    """
    if tuple(scales) != (1.0,):
        raise InputError(f"scales are {list(scales)}, but the two-stage network finds objects of another size at "
                         "another level of its pyramid: it takes flip alone")
    plain, *mirrored = augmented(network, image, scales, flip, stride)
    if not mirrored:
        return plain.outputs
    outputs, other = plain.outputs, mirrored[0]
    merged: dict[str, Tensor] = {
        name: (outputs[name] + other.unmirrored(other.outputs[name], outputs[name].shape[3])) / 2
        for name in ("semantic_logits", "appearance") if name in outputs}
    if "box" in outputs:
        merged.update(_merged_detections(outputs, _unmirrored(other, image.shape[3])))
    return merged


def _unmirrored(mirrored: AugmentedOutputs, width: int) -> dict[str, Tensor]:
    """The detections of a mirror image in the image, which is `width` wide."""
    x0, y0, x1, y1 = mirrored.outputs["box"].unbind(2)
    return {**{name: mirrored.outputs[name] for name in ("thing", "score")},
            "box": torch.stack([width - x1, y0, width - x0, y1], 2),
            "mask_logits": mirrored.outputs["mask_logits"].flip(3)}


def _merged_detections(plain: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    """The best of two lists of D detections, D of each image."""
    both = {name: torch.cat([plain[name], other[name]], 1) for name in other}
    count = plain["score"].shape[1]
    largest = both["box"].amax() + 1
    rows = []
    for box, thing, score in zip(both["box"], both["thing"], both["score"], strict=True):
        row, real = suppressed(box + (thing * largest)[:, None], score, SAME_OBJECT_IOU, count)
        rows.append((row, real))
    index = torch.stack([row for row, _ in rows])
    real = torch.stack([kept for _, kept in rows])
    batch = torch.arange(len(index), device=index.device)[:, None]
    merged = {name: value[batch, index] for name, value in both.items()}
    merged["score"] = merged["score"] * real
    return merged
