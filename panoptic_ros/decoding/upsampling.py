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

    It equals upsampling one score map per label, each the winner's score where that label won and 0 elsewhere, and
    taking the best label, but only pixels between cells of different labels are computed.

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
    # index_select is several times faster than indexing with a tensor.
    upper, lower = (y.index_select(0, rows) * width for y in (y0, y1))
    left, right = (x.index_select(0, columns) for x in (x0, x1))
    down, across = wy.index_select(0, rows), wx.index_select(0, columns)
    corners = [(upper + left, (1 - down) * (1 - across)), (upper + right, (1 - down) * across),
               (lower + left, down * (1 - across)), (lower + right, down * across)]
    flat_labels, flat_score = labels.flatten(), score.flatten()
    candidates = [flat_labels.index_select(0, cell) for cell, _ in corners]
    votes = [flat_score.index_select(0, cell) * weight for cell, weight in corners]
    best, most = candidates[0], torch.full_like(votes[0], -1)
    for label in candidates:
        # A corner collects the votes of all corners with its label.
        total = torch.zeros_like(most)
        for other, vote in zip(candidates, votes, strict=True):
            total += vote * (other == label)
        best = torch.where(total > most, label, best)
        most = torch.maximum(most, total)
    result.view(-1)[pixels] = best
    return result
