"""Local maxima of a score map, and greedy non-maximum suppression by pairwise similarity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def local_maxima(score: Tensor, threshold: float, top_k: int, kernel: int = 3) -> Tensor:
    """Flat indices (K,), K <= top_k, of the local maxima of a score map (H, W) above a threshold, best first.

    A pixel is a local maximum when no pixel in the square window around it scores higher: all of a plateau count.
    """
    pooled = F.max_pool2d(score[None, None], kernel, stride=1, padding=kernel // 2)[0, 0]
    peaks = ((score == pooled) & (score > threshold)).flatten().nonzero()[:, 0]
    values, order = score.flatten()[peaks].sort(descending=True, stable=True)
    return peaks[order[:top_k]]


def greedy_suppression(duplicate: Tensor) -> Tensor:
    """Greedy NMS of K candidates, best first: each candidate that is kept removes its worse duplicates.

    duplicate: (K, K) bool, row i column j: candidate j is the same object as candidate i. Returns (K,) bool, the kept.
    """
    suppresses = duplicate.triu(diagonal=1)
    keep = torch.ones(len(duplicate), dtype=torch.bool, device=duplicate.device)
    # The greedy result is the only fixed point of this step: after n steps the first n candidates are settled, and in
    # practice a handful of steps, one for each link of the longest chain of suppressions, settles all.
    while True:
        settled = ~(suppresses & keep[:, None]).any(0)
        if torch.equal(settled, keep):
            return keep
        keep = settled
