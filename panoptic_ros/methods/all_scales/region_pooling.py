"""RoIAlign over a feature pyramid, in one call and with static shapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

# A box of this side (pixels, square root of its area) is the smallest of the level 2 (Lin et al. 2017, Eq. 1, with
# levels counted from 0): level l takes sides of 224 x [2^(l - 2), 2^(l - 1)).
CANONICAL_SIDE, CANONICAL_LEVEL = 224.0, 2
# Samples in each direction of a bin.
SAMPLING_RATIO = 2


def pyramid_level(box: Tensor, levels: int) -> Tensor:
    """The level 0 .. levels - 1 of a pyramid that boxes (..., 4) belong to, (...) int64."""
    area = ((box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])).clamp(min=1.0)
    # Rounding must not put a box of the canonical side below its level.
    level = CANONICAL_LEVEL + 0.5 * torch.log2(area / CANONICAL_SIDE**2) + 1e-6
    return level.floor().clamp(0, levels - 1).long()


class PyramidCanvas:
    """The maps of a pyramid side by side in one, so that one RoIAlign serves boxes of all levels.

    Pooling each box at every level and taking one, or sorting the boxes by level, would cost several times as much or
    need shapes that depend on the data. Each map has a border of one cell, a copy of its outermost cells: RoIAlign
    clamps what it samples there, so that the result is that of the map alone.
    """

    def __init__(self, maps: Sequence[Tensor], strides: Sequence[int]) -> None:
        """maps: (B, C, h, w), each half the size of the one before. strides: of the maps."""
        first, *rest = (F.pad(x, (1, 1, 1, 1), mode="replicate") for x in maps)
        rows, tops = 0, [0]
        column = []
        widest = max((x.shape[3] for x in rest), default=0)
        for x in rest:
            column.append(F.pad(x, (0, widest - x.shape[3])))
            tops.append(rows)
            rows += x.shape[2]
        self.map = first
        if column:
            height = max(first.shape[2], rows)
            right = torch.cat(column, 2)
            self.map = torch.cat([F.pad(first, (0, 0, 0, height - first.shape[2])),
                                  F.pad(right, (0, 0, 0, height - rows))], 3)
        lefts = [0.0] + [float(first.shape[3])] * len(rest)
        device = first.device
        self._scale = torch.tensor([1 / stride for stride in strides], device=device)
        self._origin = torch.tensor([[left + 1.0, top + 1.0] * 2 for left, top in zip(lefts, tops, strict=True)],
                                    device=device)

    def pool(self, box: Tensor, image: Tensor, size: int) -> Tensor:
        """Features of boxes (N, 4) float32, in pixels, of the images (N,) of the batch: (N, C, size, size)."""
        level = pyramid_level(box, len(self._scale))
        placed = box * self._scale[level][:, None] + self._origin[level]
        rows = torch.cat([image[:, None].to(box.dtype), placed], 1)
        # In single precision, as the boxes have to be: half of it counts pixels of a large image in whole ones.
        pooled = roi_align(self.map.float(), rows, (size, size), 1.0, SAMPLING_RATIO, aligned=True)
        return pooled.to(self.map.dtype)
