"""Supervised contrastive loss (Khosla et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor


def supervised_contrastive_loss(vectors: Tensor, identity: Tensor, comparable: Tensor, temperature: float) -> Tensor:
    """L_out of Khosla et al. 2020, Eq. 2: -mean_i mean_p log exp(z_i . z_p / t) / sum_a exp(z_i . z_a / t).

    vectors: (N, D) of unit length. identity: (N,) int, equal for views of one object. comparable: (N, N) bool, which
    pairs are contrasted at all, besides views of one object: `a` runs over these and the positives `p`. The mean is
    over those with a positive. Returns (), 0 where there are none.
    """
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    positive = (identity[:, None] == identity) & ~itself
    contrasted = (comparable | positive) & ~itself
    logits = (vectors @ vectors.T / temperature).masked_fill(~contrasted, -torch.inf)
    count = positive.sum(1)
    anchors = count > 0
    if not anchors.any():
        return vectors.sum() * 0
    log_share = logits - logits.logsumexp(1, keepdim=True)
    mean = torch.where(positive, log_share, 0).sum(1)[anchors] / count[anchors]
    return -mean.mean()
