"""Common tail of all decodes: label map of the network's cells -> segment map at full size and its Segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.decoding.upsampling import upsample_labels
from panoptic_ros.geometry.label_maps import measure_labels
from panoptic_ros.segments import Segments


class DecodedImage(NamedTuple):
    """One image of a `Decoded`: segment_map (H, W) int32, its segments, and semantic_map (H, W) uint8 or None."""

    segment_map: Tensor
    segments: Segments[Tensor]
    semantic_map: Tensor | None = None


@dataclass(frozen=True)
class Decoded:
    """Result of a method's decode for a batch of B images, on the device of the network's outputs.

    segment_map: (B, H, W) int32, 0 = void, k = row k - 1 of the image's segments.
    segments: B structs of arrays.
    depth: (B, H, W) float32 metres, or None where the method predicts none.
    semantic_map: (B, H, W) uint8, the likeliest class of each pixel, whatever the segments; None where it was not
        asked for.
    """

    segment_map: Tensor
    segments: list[Segments[Tensor]]
    depth: Tensor | None = None
    semantic_map: Tensor | None = None

    @staticmethod
    def of_images(images: Iterable[DecodedImage], depth: Tensor | None = None) -> Decoded:
        """Stack images that were decoded one by one."""
        maps, segments, semantic_maps = zip(*images, strict=True)
        return Decoded(_stacked(maps), list(segments), depth,
                       None if semantic_maps[0] is None else _stacked(semantic_maps))


def segments_of_cells(instance: Tensor, instance_class: Tensor, instance_score: Tensor, class_id: Tensor,
                      class_score: Tensor, score: Tensor, is_thing: Tensor, size: tuple[int, int],
                      output_size: tuple[int, int], thing_area: int, stuff_area: int, stuff_score: float = -1.0,
                      embedding: Tensor | None = None, label_embedding: Tensor | None = None,
                      with_semantics: bool = False) -> DecodedImage:
    """The panoptic prediction of one image from its cells: instances first, and stuff where no instance is.

    instance: (P,) int64, 0 = none, j = row j - 1 of instance_class (J,) and instance_score (J,), best first.
    class_id, class_score: (P,) the likeliest class of each cell and its probability. A cell of no instance is stuff
        where that is a stuff class with a score above `stuff_score`, else void.
    score: (P,) of each cell for its instance; where it has none, for void.
    size: (h, w) of the cells. thing_area, stuff_area: smaller segments, in pixels of the output, become void.
    embedding: (P, D) or None; a segment has the unit mean of its cells.
    label_embedding: (J + stuff classes, D), in place of it, one of each instance and of each stuff class.
    with_semantics: whether to make the semantic map, of class_id by class_score.

    Segments come as instances first, then stuff by class; the score of stuff is the mean probability of its cells.
    """
    count = len(instance_class)
    stuff_label = torch.cumsum(~is_thing, 0) + count
    is_stuff = (instance == 0) & ~is_thing.index_select(0, class_id) & (class_score > stuff_score)
    label = torch.where(is_stuff, stuff_label.index_select(0, class_id), instance)
    score = torch.where(is_stuff, class_score, score)

    segment_class = torch.cat([instance_class, (~is_thing).nonzero()[:, 0]])
    rows = len(segment_class) + 1
    area = torch.zeros(rows, device=score.device).scatter_add_(0, label, torch.ones_like(score))[1:]
    confidence = torch.zeros(rows, device=score.device).scatter_add_(0, label, score)[1:] / area.clamp(min=1)
    confidence[:count] = instance_score
    smallest = torch.where(is_thing[segment_class], thing_area, stuff_area)
    pixels_per_cell = output_size[0] * output_size[1] / (size[0] * size[1])
    kept = (area > 0) & (area * pixels_per_cell >= smallest)
    mean = None
    if embedding is not None:
        mean = torch.zeros(rows, embedding.shape[1], device=score.device).index_add_(0, label, embedding)[1:]
        mean = F.normalize(mean[kept], dim=1)
    elif label_embedding is not None:
        mean = F.normalize(label_embedding[kept], dim=1)

    segment_class = segment_class[kept]
    # A map of bytes is upsampled and measured in a fraction of the time, and few images have more segments.
    number = F.pad(kept.cumsum(0) * kept, (1, 0)).to(torch.uint8 if len(segment_class) < 256 else torch.int32)
    segment_map = number.index_select(0, label).view(size)
    if size != output_size:
        segment_map = upsample_labels(segment_map, score.view(size), output_size)
    semantic_map = None
    if with_semantics:
        semantic_map = class_id.to(torch.uint8).view(size)
        if size != output_size:
            semantic_map = upsample_labels(semantic_map, class_score.view(size), output_size)
    return DecodedImage(*make_segments(segment_map, segment_class, is_thing[segment_class], confidence[kept], mean),
                        semantic_map)


def make_segments(segment_map: Tensor, class_id: Tensor, is_thing: Tensor, score: Tensor,
                  embedding: Tensor | None) -> tuple[Tensor, Segments[Tensor]]:
    """Areas and boxes of the segments of a map, without those that have no pixel.

    segment_map: (H, W) int, 0 = void, k = row k - 1 of the other arguments: class_id (N,), is_thing (N,) bool,
    score (N,), embedding (N, D) or None. Returns the map, int32, renumbered where a row was dropped, and the Segments.
    """
    n = len(class_id)
    area, box = (values[1:] for values in measure_labels(segment_map, n + 1))
    none = torch.zeros(n, dtype=torch.int32, device=segment_map.device)
    segments = Segments(class_id.int(), is_thing, score.float(), area.int(), box.int(), embedding, none, none)
    visible = area > 0
    if bool(visible.all()):
        return segment_map.int(), segments
    number = F.pad(visible.cumsum(0) * visible, (1, 0)).int()
    return number[segment_map.long()], segments.select(visible)


def _stacked(maps: Sequence[Tensor]) -> Tensor:
    """(H, W) each -> (B, H, W), without a copy of one alone."""
    return maps[0][None] if len(maps) == 1 else torch.stack(list(maps))
