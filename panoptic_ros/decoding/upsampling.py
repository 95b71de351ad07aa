"""Label maps to a larger size with smooth edges, at a cost that does not depend on the number of labels."""

from __future__ import annotations

import torch
from torch import Tensor


def upsample_labels(labels: Tensor, score: Tensor, output_size: tuple[int, int]) -> Tensor:
    """Bilinear upsampling of the winning scores, then the argmax over the labels.

    It equals upsampling one score map per label, each the winner's score where that label won and 0 elsewhere, and
    taking the best label, but only pixels between cells of different labels are computed. Sizes that are no multiple
    of the map's are reached from the nearest multiple by taking the nearest pixels.

    labels: (h, w) int; score: (h, w) float, not negative. Returns (H, W) of labels' type.
    """
    factors = [max(1, round(large / small)) for large, small in zip(output_size, labels.shape, strict=True)]
    result = _upsample_by(labels, score, factors[0], factors[1])
    for axis, size in enumerate(output_size):
        if result.shape[axis] != size:
            nearest = (torch.arange(size, device=labels.device) + 0.5) * (result.shape[axis] / size)
            result = result.index_select(axis, nearest.long())
    return result


def _upsample_by(labels: Tensor, score: Tensor, down: int, across: int) -> Tensor:
    """`upsample_labels` to `down` x `across` times the size.

    Works on the blocks between the centres of 2 x 2 cells, each `down` x `across` pixels, those at the rim between a
    cell and itself. Most blocks lie between cells of one label.
    """
    height, width = labels.shape
    row = torch.arange(-1, height + 1, device=labels.device).clamp(0, height - 1)
    column = torch.arange(-1, width + 1, device=labels.device).clamp(0, width - 1)
    padded_labels = labels.index_select(0, row).index_select(1, column)
    padded_score = score.index_select(0, row).index_select(1, column)
    corner = padded_labels[:-1, :-1]
    mixed = (corner != padded_labels[:-1, 1:]) | (corner != padded_labels[1:, :-1]) | (corner != padded_labels[1:, 1:])
    blocks = corner[:, None, :, None].repeat(1, down, 1, across)  # (h + 1, down, w + 1, across)

    y, x = mixed.nonzero(as_tuple=True)
    cells = torch.stack([y * (width + 2) + x, y * (width + 2) + x + 1, (y + 1) * (width + 2) + x,
                         (y + 1) * (width + 2) + x + 1], 1)  # (M, 4)
    label = padded_labels.flatten()[cells]
    # Each corner collects the votes of all corners with its label.
    votes = (label[:, :, None] == label[:, None]) * padded_score.flatten()[cells][:, None]  # (M, 4, 4)
    total = (votes.view(-1, 4) @ _corner_weights(down, across, score)).view(-1, 4, down * across)
    best, most = label[:, :1], total[:, 0]
    for k in range(1, 4):
        best = torch.where(total[:, k] > most, label[:, k, None], best)
        most = torch.maximum(most, total[:, k])
    blocks[y, :, x] = best.view(-1, down, across)

    pixels = blocks.view((height + 1) * down, (width + 1) * across)
    top, left = down - down // 2, across - across // 2
    return pixels[top:top + height * down, left:left + width * across].contiguous()


def _corner_weights(down: int, across: int, like: Tensor) -> Tensor:
    """Bilinear weights of a block's four corners at each of its pixels, (4, down * across)."""
    v = ((torch.arange(down, device=like.device) + down // 2 + 0.5) / down - 0.5).to(like.dtype)[:, None]
    u = ((torch.arange(across, device=like.device) + across // 2 + 0.5) / across - 0.5).to(like.dtype)
    return torch.stack([(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u]).view(4, -1)
