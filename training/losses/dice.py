"""Generalised DICE loss (Crum et al. 2006; Sudre et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor


def generalized_dice_loss(probability: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """1 - 2 sum_l w_l sum r p / sum_l w_l sum (r + p): Eq. 12 of centroid embedding.

    probability: (R, N) in [0, 1], p of each of R regions; target: (R, N) bool, r; weight: (R,). Returns (), 0 where
    they agree, and for no regions.
    """
    if not len(weight):
        return probability.sum() * 0
    shared = torch.where(target, probability, 0).sum(1)
    return 1 - 2 * (weight @ shared) / (weight @ (target.sum(1) + probability.sum(1)))
