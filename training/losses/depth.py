"""Losses of depth: scale-invariant logarithmic for metric depth, affine-invariant for disparity."""

from __future__ import annotations

import torch
from torch import Tensor


def scale_invariant_log_loss(depth: Tensor, truth: Tensor, share: float = 0.5) -> Tensor:
    """Mean square of d = log depth - log truth, less `share` of the square of its mean (Eigen et al. 2014; Eq. 9 of
    centroid embedding, share: lambda).

    depth: (B, h, w), above 0; truth: (B, h, w), 0 or not finite where it is unknown. The mean over the images that have
    truth. Returns (), 0 without any truth.
    """
    known = torch.isfinite(truth) & (truth > 0)
    count = known.sum((1, 2))
    # What is not known is replaced before the logarithm: a NaN behind it would be one in the gradient too.
    error = torch.where(known, depth, 1).log() - torch.where(known, truth, 1).log()
    n = count.clamp(min=1)
    loss = error.square().sum((1, 2)) / n - share * (error.sum((1, 2)) / n).square()
    return loss.sum() / (count > 0).sum().clamp(min=1)


def affine_invariant_loss(disparity: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean absolute difference of disparities that are both shifted by their median and divided by their mean absolute
    deviation from it (Ranftl et al. 2020; Eq. 6 to 8 of centroid embedding).

    disparity, truth: (B, h, w); known: (B, h, w) bool, where there is truth. The mean over the images that have some.
    Returns (), 0 where none has.
    """
    losses = [(_aligned(own) - _aligned(true)).abs().mean()
              for own, true in ((disparity[b][known[b]], truth[b][known[b]]) for b in range(len(known))) if len(own)]
    return torch.stack(losses).mean() if losses else disparity.sum() * 0


def _aligned(values: Tensor) -> Tensor:
    """Eq. 7 and 8 for (n,) disparities of an image; all of one value become 0."""
    moved = values - values.median()
    return moved / moved.abs().mean().clamp(min=1e-6)
