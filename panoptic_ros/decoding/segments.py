"""What every decode ends with: the area and box of each segment, and rows without a pixel removed."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptic_ros.frame import Segments


def measure_labels(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Area (count,) int64 and box (count, 4) int64 of each label 0..count-1 in a label map (H, W) int.

    A box is x0, y0, x1, y1, the last two exclusive; of a label without a pixel it means nothing. Works on the
    horizontal runs of equal labels, of which there are a hundred times fewer than pixels.
    """
    height, width = labels.shape
    flat = labels.flatten()
    begins = torch.ones(height * width, dtype=torch.bool, device=labels.device)
    torch.ne(flat[1:], flat[:-1], out=begins[1:])
    begins.view(height, width)[:, 0] = True
    start = begins.nonzero()[:, 0]
    end = torch.cat([start[1:], start.new_tensor([height * width])])
    label = flat[start].long()
    x, y, length = start % width, start // width, end - start

    def reduce(values: Tensor, how: str, initial: int) -> Tensor:
        return values.new_full((count,), initial).scatter_reduce_(0, label, values, how)

    area = reduce(length, "sum", 0)
    box = torch.stack([reduce(x, "amin", width), reduce(y, "amin", height), reduce(x + length, "amax", 0),
                       reduce(y + 1, "amax", 0)], 1)
    return area, box


def make_segments(segment_map: Tensor, class_id: Tensor, is_thing: Tensor, score: Tensor,
                  embedding: Tensor | None) -> tuple[Tensor, Segments]:
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
