"""Panoptic decode of EINet: peaks of a heatmap, thing pixels to the nearest centroid embedding (section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.decoding.peaks import greedy_suppression
from panoptic_ros.decoding.segments import Decoded, DecodedImage, segments_of_cells
from panoptic_ros.methods.einet.positions import located_embedding
from panoptic_ros.settings import check_ranges, setting

# Window of the max-pooling. The paper's 8 is even, which has no centre and would shift peaks.
KERNEL = 7
# Thing pixels that are compared with centroids at once.
PIXELS_AT_ONCE = {"cpu": 1 << 12, "cuda": 1 << 18}


@dataclass(frozen=True)
class Thresholds:
    """Settings of the decode; the paper's are the defaults, and on Cityscapes a stuff_area of 2048."""

    score: float = setting(0.3, 0.0, 1.0, "heatmap threshold: a local maximum above it is the centroid of an instance",
                           search=(0.05, 0.6))
    top_k: int = setting(30, 1, 1000, "instances of a class per image at most, those of the highest peaks")
    stuff: float = setting(0.0, 0.0, 1.0, "a pixel whose class probability is not above this is void, not stuff",
                           search=(0.0, 0.7))
    thing_area: int = setting(0, 0, 1 << 24, "smaller instances, in pixels of the output, become void",
                              search=(8, 400))
    stuff_area: int = setting(0, 0, 1 << 24, "smaller stuff segments, in pixels of the output, become void",
                              search=(16, 4000))

    def __post_init__(self) -> None:
        check_ranges(self)


def decode(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds,
           output_size: tuple[int, int], with_semantics: bool = False) -> Decoded:
    """Network outputs -> segments, on the device of the outputs.

    outputs: what `Network.forward` and `Network.decode_parameters` return. is_thing: (C,) bool. output_size: (H, W).
    Segments come as things, best score first, then stuff by class. An instance's score is its peak in the heatmap times
    the mean probability of its class in its mask; its embedding is that at its centroid, brought to unit length, and a
    stuff segment's is the semantic centre of its class.
    """
    names = [name for name in outputs if name != "class_center"]
    images = zip(*(outputs[name] for name in names), strict=True)
    return Decoded.of_images(
        _decode_one(dict(zip(names, image, strict=True)), outputs["class_center"], is_thing, thresholds, output_size,
                    with_semantics)
        for image in images)


def _decode_one(outputs: dict[str, Tensor], class_center: Tensor, is_thing: Tensor, thresholds: Thresholds,
                output_size: tuple[int, int], with_semantics: bool) -> DecodedImage:
    logits = outputs["class_logits"]
    size = (logits.shape[1], logits.shape[2])
    best, class_id = logits.flatten(1).max(0)
    class_score = 1 / (logits.flatten(1) - best).exp().sum(0)

    peak, channel, height = class_id.new_zeros(0), class_id.new_zeros(0), class_score.new_zeros(0)
    if "heatmap" in outputs:
        peak, channel, height = find_peaks(outputs["heatmap"], thresholds.score, thresholds.top_k)
    instance_class = is_thing.nonzero()[:, 0][channel]
    agrees = class_id[peak] == instance_class
    peak, instance_class, height = peak[agrees], instance_class[agrees], height[agrees]
    instance, centroid = torch.zeros_like(class_id), class_center.new_zeros(0, class_center.shape[1])
    if len(peak):
        embedding = located_embedding(outputs["embedding"], outputs.get("offset")).flatten(1)
        # By class, so that the candidates of a range of pixels of one class follow each other.
        order = instance_class.argsort(stable=True)
        peak, instance_class, height = peak[order], instance_class[order], height[order]
        centroid = embedding[:, peak].T.contiguous()
        instance = nearest_centroid(embedding, class_id, centroid, instance_class, len(is_thing))
        centroid = centroid[:, :class_center.shape[1]]  # what it looks like, without where it is
        # Score: objectness times the mean class probability in the mask (section 4).
        rows = len(peak) + 1
        pixels = torch.bincount(instance, minlength=rows)[1:].clamp(min=1)
        score = height * class_score.new_zeros(rows).index_add_(0, instance, class_score)[1:] / pixels
        height, order = score.sort(descending=True, stable=True)
        instance_class, centroid = instance_class[order], centroid[order]
        instance = F.pad(order.argsort() + 1, (1, 0))[instance]
    return segments_of_cells(instance, instance_class, height, class_id, class_score, class_score, is_thing, size,
                             output_size, thresholds.thing_area, thresholds.stuff_area, thresholds.stuff,
                             label_embedding=torch.cat([centroid, class_center[~is_thing]]),
                             with_semantics=with_semantics)


