"""Losses that per-pixel objectives share: distance to boundaries, total variation, DICE, depth."""

from __future__ import annotations

import math

import pytest
import torch

from training.losses.boundary import boundary_weight, distance_to_boundary, weighted_mean
from training.losses.depth import affine_invariant_loss, scale_invariant_log_loss
from training.losses.dice import generalized_dice_loss
from training.losses.total_variation import cross_entropy_variation, total_variation


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_distance_to_a_boundary_is_the_euclidean_one_to_the_nearest_pixel_beside_another_label() -> None:
    labels = torch.zeros(2, 17, 23, dtype=torch.int64)
    labels[0, 3:6, 5:9], labels[0, 12, 20], labels[0, 5:, 0] = 1, 2, -1
    labels[1, :, 11:] = 7
    distance = distance_to_boundary(labels)
    for image, found in zip(labels, distance, strict=True):
        beside = [(y, x) for y in range(17) for x in range(23)
                  for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                  if 0 <= v < 17 and 0 <= u < 23 and image[v, u] != image[y, x]]
        expected = [[min(math.hypot(y - v, x - u) for v, u in beside) for x in range(23)] for y in range(17)]
        torch.testing.assert_close(found, torch.tensor(expected))


def test_an_image_of_one_label_is_infinitely_far_from_a_boundary_and_has_the_least_weight() -> None:
    distance = distance_to_boundary(torch.full((1, 3, 4), 5))
    assert torch.isinf(distance).all()
    assert boundary_weight(distance, 20.0, 0.25).unique().tolist() == [0.25]


def test_the_weight_is_equation_5() -> None:
    weight = boundary_weight(torch.tensor([0.0, 20.0, 40.0]), 20.0)
    torch.testing.assert_close(weight, torch.tensor([1.0, math.exp(-1), math.exp(-4)]))
    weight = boundary_weight(torch.tensor([0.0, 10.0]), 10.0, 0.2)
    torch.testing.assert_close(weight, torch.tensor([1.0, 0.2 + 0.8 * math.exp(-1)]))


def test_twice_the_radius_is_twice_the_weight_of_a_disc_not_four_times_as_without_weights() -> None:
    y, x = torch.meshgrid(torch.arange(400.0), torch.arange(400.0), indexing="ij")
    inside = [((y - 199.5).square() + (x - 199.5).square() < radius ** 2) for radius in (80, 160)]
    sums = [float(boundary_weight(distance_to_boundary(disc[None].long()), 5.0)[0][disc].sum()) for disc in inside]
    assert sums[1] / sums[0] == pytest.approx(2, abs=0.1)
    assert int(inside[1].sum()) / int(inside[0].sum()) == pytest.approx(4, abs=0.1)


def test_a_weighted_mean_without_any_weight_is_0_with_a_gradient() -> None:
    values = torch.tensor([1.0, 3.0], requires_grad=True)
    assert float(weighted_mean(values, torch.tensor([1.0, 3.0])).detach()) == 2.5
    nothing = weighted_mean(values, torch.zeros(2))
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert values.grad is not None
    assert values.grad.tolist() == [0, 0]


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_total_variation_is_the_mean_difference_to_the_pixel_above_and_to_the_left(norm: str) -> None:
    values = random(2, 3, 4, 5)

    def length(difference: torch.Tensor) -> float:
        return float(difference.abs().sum() if norm == "l1" else difference.norm())

    above = [length(v[:, y, x] - v[:, y - 1, x]) for v in values for y in range(1, 4) for x in range(5)]
    left = [length(v[:, y, x] - v[:, y, x - 1]) for v in values for y in range(4) for x in range(1, 5)]
    expected = sum(above) / len(above) + sum(left) / len(left)
    assert float(total_variation(values, norm)) == pytest.approx(expected)  # type: ignore[arg-type]


def test_a_constant_has_no_total_variation_and_a_finite_gradient() -> None:
    values = torch.ones(1, 2, 3, 4, requires_grad=True)
    loss = total_variation(values)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    assert values.grad is not None
    assert torch.isfinite(values.grad).all()
    assert float(total_variation(torch.ones(1, 2, 1, 1))) == 0
    assert float(cross_entropy_variation(torch.ones(1, 2, 1, 4))) == 0


