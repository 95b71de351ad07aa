"""Positions in an image and their encodings: spectral positional embedding, and cells of the grid of candidates."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def positional_embedding(position: Tensor, harmonics: int) -> Tensor:
    """gamma of Eq. 3: (...,) positions -> (..., 2 L): sin and cos of 2^l pi p, for l = 0 .. L - 1.

    It has period 2: over [-1, 1] both ends have the same embedding, and only what lies between can be told apart.
    """
    angle = position[..., None] * (math.pi * 2.0 ** torch.arange(harmonics, device=position.device))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)


def cell_centers(count: int, device: torch.device | None = None) -> Tensor:
    """Centres (count,) of as many equal cells of [-1, 1]: the candidates of a coordinate.

    Not both edges of the image, which gamma cannot tell apart. At L = 4 the largest distance between the embeddings of
    80 candidates is 4.9 times the smallest.
    """
    return (torch.arange(count, device=device) + 0.5) * (2 / count) - 1


def cell_of(position: Tensor, count: int) -> Tensor:
    """The cell, 0 .. count - 1, that a position in [-1, 1] lies in; int64."""
    return ((position + 1) * (count / 2)).long().clamp(0, count - 1)
