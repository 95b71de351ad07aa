"""The supervised contrastive loss on numbers worked by hand and against loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from training.losses.contrastive import supervised_contrastive_loss


def test_two_views_and_one_other_by_hand() -> None:
    vectors = torch.tensor([[1.0, 0], [1, 0], [0, 1]])
    everything = torch.ones(3, 3, dtype=torch.bool)
    loss = supervised_contrastive_loss(vectors, torch.tensor([5, 5, 9]), everything, 0.5)
    # exp(1 / .5) to the other view, exp(0) to the other object.
    assert loss.item() == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 1)), rel=1e-6)
    nothing = torch.zeros(3, 3, dtype=torch.bool)
    assert supervised_contrastive_loss(vectors, torch.tensor([5, 5, 9]), nothing, 0.5).item() == pytest.approx(0)


def test_it_is_equation_2_summed_in_loops() -> None:
    torch.manual_seed(0)
    vectors = F.normalize(torch.randn(12, 5), dim=1)
    identity = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 5])
    class_id = identity % 2
    same_class = class_id[:, None] == class_id
    terms = []
    for i in range(12):
        others = [a for a in range(12) if a != i and same_class[i, a]]
        positives = [p for p in others if identity[p] == identity[i]]
        if positives:
            total = sum(math.exp(float(vectors[i] @ vectors[a]) / 0.2) for a in others)
            terms.append(-sum(math.log(math.exp(float(vectors[i] @ vectors[p]) / 0.2) / total)
                              for p in positives) / len(positives))
    loss = supervised_contrastive_loss(vectors, identity, same_class, 0.2)
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_objects_that_are_seen_once_alone_cost_nothing_and_have_a_gradient() -> None:
    vectors = torch.eye(3).requires_grad_()
    loss = supervised_contrastive_loss(vectors, torch.arange(3), torch.ones(3, 3, dtype=torch.bool), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert vectors.grad is not None
