"""Boxes of the two stages: anchors, and the best boxes after non-maximum suppression, padded to a fixed number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import nms


def anchors(sizes: Sequence[tuple[int, int]], strides: Sequence[int], scale: float, ratios: Sequence[float],
            device: torch.device) -> Tensor:
    """The A anchors of all levels, level after level, row by row, all ratios of a cell together: (A, 4) pixels.

    sizes: rows and columns of each level. scale: side of a square anchor in strides. ratios: height / width, at the
    same area.
    """
    parts = []
    for (rows, columns), stride in zip(sizes, strides, strict=True):
        half = [(scale * stride / math.sqrt(ratio) / 2, scale * stride * math.sqrt(ratio) / 2) for ratio in ratios]
        cell = torch.tensor([(-w, -h, w, h) for w, h in half], device=device)
        y, x = (stride * (torch.arange(n, device=device, dtype=torch.float32) + 0.5) for n in (rows, columns))
        center = torch.stack([x.repeat(rows), y.repeat_interleave(columns)], 1).repeat(1, 2)
        parts.append((center[:, None] + cell).flatten(0, 1))
    return torch.cat(parts)


def clip_boxes(box: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) cut off at the border of an image of this height and width."""
    height, width = size
    return torch.stack([box[..., 0].clamp(0, width), box[..., 1].clamp(0, height), box[..., 2].clamp(0, width),
                        box[..., 3].clamp(0, height)], -1)


def suppressed(box: Tensor, score: Tensor, iou: float, count: int) -> tuple[Tensor, Tensor]:
    """Non-maximum suppression with a result of fixed size.

    box (N, 4), score (N,). Returns (count,) int64 rows, best score first, and (count,) bool, which of them are one:
    where fewer are kept, row 0 fills the rest.
    """
    kept = nms(box, score, iou)
    rest = kept.new_zeros(count)
    # A length that is read from a tensor would be a constant of the exported graph: the padding is marked instead.
    rows, real = torch.cat([kept, rest])[:count], torch.cat([torch.ones_like(kept), rest])[:count]
    return rows.view(count), real.view(count) > 0
