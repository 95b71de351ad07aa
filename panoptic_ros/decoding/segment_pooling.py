"""Pooling of a feature map over segments: mean and standard deviation of each channel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pool_segments(features: Tensor, segment_map: Tensor, box: Tensor, wanted: Tensor | None = None) -> Tensor:
    """Mean, then standard deviation of a map's A channels over each segment, (N, 2A) float32.

    wanted: (N,) bool, those that are asked for; the others' rows mean nothing. Where they are few, so is the work.

    features: (A, h, w). segment_map: (H, W) int, 0 = void, k = row k - 1, which may be larger: a cell belongs to the
    segment in its middle. box: (N, 4) x0, y0, x1, y1 of the segments in pixels of the segment map; one that is in no
    cell's middle has the features of the cell in the middle of its box.
    """
    channels, height, width = features.shape
    rows, columns = (_middles(size, cells, features.device)
                     for size, cells in zip(segment_map.shape, (height, width), strict=True))
    label = segment_map[rows[:, None], columns].flatten().long()
    values, count = features.float().flatten(1), len(box)
    of = values
    if wanted is not None and label.device.type == "cpu":  # elsewhere to wait for their number costs more
        inside = F.pad(wanted, (1, 0)).index_select(0, label).nonzero()[:, 0]
        label, of = label.index_select(0, inside), values.index_select(1, inside)
    of = of.T.contiguous()
    sums, squares = torch.zeros(2, count + 1, channels, device=features.device)
    sums.index_add_(0, label, of)
    squares.index_add_(0, label, of.square())
    cells = torch.zeros(count + 1, device=features.device).index_add_(0, label, torch.ones_like(of[:, 0]))[1:, None]
    mean, square = (total[1:] / cells.clamp(min=1) for total in (sums, squares))
    y, x = ((box[:, i] + box[:, i + 2] - 1) * cells_of // (2 * size) for i, cells_of, size in
            ((1, height, segment_map.shape[0]), (0, width, segment_map.shape[1])))
    mean = torch.where(cells > 0, mean, values.index_select(1, (y * width + x).long()).T)
    return torch.cat([mean, (square - mean.square()).mul(cells > 0).clamp(min=0).sqrt()], 1)


def _middles(size: int, cells: int, device: torch.device) -> Tensor:
    """Of pixels 0 .. size - 1, those in the middles of so many cells, (cells,)."""
    return (2 * torch.arange(cells, device=device) + 1) * size // (2 * cells)
