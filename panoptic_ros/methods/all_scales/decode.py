"""Panoptic fusion of the two-stage network: masks pasted into the image, best first, then stuff (Seamless Scene
Segmentation, Porzi et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.decoding.panoptic_merge import panoptic_merge
from panoptic_ros.decoding.segments import Decoded, DecodedImage, segments_of_cells
from panoptic_ros.decoding.upsampling import upsample_labels
from panoptic_ros.settings import check_ranges, setting

# Of the grid that masks are pasted on, in pixels of the network's input; the semantic logits have twice as many.
STRIDE = 2
# Pixels of masks that are sampled at once: on a CPU what fits into its cache.
PIXELS_AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 24}


@dataclass(frozen=True)
class Thresholds:
    """Settings of the fusion; the paper's are the defaults, and a stuff_area of 4096."""

    score: float = setting(0.5, 0.0, 1.0, "score threshold of a detection", search=(0.2, 0.9))
    mask: float = setting(0.5, 0.0, 1.0, "mask threshold, on the mask probability of a pixel", search=(0.3, 0.7))
    overlap: float = setting(0.5, 0.0, 1.0, "an instance is dropped if better ones hide more than this share of it",
                             search=(0.2, 0.9))
    thing_area: int = setting(0, 0, 1 << 24, "smaller instances, in pixels of the output, become void",
                              search=(8, 400))
    stuff_area: int = setting(0, 0, 1 << 24, "smaller stuff segments, in pixels of the output, become void",
                              search=(16, 4000))

    def __post_init__(self) -> None:
        check_ranges(self)


def decode(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds,
           output_size: tuple[int, int], with_semantics: bool = False) -> Decoded:
    """Network outputs -> segments, on the device of the outputs.

    outputs: what `Network.forward` returns. is_thing: (C,) bool. output_size: (H, W). Segments come as things, best
    score first, then stuff by class; they have no embedding. Where a thing class is the likeliest and no instance has
    the pixel, it is void.
    """
    names = list(outputs)
    return Decoded.of_images(_decode_one(dict(zip(names, image, strict=True)), is_thing, thresholds, output_size,
                                         with_semantics)
                             for image in zip(*outputs.values(), strict=True))


def _decode_one(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds,
                output_size: tuple[int, int], with_semantics: bool) -> DecodedImage:
    logits = outputs["semantic_logits"]
    best, class_id = logits.max(0)
    class_score = 1 / (logits - best).exp().sum(0)
    size = (2 * logits.shape[1], 2 * logits.shape[2])
    # Classes as labels and not as logits: 19 maps at four times the pixels would take longer than all the rest.
    class_id = upsample_labels(class_id.to(torch.uint8), class_score, size).long().flatten()
    class_score = F.interpolate(class_score[None, None], size, mode="bilinear", align_corners=False).flatten()
    instance, score = torch.zeros_like(class_id), class_score
    thing_class = is_thing.nonzero()[:, 0]
    instance_class, instance_score = thing_class[:0], score[:0]
    if "box" in outputs:
        kept = (outputs["score"] > thresholds.score).nonzero()[:, 0]
        instance_score, order = outputs["score"][kept].sort(descending=True, stable=True)
        kept = kept[order]
        instance_class = thing_class[outputs["thing"][kept].long()]
        pixel, assigned, probability = paste_masks(outputs["mask_logits"][kept], outputs["box"][kept] / STRIDE, size,
                                                   thresholds.mask)
        instance = panoptic_merge(pixel, assigned, len(instance), len(kept), thresholds.overlap)
        visible = instance[pixel] == assigned + 1
        score = score.index_put((pixel[visible],), probability[visible])
    return segments_of_cells(instance, instance_class, instance_score, class_id, class_score, score, is_thing, size,
                             output_size, thresholds.thing_area, thresholds.stuff_area, with_semantics=with_semantics)


def paste_masks(logits: Tensor, box: Tensor, size: tuple[int, int],
                threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels of masks, one entry for each pixel of each mask: pixel (E,), instance (E,), probability (E,).

    logits: (J, m, m) over the boxes (J, 4), in pixels of a grid of this size (h, w). A pixel's number is y w + x; it is
    in the mask where the bilinearly sampled probability at its centre is above the threshold.
    """
    height, width = size
    limit = torch.tensor([width, height], device=box.device)
    # Pixels whose centre is inside the box.
    start = torch.minimum((box[:, :2] - 0.5).ceil().clamp(min=0), limit).long()
    end = torch.minimum((box[:, 2:] - 0.5).ceil().clamp(min=0), limit).long()
    across, down = (end - start).clamp(min=0).unbind(1)
    area = across * down
    probability = logits.sigmoid()
    entries = []
    # All pixels of all boxes in one row, which is gone through in parts of one length.
    last = area.cumsum(0)
    total = int(last[-1]) if len(last) else 0
    step = PIXELS_AT_ONCE[box.device.type]
    for first in range(0, max(total, 1), step):
        entry = torch.arange(first, min(first + step, total), device=box.device)
        j = torch.searchsorted(last, entry, right=True)
        place = entry - (last - area)[j]
        x, y = start[j, 0] + place % across[j], start[j, 1] + torch.div(place, across[j], rounding_mode="floor")
        value = _sample(probability, box, j, x, y)
        inside = value > threshold
        entries.append(((y * width + x)[inside], j[inside], value[inside]))
    pixel, instance, value = (torch.cat(column) for column in zip(*entries, strict=True))
    return pixel, instance, value


def _sample(maps: Tensor, box: Tensor, j: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bilinear samples (E,) of the maps (J, m, m), stretched over their boxes (J, 4), at the centres of pixels."""
    side = maps.shape[-1]
    flat = maps.flatten()
    scale = side / (box[:, 2:] - box[:, :2]).clamp(min=1e-6)
    u = ((x + 0.5 - box[j, 0]) * scale[j, 0] - 0.5).clamp(0, side - 1)
    v = ((y + 0.5 - box[j, 1]) * scale[j, 1] - 0.5).clamp(0, side - 1)
    u0, v0 = u.floor().clamp(max=side - 2), v.floor().clamp(max=side - 2)
    right, below = u - u0, v - v0
    corner = (j * side + v0.long()) * side + u0.long()
    upper = torch.lerp(flat[corner], flat[corner + 1], right)
    lower = torch.lerp(flat[corner + side], flat[corner + side + 1], right)
    return torch.lerp(upper, lower, below)
