"""The Lovász extension of the Jaccard loss on probabilities (Berman et al. 2018; Eq. 3-6 of HLE)."""

from __future__ import annotations

import torch
from torch import Tensor


def lovasz_binary(probability: Tensor, target: Tensor) -> Tensor:
    """LovászBinary of Eq. 3, row by row.

    probability: (R, N) in [0, 1]; target: (R, N) bool. Returns (R,), 0 for a perfect row, 1 for a row of all-wrong
    hard predictions. A row without any true pixel gives its largest probability, as the Jaccard index of an empty
    truth jumps from 1 to 0 with the first false pixel.
    """
    error = torch.where(target, 1 - probability, probability)  # Eq. 4
    error, order = error.sort(dim=1, descending=True)
    true = target.gather(1, order).float()
    # Eq. 5: IoU when the first i pixels of the order are wrong: the wrong true ones leave the intersection, the
    # wrong false ones join the union.
    total = true.sum(1, keepdim=True)
    intersection = total - true.cumsum(1)
    union = total + (1 - true).cumsum(1)
    jaccard_loss = 1 - intersection / union
    jaccard_loss[:, 1:] -= jaccard_loss[:, :-1].clone()
    return (error * jaccard_loss).sum(1)  # Eq. 3


def lovasz_softmax(probability: Tensor, target: Tensor) -> Tensor:
    """LovászSoftmax of Eq. 6: the mean of the binary loss over the classes that occur, each against all others.

    probability: (C, N), columns sum to 1; target: (N,) int64 class ids. Returns (). Absent classes are left out, as
    their Jaccard index says nothing about the image (as Berman et al. do).
    """
    present = torch.unique(target)
    if not len(present):
        return probability.sum() * 0
    return lovasz_binary(probability[present], target[None] == present[:, None]).mean()
