"""Panoptic decode of mask classification: transformers' post_process_panoptic_segmentation as tensor code."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.decoding.segments import Decoded, DecodedImage, make_segments
from panoptic_ros.decoding.upsampling import upsample_labels
from panoptic_ros.errors import InputError
from panoptic_ros.settings import check_ranges, setting

ARCHITECTURES = ("mask2former", "oneformer", "eomt")
# The library brings Mask2Former's masks to this size, whatever that of the image is.
MASK2FORMER_GRID = (384, 384)
# Of masks at the size of the output, so many values at once.
VALUES_AT_ONCE = 1 << 26
# Of masks at the network's size: on a CPU what fits into its cache.
VALUES_IN_CACHE = {"cpu": 1 << 18, "cuda": 1 << 28}


@dataclass(frozen=True)
class Thresholds:
    """Settings of the decode; the library's for Mask2Former and OneFormer are the defaults, EoMT's score is 0.8."""

    score: float = setting(0.5, 0.0, 1.0, "score threshold of a query: the probability of its class",
                           search=(0.2, 0.9))
    mask: float = setting(0.5, 0.0, 1.0, "mask threshold, on the mask probability of a pixel (times the score, but for "
                          "eomt)", search=(0.3, 0.7))
    overlap: float = setting(0.8, 0.0, 1.0, "a query is dropped if better ones leave it no more than this share of "
                             "its mask", search=(0.2, 0.95))
    thing_area: int = setting(0, 0, 1 << 24, "smaller instances, in pixels of the output, become void",
                              search=(8, 400))
    stuff_area: int = setting(0, 0, 1 << 24, "smaller stuff segments, in pixels of the output, become void",
                              search=(16, 4000))
    rule: str = field(default="mask2former", metadata={
        "choices": ARCHITECTURES, "description": "whose post-processing: mask2former resamples masks to 384 x 384 "
        "first, eomt makes pixels below the mask threshold void"})
    full_resolution: bool = field(default=True, metadata={
        "description": "compare masks at the size of the image, exactly as the library; else at the network's, and "
        "labels are upsampled: faster"})

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.rule not in ARCHITECTURES:
            raise InputError(f"rule is '{self.rule}'; it must be one of {', '.join(ARCHITECTURES)}")


def decode(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds,
           output_size: tuple[int, int], with_semantics: bool = False) -> Decoded:
    """Network outputs -> segments, on the device of the outputs.

    outputs: what `Network.forward` returns. is_thing: (C,) bool. output_size: (H, W). Segments come as things, best
    score first, then stuff by class. A segment's score is its query's, its embedding the query's, of unit length; the
    queries of one stuff class are one segment, with the score and embedding of the first.

    The segments are those of the library. Where it numbers things after a fused stuff segment for Mask2Former and
    OneFormer, it gives some of its numbers twice; here all segments have numbers of their own.
    """
    names = list(outputs)
    return Decoded.of_images(_decode_one(dict(zip(names, image, strict=True)), is_thing, thresholds, output_size,
                                         with_semantics)
                             for image in zip(*outputs.values(), strict=True))


def _decode_one(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds,
                output_size: tuple[int, int], with_semantics: bool) -> DecodedImage:
    probability = outputs["class_logits"].softmax(1)
    score, class_id = probability.max(1)
    kept = (class_id < len(is_thing)) & (score > thresholds.score)
    masks, embedding = outputs["mask_logits"], outputs["query_embedding"]
    if thresholds.full_resolution:
        # Few queries are objects: at this size it is worth to leave the others out.
        rows = kept.nonzero()[:, 0]
        masks, score, class_id, embedding, kept = masks[rows], score[rows], class_id[rows], embedding[rows], kept[rows]
    won = _compare(masks, torch.where(kept, score, 0), thresholds, output_size)
    query = torch.where(won.exists & kept, torch.arange(1, len(score) + 1, device=score.device), 0)
    class_id = class_id.clamp(max=len(is_thing) - 1)
    segment_of_query, first_query = _segments(query > 0, score, class_id, is_thing)

    label = F.pad(segment_of_query, (0, 1))[won.query]  # the last is that of no query
    segment_map = torch.where(won.inside, label, 0).int()
    if tuple(segment_map.shape) != output_size:
        segment_map = upsample_labels(segment_map, won.score, output_size)
    segment_class = class_id[first_query]
    if thresholds.thing_area or thresholds.stuff_area:
        area = torch.bincount(segment_map.flatten(), minlength=len(first_query) + 1)[1:]
        large = area >= torch.where(is_thing[segment_class], thresholds.thing_area, thresholds.stuff_area)
        segment_map = F.pad(large.cumsum(0) * large, (1, 0)).int()[segment_map.long()]
        first_query, segment_class = first_query[large], segment_class[large]
    segment_map, segments = make_segments(segment_map, segment_class, is_thing[segment_class], score[first_query],
                                          F.normalize(embedding[first_query], dim=1))
    semantic_map = None
    if with_semantics:
        # Semantic inference of MaskFormer (Cheng et al. 2021): the class by the sum over all queries.
        by_class = torch.einsum("qc,qhw->chw", probability[:, :-1], outputs["mask_logits"].sigmoid())
        best, likeliest = by_class.max(0)
        semantic_map = upsample_labels(likeliest.to(torch.uint8), best, output_size)
    return DecodedImage(segment_map, segments, semantic_map)


@dataclass(frozen=True)
class _Winners:
    """Of each pixel (h, w): the query that wins it (Q = none), the score of that, and whether its segment has the
    pixel. Of each query: whether it is a segment, (Q,) bool."""

    query: Tensor
    score: Tensor
    inside: Tensor
    exists: Tensor


def _compare(logits: Tensor, score: Tensor, thresholds: Thresholds, output_size: tuple[int, int]) -> _Winners:
    """Masks (Q, h, w) and scores (Q,), 0 = takes no part, compared pixel by pixel; the best has the pixel."""
    count, weighted_mask = len(score), thresholds.rule != "eomt"
    compare = _compare_at_output_size if thresholds.full_resolution else _compare_at_network_size
    query, best, own, original = compare(logits, score, thresholds, output_size)
    area = torch.bincount(query.flatten(), minlength=count + 1)[:count]
    # In single precision, and then compared in double, as the library does.
    exists = (area > 0) & (original > 0) & ((area / original).double() > thresholds.overlap)
    inside = query < count
    if not weighted_mask:
        inside = inside & (own >= thresholds.mask)
        exists = exists & (torch.bincount(query[inside], minlength=count)[:count] > 0)
    return _Winners(query, best, inside, exists)


def _compare_at_output_size(logits: Tensor, score: Tensor, thresholds: Thresholds,
                            size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each pixel (H, W) the winner (Q = none), its weighted and its own probability; of each query (Q,) the pixels
    above the mask threshold. Some queries at once."""
    query = torch.full(size, len(score), device=logits.device)
    best, own = torch.zeros(size, device=logits.device), torch.zeros(size, device=logits.device)
    above = [query.new_zeros(0, dtype=torch.int32)]
    step = max(1, VALUES_AT_ONCE // (size[0] * size[1]))
    for first in range(0, len(score), step):
        probability = _probabilities(logits[first:first + step], thresholds.rule, size)
        row, highest, of_winner, pixels = _winners(probability, score[first:first + step], thresholds)
        better = highest > best
        query, best = torch.where(better, row + first, query), torch.where(better, highest, best)
        own = torch.where(better, of_winner, own)
        above.append(pixels)
    return query, best, own, torch.cat(above)


def _compare_at_network_size(logits: Tensor, score: Tensor, thresholds: Thresholds,
                             _: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As `_compare_at_output_size` for pixels (h, w) of the masks as they are. Some rows of them at once."""
    step = max(1, VALUES_IN_CACHE[logits.device.type] // max(1, len(score) * logits.shape[2]))
    parts = [_winners(logits[:, first:first + step].sigmoid(), score, thresholds)
             for first in range(0, logits.shape[1], step)]
    row, best, own, above = zip(*parts, strict=True)
    query, best_map = torch.cat(row), torch.cat(best)
    return torch.where(best_map > 0, query, len(score)), best_map, torch.cat(own), torch.stack(above).sum(0)


def _winners(probability: Tensor, score: Tensor, thresholds: Thresholds) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of masks (Q, h, w): winner, its weighted and its own probability (h, w), and pixels above the threshold (Q,)."""
    weighted = probability * score[:, None, None]
    highest, row = weighted.max(0)
    if thresholds.rule == "eomt":
        own, above = probability.gather(0, row[None])[0], probability
    else:
        own, above = highest, weighted
    return row, highest, own, (above >= thresholds.mask).flatten(1).sum(1, dtype=torch.int32)


def _probabilities(logits: Tensor, rule: str, size: tuple[int, int]) -> Tensor:
    """Mask probabilities (Q, *size), interpolated as each architecture's post-processing does it."""
    if rule == "eomt":
        # First to the size of the network's input, of which masks have a fourth.
        masks = _resized(logits, (4 * logits.shape[1], 4 * logits.shape[2]))
        return _resized(masks, size).sigmoid()
    if rule == "mask2former":
        return _resized(_resized(logits, MASK2FORMER_GRID).sigmoid(), size)
    return _resized(logits.sigmoid(), size, antialias=True)


def _resized(maps: Tensor, size: tuple[int, int], antialias: bool = False) -> Tensor:
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False, antialias=antialias)[0]


def _segments(exists: Tensor, score: Tensor, class_id: Tensor, is_thing: Tensor) -> tuple[Tensor, Tensor]:
    """The segments of queries (Q,): things by score, then stuff by class, the queries of a stuff class being one.

    Returns the segment of each query, (Q,) from 1, 0 = none, and the first query of each segment (N,).
    """
    number = torch.arange(len(score), device=score.device)
    of_thing = is_thing[class_id]
    things = (exists & of_thing).nonzero()[:, 0]
    things = things[score[things].sort(descending=True, stable=True)[1]]
    stuff = exists & ~of_thing
    # The first query of each stuff class; a thing's queries all are the first of their own.
    first = torch.full_like(is_thing, len(score), dtype=torch.long)
    first = first.scatter_reduce(0, class_id, torch.where(stuff, number, len(score)), "amin")
    found = (first < len(score)).nonzero()[:, 0]
    segment = torch.zeros_like(number)
    segment[things] = torch.arange(1, len(things) + 1, device=score.device)
    segment_of_class = torch.zeros_like(first)
    segment_of_class[found] = torch.arange(len(things) + 1, len(things) + len(found) + 1, device=score.device)
    return torch.where(stuff, segment_of_class[class_id], segment), torch.cat([things, first[found]])
