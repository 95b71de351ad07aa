"""What every decode ends with: the area and box of each segment, and rows without a pixel removed."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptic_ros.frame import Segments


def count_by_label(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """How many pixels of each label 0..count-1 lie in each row and in each column of a label map.

    labels: (H, W) int. Returns (count, H) and (count, W) int64.
    """
    height, width = labels.shape
    flat = labels.long()
    ones = torch.ones((), dtype=torch.int64, device=labels.device).expand(height * width)
    y = torch.arange(height, device=labels.device)[:, None]
    x = torch.arange(width, device=labels.device)
    per_row = torch.zeros(count * height, dtype=torch.int64, device=labels.device)
    per_row.scatter_add_(0, (flat * height + y).flatten(), ones)
    per_column = torch.zeros(count * width, dtype=torch.int64, device=labels.device)
    per_column.scatter_add_(0, (flat * width + x).flatten(), ones)
    return per_row.view(count, height), per_column.view(count, width)


def make_segments(segment_map: Tensor, class_id: Tensor, is_thing: Tensor, score: Tensor,
                  embedding: Tensor | None) -> tuple[Tensor, Segments]:
    """Measure the segments of a map and drop those without a pixel.

    segment_map: (H, W) int32, 0 = void, k = row k - 1 of the other arguments: class_id (N,), is_thing (N,) bool,
    score (N,), embedding (N, D) or None. Returns the map, renumbered where a row was dropped, and the Segments.
    """
    n = len(class_id)
    rows, columns = (counts[1:] for counts in count_by_label(segment_map, n + 1))
    area = rows.sum(1)

    def span(counts: Tensor) -> tuple[Tensor, Tensor]:
        seen = (counts > 0).to(torch.uint8)
        return seen.argmax(1), counts.shape[1] - seen.flip(1).argmax(1)

    (x0, x1), (y0, y1) = span(columns), span(rows)
    none = torch.zeros(n, dtype=torch.int32, device=segment_map.device)
    segments = Segments(class_id.int(), is_thing, score.float(), area.int(), torch.stack([x0, y0, x1, y1], 1).int(),
                        embedding, none, none)
    seen = area > 0
    if bool(seen.all()):
        return segment_map, segments
    number = torch.cat([seen.new_zeros(1), seen]).cumsum(0).int() * torch.cat([seen.new_zeros(1), seen])
    return number[segment_map.long()], segments.select(seen)
