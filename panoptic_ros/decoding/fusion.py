"""Panoptic fusion: instance masks that overlap, best first, become one label map (Kirillov et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor


def first_claims(mask: Tensor, overlap: float) -> Tensor:
    """The instance that each pixel goes to: the best one that covers it and is not itself mostly hidden.

    mask: (P, N) bool, columns best instance first. An instance of which better ones, that are there, hide more than
    the share `overlap` is left out, and what it covered is free for worse ones. Returns (P,) int64: 0 = none, k =
    column k - 1.
    """
    count = mask.shape[1]
    if not count:
        return torch.zeros(len(mask), dtype=torch.int64, device=mask.device)
    rank = torch.arange(count, device=mask.device, dtype=torch.int16)
    area = mask.sum(0)
    keep = torch.ones(count, dtype=torch.bool, device=mask.device)
    # As in `greedy_suppression`: the result of going through the instances one by one is the only fixed point of this
    # step, and a handful of steps reaches it.
    while True:
        best = torch.where(mask & keep, rank, count).amin(1)
        hidden = (mask & (best[:, None] < rank)).sum(0)
        settled = hidden <= overlap * area
        if torch.equal(settled, keep):
            return torch.where(best < count, best + 1, 0).long()
        keep = settled
