"""Every term of HLE's loss against brute force on small random cases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training.losses.lovasz import lovasz_binary, lovasz_softmax
from training.objectives.hle import Weights, class_mean_loss, hle_loss, thomson_means

CLASSES = 4
PAPER = Weights()
IS_THING = torch.tensor([False, False, True, True])
CLASS_MAP = torch.tensor([[[0, 0, 2, 2], [1, 255, 2, 2], [3, 3, 2, 1]]])
INSTANCE_MAP = torch.tensor([[[0, 0, 7, 7], [0, 0, 7, 9], [4, 4, 9, 0]]])


def make_outputs(seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    torch.manual_seed(seed)
    mean = torch.randn(CLASSES, 5, requires_grad=True)
    outputs = {"embedding": F.normalize(torch.randn(1, 5, 3, 4), dim=1), "log_sigma": torch.randn(1, 1, 3, 4) * 0.3,
               "seed": torch.rand(1, 1, 3, 4), "class_log_sigma": torch.randn(CLASSES) * 0.2,
               "spatial_log_sigma": torch.tensor([-0.4])}
    for value in outputs.values():
        value.requires_grad_()
    return {**outputs, "class_mean": F.normalize(mean, dim=1)}, mean


def phi_by_hand(outputs: dict[str, Tensor], instance: int) -> Tensor:
    """Eq. 8 with the means of Eq. 10, pixel by pixel: (3, 4)."""
    e, log_sigma = outputs["embedding"][0], outputs["log_sigma"][0, 0]
    pixels = [(y, x) for y in range(3) for x in range(4) if INSTANCE_MAP[0, y, x] == instance]
    mean = torch.stack([e[:, y, x] for y, x in pixels]).mean(0)
    mean = mean / mean.norm()
    sigma = torch.stack([log_sigma[y, x] for y, x in pixels]).mean().exp()
    centre = torch.tensor([[(x + 0.5) / 3, (y + 0.5) / 3] for y, x in pixels]).mean(0)
    phi = torch.zeros(3, 4)
    for y in range(3):
        for x in range(4):
            distance = 1 - e[:, y, x] @ mean
            apart = (torch.tensor([(x + 0.5) / 3, (y + 0.5) / 3]) - centre).square().sum()
            phi[y, x] = torch.exp(-distance / (2 * sigma**2) - apart / (2 * math.exp(-0.4) ** 2))
    return phi


def loss_terms(outputs: dict[str, Tensor], mean: Tensor, weights: Weights = PAPER) -> dict[str, Tensor]:
    return hle_loss(outputs, CLASS_MAP, INSTANCE_MAP, mean, IS_THING, weights)


def test_instance_term_is_the_lovasz_loss_of_each_instance_over_all_known_pixels() -> None:
    outputs, mean = make_outputs()
    known = CLASS_MAP[0] != 255
    expected = [lovasz_binary(phi_by_hand(outputs, i)[known][None], (INSTANCE_MAP[0] == i)[known][None])
                for i in (4, 7, 9)]
    assert loss_terms(outputs, mean)["ins"].item() == pytest.approx(torch.cat(expected).mean().item(), abs=1e-5)


def test_seed_term_regresses_to_phi_inside_and_to_zero_on_stuff() -> None:
    outputs, mean = make_outputs()
    seed, total, count = outputs["seed"][0, 0], 0.0, 0
    for y in range(3):
        for x in range(4):
            instance, class_id = int(INSTANCE_MAP[0, y, x]), int(CLASS_MAP[0, y, x])
            if class_id != 255:
                target = phi_by_hand(outputs, instance)[y, x].item() if instance else 0.0
                total, count = total + (seed[y, x].item() - target) ** 2, count + 1
    assert loss_terms(outputs, mean)["seed"].item() == pytest.approx(total / count, abs=1e-5)


def test_seed_term_does_not_move_the_embedding() -> None:
    outputs, mean = make_outputs()
    loss_terms(outputs, mean)["seed"].backward()
    assert outputs["seed"].grad is not None
    assert outputs["embedding"].grad is None
    assert outputs["log_sigma"].grad is None


def test_instances_that_are_too_small_are_left_out() -> None:
    outputs, mean = make_outputs()
    known = CLASS_MAP[0] != 255
    terms = loss_terms(outputs, mean, Weights(smallest_instance=3))  # leaves 7 with three cells, not 4 and 9 with two
    expected = lovasz_binary(phi_by_hand(outputs, 7)[known][None], (INSTANCE_MAP[0] == 7)[known][None])
    assert terms["ins"].item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_crowd_has_no_seed_target() -> None:
    outputs, mean = make_outputs()
    class_map = torch.full_like(CLASS_MAP, 2)
    terms = hle_loss(outputs, class_map, torch.zeros_like(INSTANCE_MAP), mean, IS_THING)
    assert terms["seed"].item() == 0
    assert terms["ins"].item() == 0


def test_variance_term_is_gamma_times_the_squared_distance_to_the_instances_mean() -> None:
    outputs, mean = make_outputs()
    log_sigma, distances = outputs["log_sigma"][0, 0], []
    for instance in (4, 7, 9):
        inside = log_sigma[INSTANCE_MAP[0] == instance]
        distances += [(v - inside.mean().item()) ** 2 for v in inside.tolist()]
    expected = 10 * sum(distances) / len(distances)
    assert loss_terms(outputs, mean)["ins_var"].item() == pytest.approx(expected, rel=1e-4)


def test_class_term_is_the_lovasz_softmax_of_psi_and_leaves_the_class_means_alone() -> None:
    outputs, mean = make_outputs()
    known = (CLASS_MAP[0] != 255).flatten()
    e = outputs["embedding"][0].flatten(1)[:, known].T
    distance = 1 - e @ outputs["class_mean"].detach().T
    kernel = torch.exp(-distance / (2 * outputs["class_log_sigma"].exp() ** 2))
    psi = kernel / kernel.sum(1, keepdim=True)
    term = loss_terms(outputs, mean)["seg"]
    assert term.item() == pytest.approx(lovasz_softmax(psi.T, CLASS_MAP.flatten()[known]).item(), abs=1e-5)
    term.backward()
    assert mean.grad is None
    assert outputs["class_log_sigma"].grad is not None


def test_class_means_move_towards_the_mean_of_the_batch() -> None:
    mean = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], requires_grad=True)
    embedding = torch.tensor([[0.0, 1.0], [0.6, 0.8]])  # two pixels of class 0
    loss = class_mean_loss(mean, embedding, torch.tensor([0, 0]))
    # Their sum (0.6, 1.8) has length sqrt(3.6); brought to unit length it is (0.31623, 0.94868).
    assert loss.item() == pytest.approx((1 - 0.31623) ** 2 + 0.94868**2, abs=1e-4)
    loss.backward()
    assert mean.grad is not None
    assert mean.grad[1:].abs().max() == 0
    assert mean.grad[0, 0] > 0 > mean.grad[0, 1]


def test_total_is_the_weighted_sum() -> None:
    outputs, mean = make_outputs()
    terms = loss_terms(outputs, mean, Weights(seg=2, seg_mean=3, ins=4, seed=5, cross_entropy=6))
    expected = (2 * terms["seg"] + 3 * terms["seg_mean"] + 4 * terms["ins"] + terms["ins_var"] + 5 * terms["seed"]
                + 6 * terms["cross_entropy"])
    assert terms["total"].item() == pytest.approx(expected.item())


def test_truth_of_a_finer_size_is_taken_at_the_nearest_pixels() -> None:
    outputs, mean = make_outputs()

    def finer(label_map: Tensor) -> Tensor:
        return label_map.repeat_interleave(4, 1).repeat_interleave(4, 2)

    terms = hle_loss(outputs, finer(CLASS_MAP), finer(INSTANCE_MAP), mean, IS_THING)
    assert terms["total"].item() == pytest.approx(loss_terms(outputs, mean)["total"].item())


def test_an_image_of_void_alone_gives_zero() -> None:
    outputs, mean = make_outputs()
    terms = hle_loss(outputs, torch.full_like(CLASS_MAP, 255), INSTANCE_MAP, mean, IS_THING)
    assert terms["total"].item() == 0
    terms["total"].backward()


@pytest.mark.parametrize(("count", "dimension", "cosine"), [(2, 3, -1.0), (4, 3, -1 / 3), (5, 4, -1 / 4)])
def test_thomson_means_of_a_simplex_are_as_far_apart_as_can_be(count: int, dimension: int, cosine: float) -> None:
    points = thomson_means(count, dimension, seed=3)
    products = (points @ points.T)[~torch.eye(count, dtype=torch.bool)]
    torch.testing.assert_close(products, torch.full_like(products, cosine), atol=0.02, rtol=0)


def test_thomson_means_are_repeatable() -> None:
    assert torch.equal(thomson_means(6, 3, seed=1), thomson_means(6, 3, seed=1))
    assert not torch.equal(thomson_means(6, 3, seed=1), thomson_means(6, 3, seed=2))
