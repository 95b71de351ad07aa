"""Local maxima of a score map, and greedy non-maximum suppression by pairwise similarity."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def local_maxima(score: Tensor, threshold: float, top_k: int, kernel: int = 3) -> Tensor:
    """Flat indices (K,), K <= top_k, of the local maxima of a score map (H, W) above a threshold, best first.

    A pixel is a local maximum when no pixel in the square window around it scores higher: all of a plateau count.
    """
    peaks = ((score == _window_maximum(score, kernel)) & (score > threshold)).flatten().nonzero()[:, 0]
    values, order = score.flatten()[peaks].sort(descending=True, stable=True)
    return peaks[order[:top_k]]


def _window_maximum(score: Tensor, kernel: int) -> Tensor:
    """The largest value in the window around each pixel of (H, W), by rows, then by columns.

    Max pooling goes pixel by pixel on a CPU, since it remembers where each maximum was: that takes 20 times as long.
    """
    height, width = score.shape
    largest = F.pad(score, [kernel // 2] * 4, value=-math.inf)
    for axis, size in ((1, width), (0, height)):
        shifted = [largest.narrow(axis, k, size) for k in range(kernel)]
        largest = shifted[0]
        for values in shifted[1:]:
            largest = torch.maximum(largest, values)
    return largest


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
