"""Positions beside the instance embedding: semi-convolutional operators (Novotny et al., ECCV 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

# Cells of the output to a unit of the embedding space, in which the paper's margins keep instances 3 apart.
CELLS_PER_UNIT = 4


def located_embedding(embedding: Tensor, offset: Tensor | None) -> Tensor:
    """Instance embeddings (..., D, h, w) and, where there are offsets (..., 2, h, w) x and y, in units, beside them
    where each cell says that its instance is: (..., D + 2, h, w).

    A convolution says the same of two objects that look the same, wherever they are, and so no embedding of its alone
    can tell them apart. With the cell's own position added, it need only say where the object lies from there.
    """
    if offset is None:
        return embedding
    height, width = offset.shape[-2:]
    y, x = (torch.arange(size, device=offset.device, dtype=offset.dtype) / CELLS_PER_UNIT for size in (height, width))
    position = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])
    return torch.cat([embedding, offset + position], -3)
