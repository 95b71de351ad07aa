"""Total variation of per-pixel predictions: how much each pixel differs from its neighbours (Rudin et al. 1992)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor


def total_variation(values: Tensor, norm: Literal["l1", "l2"] = "l2") -> Tensor:
    """Eq. 10 of centroid embedding, a mean over pixels: the norm of the difference to the pixel above, and to the left.

    values: (B, D, h, w). norm: of differences (D,). Returns ().
    """
    def mean(difference: Tensor) -> Tensor:
        if not difference.numel():
            return values.sum() * 0
        if norm == "l1":
            return difference.abs().sum(1).mean()
        return difference.square().sum(1).clamp(min=1e-12).sqrt().mean()  # with a finite gradient at 0

    return mean(values[:, :, 1:] - values[:, :, :-1]) + mean(values[..., 1:] - values[..., :-1])


def cross_entropy_variation(logits: Tensor) -> Tensor:
    """Eq. 11, a mean over pixels: half the cross entropy of each pixel's distribution with that of the pixel below, and
    with that to the right.

    logits: (B, C, h, w). Returns (), for distributions that are the same everywhere their entropy.
    """
    probability, log = logits.softmax(1), logits.log_softmax(1)
    here, log_here = probability[:, :, :-1, :-1], log
    if not here.numel():
        return logits.sum() * 0
    below, right = log_here[:, :, 1:, :-1], log_here[:, :, :-1, 1:]
    return -(here * (below + right)).sum(1).mean() / 2
