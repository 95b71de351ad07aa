"""What every decode ends with: the area and box of each segment, and rows without a pixel removed."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptic_ros.geometry.label_maps import measure_labels
from panoptic_ros.segments import Segments


def make_segments(segment_map: Tensor, class_id: Tensor, is_thing: Tensor, score: Tensor,
                  embedding: Tensor | None) -> tuple[Tensor, Segments[Tensor]]:
    """Measure the segments of a map and drop those without a pixel.

    segment_map: (H, W) int32, 0 = void, k = row k - 1 of the other arguments: class_id (N,), is_thing (N,) bool,
    score (N,), embedding (N, D) or None. Returns the map, renumbered where a row was dropped, and the Segments.
    """
    n = len(class_id)
    area, box = (values[1:] for values in measure_labels(segment_map, n + 1))
    none = torch.zeros(n, dtype=torch.int32, device=segment_map.device)
    segments = Segments(class_id.int(), is_thing, score.float(), area.int(), box.int(), embedding, none, none)
    seen = area > 0
    if bool(seen.all()):
        return segment_map, segments
    number = torch.cat([seen.new_zeros(1), seen]).cumsum(0).int() * torch.cat([seen.new_zeros(1), seen])
    return number[segment_map.long()], segments.select(seen)
