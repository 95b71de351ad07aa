"""Pooling of a feature map over segments: mean and standard deviation of each channel."""

from __future__ import annotations

import torch
from torch import Tensor


def pool_segments(features: Tensor, segment_map: Tensor, box: Tensor) -> Tensor:
    """Mean, then standard deviation of a map's A channels over each segment, (N, 2A) float32.

    features: (A, h, w). segment_map: (H, W) int, 0 = void, k = row k - 1, which may be larger: a cell belongs to the
    segment in its middle. box: (N, 4) x0, y0, x1, y1 of the segments in pixels of the segment map; one that is in no
    cell's middle has the features of the cell in the middle of its box.
    """
    channels, height, width = features.shape
    rows, columns = (_middles(size, cells, features.device)
                     for size, cells in zip(segment_map.shape, (height, width), strict=True))
    label = segment_map[rows[:, None], columns].flatten().long()
    values = features.float().flatten(1).T.contiguous()
    count = len(box)
    sums = torch.zeros(count + 1, 2 * channels + 1, device=features.device)
    sums.index_add_(0, label, torch.cat([values, values.square(), torch.ones_like(values[:, :1])], 1))
    cells = sums[1:, -1:]
    mean, square = (sums[1:, :-1] / cells.clamp(min=1)).split(channels, 1)
    y, x = ((box[:, i] + box[:, i + 2] - 1) * cells_of // (2 * size) for i, cells_of, size in
            ((1, height, segment_map.shape[0]), (0, width, segment_map.shape[1])))
    mean = torch.where(cells > 0, mean, values[(y * width + x).long()])
    return torch.cat([mean, (square - mean.square()).mul(cells > 0).clamp(min=0).sqrt()], 1)


def _middles(size: int, cells: int, device: torch.device) -> Tensor:
    """Of pixels 0 .. size - 1, those in the middles of so many cells, (cells,)."""
    return (2 * torch.arange(cells, device=device) + 1) * size // (2 * cells)
