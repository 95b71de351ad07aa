"""Label maps to a larger size with smooth edges, at a cost that does not depend on the number of labels."""

from __future__ import annotations

import torch
from torch import Tensor


def _sample_positions(size: int, output_size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Along one axis: the two cells around each output pixel, the weight of the second, and the nearest cell."""
    position = (torch.arange(output_size, device=device, dtype=torch.float32) + 0.5) * (size / output_size) - 0.5
    first = position.floor()
    low, high = first.long().clamp(0, size - 1), (first.long() + 1).clamp(0, size - 1)
    weight = position - first
    return low, high, weight, torch.where(weight < 0.5, low, high)


def upsample_labels(labels: Tensor, score: Tensor, output_size: tuple[int, int]) -> Tensor:
    """Bilinear upsampling of the winning scores, then the argmax over the labels of the four cells around a pixel.

    It equals upsampling one score map per label, each the winner's score where that label won and 0 elsewhere, and taking
    the best label, but only pixels between cells of different labels are computed.

    labels: (h, w) int; score: (h, w) float, not negative. Returns (H, W) of labels' type.
    """
    (height, width), device = labels.shape, labels.device
    y0, y1, wy, y_nearest = _sample_positions(height, output_size[0], device)
    x0, x1, wx, x_nearest = _sample_positions(width, output_size[1], device)
    # Columns first: the second step then copies whole rows.
    result = labels.index_select(1, x_nearest).index_select(0, y_nearest)
    # A block of 2 x 2 cells, named by its upper left cell, is mixed when its labels differ.
    mixed = torch.zeros(height, width, dtype=torch.bool, device=device)
    mixed[:-1] |= labels[:-1] != labels[1:]
    mixed[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    mixed[:, :-1] |= mixed[:, 1:].clone()
    mixed[:-1] |= mixed[1:].clone()
    pixels = mixed.index_select(1, x0).index_select(0, y0).flatten().nonzero()[:, 0]
    rows, columns = pixels // output_size[1], pixels % output_size[1]
    upper, lower, left, right = y0[rows] * width, y1[rows] * width, x0[columns], x1[columns]
    down, across = wy[rows], wx[columns]
    cells = torch.stack([upper + left, upper + right, lower + left, lower + right])  # (4, M)
    weights = torch.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across])
    label = labels.flatten()[cells]
    vote = score.flatten()[cells] * weights
    # Each corner collects the votes of all corners with its label.
    total = ((label[:, None] == label[None]) * vote[None]).sum(1)
    result.view(-1)[pixels] = label.gather(0, total.argmax(0, keepdim=True))[0]
    return result
