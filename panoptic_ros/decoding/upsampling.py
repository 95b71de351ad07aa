"""Label maps to a larger size with smooth edges, at a cost that does not depend on the number of labels."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptic_ros.decoding.maximum import first_argmax


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
    padded_labels, padded_score = _with_rim(labels), _with_rim(score)
    corner = padded_labels[:-1, :-1]
    mixed = (corner != padded_labels[:-1, 1:]) | (corner != padded_labels[1:, :-1]) | (corner != padded_labels[1:, 1:])
    pixels = corner.repeat_interleave(across, 1).repeat_interleave(down, 0)

    # The M mixed blocks are the last axis, so that each step goes along rows.
    block = mixed.flatten().nonzero()[:, 0]
    y = block // (width + 1)
    cells = (block + y) + torch.tensor([[0], [1], [width + 2], [width + 3]], device=labels.device)  # (4, M)
    label, corner_score = padded_labels.flatten()[cells], padded_score.flatten()[cells]
    # Each corner collects the votes of all corners with its label.
    votes = torch.where(label[:, None] == label, corner_score, 0)  # (4, 4, M)
    total = _corner_weights(down, across, score) @ votes  # (4, down * across, M)
    total -= total.amax(0)
    best = label.gather(0, first_argmax(total, 0))  # (down * across, M)
    columns = (width + 1) * across
    first = y * (down * columns) + (block - y * (width + 1)) * across
    inside = torch.arange(down, device=labels.device)[:, None] * columns + torch.arange(across, device=labels.device)
    pixels.view(-1).scatter_(0, (inside.view(-1, 1) + first).flatten(), best.flatten())

    top, left = down - down // 2, across - across // 2
    return pixels[top:top + height * down, left:left + width * across].contiguous()


def _with_rim(cells: Tensor) -> Tensor:
    """(h, w) -> (h + 2, w + 2): the outermost cells once more around them."""
    cells = torch.cat([cells[:1], cells, cells[-1:]])
    return torch.cat([cells[:, :1], cells, cells[:, -1:]], 1)


def _corner_weights(down: int, across: int, like: Tensor) -> Tensor:
    """Bilinear weights of a block's four corners at each of its pixels, (down * across, 4)."""
    v = ((torch.arange(down, device=like.device) + down // 2 + 0.5) / down - 0.5).to(like.dtype)[:, None]
    u = ((torch.arange(across, device=like.device) + across // 2 + 0.5) / across - 0.5).to(like.dtype)
    return torch.stack([(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u], 2).view(-1, 4)