def test_total_variation_of_distributions_is_half_the_cross_entropies_with_below_and_right() -> None:
    logits = 4 * random(1, 3, 3, 4)
    p = logits.softmax(1)[0]
    terms = [-(p[:, y, x] * (p[:, y + 1, x].log() + p[:, y, x + 1].log())).sum() / 2
             for y in range(2) for x in range(3)]
    torch.testing.assert_close(cross_entropy_variation(logits), torch.stack(terms).mean())
    # Of distributions that are all the same it is their entropy.
    same = torch.tensor([0.25, 0.75]).log().view(1, 2, 1, 1).expand(1, 2, 3, 3)
    assert float(cross_entropy_variation(same)) == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))


def test_dice_is_0_for_the_truth_1_for_its_contrary_and_weighs_regions() -> None:
    target = torch.tensor([[True, True, False, False], [False, False, True, False]])
    weight = torch.tensor([0.5, 1.0])
    assert float(generalized_dice_loss(target.float(), target, weight)) == pytest.approx(0)
    other = torch.tensor([[0.0, 0, 1, 1], [1, 1, 0, 0]])
    assert float(generalized_dice_loss(other, target, weight)) == 1
    # 1 - 2 (.5 * 1.5 + 1 * .25) / (.5 * (2 + 2.5) + 1 * (1 + .25))
    found = torch.tensor([[1.0, 0.5, 1, 0], [0, 0, 0.25, 0]])
    assert float(generalized_dice_loss(found, target, weight)) == pytest.approx(1 - 2 * 1.0 / 3.5)
    assert float(generalized_dice_loss(torch.zeros(0, 4), torch.zeros(0, 4).bool(), torch.zeros(0))) == 0


def test_of_one_region_dice_is_1_minus_f1() -> None:
    target, found = random(1, 50) < 0.4, (random(1, 50, seed=1) < 0.5).float()
    tp, fp, fn = (float(v.sum()) for v in (target * found, ~target * found, target * (1 - found)))
    loss = generalized_dice_loss(found, target, torch.tensor([3.0]))
    assert float(loss) == pytest.approx(1 - 2 * tp / (2 * tp + fp + fn))


def test_the_scale_invariant_loss_is_equation_9_image_by_image() -> None:
    depth = torch.tensor([[[2.0, 4, 8]], [[1, 1, 1]]])
    truth = torch.tensor([[[1.0, 4, 0]], [[math.e, math.e, math.nan]]])
    first = (math.log(2) ** 2) / 2 - 0.5 * (math.log(2) / 2) ** 2
    second = 1 - 0.5 * 1
    assert float(scale_invariant_log_loss(depth, truth)) == pytest.approx((first + second) / 2)
    # Without its mean nothing is left of a factor.
    assert float(scale_invariant_log_loss(3 * truth[:1] + 1e-9, truth[:1], 1.0)) == pytest.approx(0, abs=1e-6)


def test_depth_that_is_not_known_has_no_loss_and_no_gradient() -> None:
    depth = torch.tensor([[[2.0, 5, 7, 3]]], requires_grad=True)
    scale_invariant_log_loss(depth, torch.tensor([[[0.0, math.nan, math.inf, 1]]])).backward()
    assert depth.grad is not None
    assert torch.isfinite(depth.grad).all()
    assert (depth.grad != 0).tolist() == [[[False, False, False, True]]]
    nothing = torch.zeros(1, 1, 4)
    assert float(scale_invariant_log_loss(depth, nothing).detach()) == 0
    assert float(affine_invariant_loss(depth, nothing, nothing > 0).detach()) == 0


def test_the_disparity_loss_is_of_shifted_and_scaled_disparities() -> None:
    own, true = torch.tensor([[[0.0, 1, 3]]]), torch.tensor([[[2.0, 3, 4]]])
    # Medians 1 and 3, mean deviations 1 and 2/3: (-1, 0, 2) against (-1.5, 0, 1.5).
    known = torch.ones(1, 1, 3, dtype=torch.bool)
    assert float(affine_invariant_loss(own, true, known)) == pytest.approx((0.5 + 0 + 0.5) / 3)


def test_the_disparity_loss_does_not_see_scale_and_shift_nor_what_is_not_known() -> None:
    disparity, truth = random(2, 5, 5), random(2, 5, 5, seed=1)
    known = random(2, 5, 5, seed=2) < 0.7
    loss = affine_invariant_loss(disparity, truth, known)
    torch.testing.assert_close(affine_invariant_loss(0.3 * disparity + 2, 7 * truth - 1, known), loss)
    holes = torch.where(known, truth, torch.nan)
    torch.testing.assert_close(affine_invariant_loss(disparity, holes, known), loss)
    assert float(loss) > 0.1
    flat = torch.ones(2, 5, 5, requires_grad=True)
    affine_invariant_loss(flat, truth, known).backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()
