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
    result = labels[y_nearest][:, x_nearest]
    # A block of 2 x 2 cells, named by its upper left cell, is mixed when its labels differ.
    mixed = torch.zeros(height, width, dtype=torch.bool, device=device)
    mixed[:-1] |= labels[:-1] != labels[1:]
    mixed[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    mixed[:, :-1] |= mixed[:, 1:].clone()
    mixed[:-1] |= mixed[1:].clone()
    rows, columns = mixed[y0][:, x0].nonzero(as_tuple=True)
    corners = [(y0, x0, (1 - wy)[rows] * (1 - wx)[columns]), (y0, x1, (1 - wy)[rows] * wx[columns]),
               (y1, x0, wy[rows] * (1 - wx)[columns]), (y1, x1, wy[rows] * wx[columns])]
    cells = [(y[rows] * width + x[columns], weight) for y, x, weight in corners]
    label = torch.stack([labels.flatten()[cell] for cell, _ in cells])  # (4, M)
    vote = torch.stack([score.flatten()[cell] * weight for cell, weight in cells])
    total = vote.clone()
    for a in range(4):
        for b in range(4):
            if a != b:
                total[a] += vote[b] * (label[a] == label[b])
    result[rows, columns] = label.gather(0, total.argmax(0, keepdim=True))[0]
    return result