def find_peaks(heatmap: Tensor, threshold: float, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cell, channel and height of the local maxima above a threshold, (K,) each: of each channel of (T, h, w) the
    `top_k` highest, channel by channel.

    Of equal maxima in one window, as a saturated heatmap has them, the first is taken.
    """
    width = heatmap.shape[2]
    # A square's maximum is that of its rows' maxima.
    pooled = F.max_pool2d(heatmap[None], (1, KERNEL), stride=1, padding=(0, KERNEL // 2))
    pooled = F.max_pool2d(pooled, (KERNEL, 1), stride=1, padding=(KERNEL // 2, 0))[0]
    score = torch.where((heatmap == pooled) & (heatmap > threshold), heatmap, 0).flatten(1)
    channel, cell = score.nonzero(as_tuple=True)
    height = score[channel, cell]
    order = height.argsort(descending=True, stable=True)
    order = order[channel[order].argsort(stable=True)]
    cell, channel, height = cell[order], channel[order], height[order]

    def best(kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = kept.nonzero()[:, 0]
        return cell[rows], channel[rows], height[rows]

    # More than top_k at first, of which plateaus are thinned out; not many more, for a plateau may be the whole map.
    cell, channel, height = best(_rank(channel) < 2 * top_k)
    y, x = cell // width, cell % width
    near = (channel[:, None] == channel) & ((y[:, None] - y).abs() <= KERNEL // 2) & (
        (x[:, None] - x).abs() <= KERNEL // 2)
    cell, channel, height = best(greedy_suppression(near))
    return best(_rank(channel) < top_k)


def _rank(group: Tensor) -> Tensor:
    """Of ascending numbers (K,), the place of each among those equal to it, from 0."""
    return torch.arange(len(group), device=group.device) - torch.searchsorted(group, group)


def nearest_centroid(embedding: Tensor, class_id: Tensor, centroid: Tensor, centroid_class: Tensor,
                     classes: int) -> Tensor:
    """Eq. 9 for all pixels: the nearest of the K centroid embeddings of the pixel's own class.

    embedding: (D, P). class_id: (P,). centroid: (K, D), centroid_class: (K,), in ascending order. Returns (P,) int64:
    k + 1, or 0 where no centroid is of the pixel's class.
    """
    has_centroid = torch.zeros(classes, dtype=torch.bool, device=class_id.device).index_fill_(0, centroid_class, True)
    pixels = has_centroid[class_id].nonzero()[:, 0]
    instance = torch.zeros_like(class_id)
    if not len(pixels):
        return instance
    pixel_class, order = class_id[pixels].sort(stable=True)
    pixels = pixels[order]
    step = PIXELS_AT_ONCE[embedding.device.type]
    starts = torch.arange(0, len(pixels), step, device=pixels.device)
    ends = (starts + step).clamp(max=len(pixels)) - 1
    # With pixels and centroids in the order of their classes, a range of pixels has candidates in a range of centroids,
    # mostly those of one class.
    first = torch.searchsorted(centroid_class, pixel_class[starts])
    last = torch.searchsorted(centroid_class, pixel_class[ends], right=True)
    square, rows = centroid.square().sum(1), embedding.T.contiguous()  # of which scattered pixels are gathered fast
    for start, a, b in torch.stack([starts, first, last], 1).tolist():
        part = pixels[start:start + step]
        distance = torch.addmm(square[a:b], rows.index_select(0, part), centroid[a:b].T, alpha=-2)  # but for |I_i|^2
        other = centroid_class[a:b] != pixel_class[start:start + step, None]
        instance.index_copy_(0, part, distance.masked_fill_(other, torch.inf).argmin(1) + (a + 1))
    return instance
