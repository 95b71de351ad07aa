"""The Lovász extension against its definition."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from training.losses.lovasz import lovasz_binary, lovasz_softmax


def iou(predicted: list[int], truth: list[int]) -> float:
    union = sum(p or t for p, t in zip(predicted, truth, strict=True))
    return sum(p and t for p, t in zip(predicted, truth, strict=True)) / union if union else 1.0


def test_at_every_vertex_of_the_cube_the_loss_is_one_minus_the_iou() -> None:
    for truth in product([0, 1], repeat=4):
        for predicted in product([0, 1], repeat=4):
            loss = lovasz_binary(torch.tensor([predicted]).float(), torch.tensor([truth]).bool())
            assert loss.item() == pytest.approx(1 - iou(list(predicted), list(truth)), abs=1e-6)


def test_between_the_vertices_it_is_the_integral_over_the_level_sets_of_the_error() -> None:
    # Lovász extension by definition: the integral over theta in [0, 1] of the set function of {i: error_i >= theta}.
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        probability, truth = torch.rand(6, generator=generator), torch.rand(6, generator=generator) > 0.5
        error = torch.where(truth, 1 - probability, probability)
        levels = sorted({0.0, *error.tolist()})
        integral = 0.0
        for low, high in zip(levels, levels[1:], strict=False):
            wrong = error >= high
            predicted = truth ^ wrong
            integral += (high - low) * (1 - iou(predicted.int().tolist(), truth.int().tolist()))
        assert lovasz_binary(probability[None], truth[None]).item() == pytest.approx(integral, abs=1e-5)


def test_numbers_worked_by_hand() -> None:
    # Errors 0.6 (false pixel), 0.5 (true), 0.2 (true); the Jaccard loss goes 1/3, 2/3, 1.
    loss = lovasz_binary(torch.tensor([[0.5, 0.6, 0.8]]), torch.tensor([[True, False, True]]))
    assert loss.item() == pytest.approx(0.6 / 3 + 0.5 / 3 + 0.2 / 3)


def test_the_gradient_is_that_of_the_jaccard_index() -> None:
    probability = torch.tensor([[0.5, 0.6, 0.8]], requires_grad=True)
    lovasz_binary(probability, torch.tensor([[True, False, True]])).sum().backward()
    assert probability.grad is not None
    torch.testing.assert_close(probability.grad, torch.tensor([[-1 / 3, 1 / 3, -1 / 3]]))


def test_softmax_form_averages_the_classes_that_occur() -> None:
    probability = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]]).T
    target = torch.tensor([0, 1, 1])
    expected = (lovasz_binary(probability[:1], torch.tensor([[True, False, False]]))
                + lovasz_binary(probability[1:2], torch.tensor([[False, True, True]]))) / 2
    assert lovasz_softmax(probability, target).item() == pytest.approx(expected.item())


def test_nothing_to_learn_from_gives_zero_with_a_gradient() -> None:
    probability = torch.zeros(3, 0, requires_grad=True)
    loss = lovasz_softmax(probability, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
