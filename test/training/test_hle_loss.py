"""Every term of HLE's loss against brute force on small random cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.classes import ClassTable
from panoptic_ros.methods import hle
from training.batches import Objects
from training.losses.lovasz import lovasz_binary, lovasz_softmax
from training.objectives.hle import HLEObjective, Settings, associative_loss, class_mean_loss, thomson_means

CLASSES = 4
PAPER = Settings()
IS_THING = torch.tensor([False, False, True, True])
TABLE = ClassTable("four", tuple("abcd"), tuple(IS_THING.tolist()), ((0, 0, 0),) * 4)
CLASS_MAP = torch.tensor([[[0, 0, 2, 2], [1, 255, 2, 2], [3, 3, 2, 1]]])
INSTANCE_MAP = torch.tensor([[[0, 0, 7, 7], [0, 0, 7, 9], [4, 4, 9, 0]]])


def make_outputs(seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    torch.manual_seed(seed)
    mean = torch.randn(CLASSES, 5, requires_grad=True)
    outputs = {"embedding": F.normalize(torch.randn(1, 5, 3, 4), dim=1), "log_sigma": torch.randn(1, 1, 3, 4) * 0.3,
               "seed": torch.rand(1, 1, 3, 4), "class_log_sigma": torch.randn(CLASSES) * 0.2,
               "shared_spatial_log_sigma": torch.tensor(-4.0)}
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
    log_spatial = outputs.get("spatial_log_sigma", outputs["shared_spatial_log_sigma"]).expand(1, 1, 3, 4)
    spatial = torch.stack([log_spatial.reshape(3, 4)[y, x] for y, x in pixels]).mean()
    centre = torch.tensor([[(x + 0.5) / 128, (y + 0.5) / 128] for y, x in pixels]).mean(0)
    phi = torch.zeros(3, 4)
    for y in range(3):
        for x in range(4):
            distance = 1 - e[:, y, x] @ mean
            apart = (torch.tensor([(x + 0.5) / 128, (y + 0.5) / 128]) - centre).square().sum()
            phi[y, x] = torch.exp(-distance / (2 * sigma**2) - apart / (2 * spatial.exp()**2))
    return phi


class EmbeddingSpace(torch.nn.Module):
    """What the loss takes of a network: the class means before they are brought to unit length."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.class_mean = mean  # a plain attribute: the tests look at its gradient

    def decode_parameters(self) -> dict[str, Tensor]:
        return {}  # they are among the tests' outputs


def loss_terms(outputs: dict[str, Tensor], mean: Tensor, settings: Settings = PAPER, class_map: Tensor = CLASS_MAP,
               instance_map: Tensor = INSTANCE_MAP, clip: Sequence[int] = (0,)) -> dict[str, Tensor]:
    batch = {"class_map": class_map, "instance_map": instance_map, "clip": torch.tensor(clip)}
    return HLEObjective(EmbeddingSpace(mean), settings, TABLE).loss(outputs, batch)


def test_instance_term_is_the_lovasz_loss_of_each_instance_over_all_known_pixels() -> None:
    outputs, mean = make_outputs()
    valid = CLASS_MAP[0] != 255
    expected = [lovasz_binary(phi_by_hand(outputs, i)[valid][None], (INSTANCE_MAP[0] == i)[valid][None])
                for i in (4, 7, 9)]
    assert loss_terms(outputs, mean)["ins"].item() == pytest.approx(torch.cat(expected).mean().item(), abs=1e-5)


def extent_by_hand(log_spatial: Tensor, instance_map: Tensor, instance: int) -> float:
    """Mean squared distance to log(1.5 x root mean square distance to the centre); a cell is a square, not a point."""
    pixels = (instance_map == instance).nonzero().tolist()
    y, x = (sum(p[i] for p in pixels) / len(pixels) for i in (0, 1))
    spread = sum((p[0] - y) ** 2 + (p[1] - x) ** 2 for p in pixels) / len(pixels) + 1 / 12 + 1 / 12
    target = math.log(1.5 * math.sqrt(spread) / 128)
    return sum((float(log_spatial[p[0], p[1]]) - target) ** 2 for p in pixels) / len(pixels)


def test_a_predicted_spatial_sigma_is_averaged_over_each_instance_and_drawn_to_its_extent() -> None:
    outputs, mean = make_outputs()
    log_spatial = -4 + 0.5 * torch.randn(1, 1, 3, 4)
    shared, outputs = loss_terms(outputs, mean), {**outputs, "spatial_log_sigma": log_spatial}
    valid, terms = CLASS_MAP[0] != 255, loss_terms(outputs, mean)
    expected = [lovasz_binary(phi_by_hand(outputs, i)[valid][None], (INSTANCE_MAP[0] == i)[valid][None])
                for i in (4, 7, 9)]
    assert terms["ins"].item() == pytest.approx(torch.cat(expected).mean().item(), abs=1e-5)
    target = sum(extent_by_hand(log_spatial[0, 0], INSTANCE_MAP[0], i) for i in (4, 7, 9)) / 3
    assert terms["extent"].item() == pytest.approx(target, rel=1e-4)
    assert "extent" not in shared
    assert terms["ins_var"].item() == pytest.approx(shared["ins_var"].item())


SECOND_CLASS_MAP = torch.tensor([[2, 2, 0, 0], [2, 2, 1, 255], [0, 3, 3, 2]])
SECOND_INSTANCE_MAP = torch.tensor([[7, 7, 0, 0], [7, 7, 0, 0], [0, 4, 4, 5]])  # 9 has gone, 5 has come


def clip_outputs(is_predicted: bool) -> tuple[dict[str, Tensor], Tensor]:
    """Of two images."""
    (first, mean), (second, _) = make_outputs(), make_outputs(1)
    outputs = {name: torch.cat([first[name], second[name]]).detach().requires_grad_()
               for name in ("embedding", "log_sigma", "seed")}
    log_spatial = {"spatial_log_sigma": -4 + 0.5 * torch.randn(2, 1, 3, 4)} if is_predicted else {}
    return {**first, **outputs, **log_spatial}, mean


@pytest.mark.parametrize("is_predicted", [False, True])
def test_an_object_in_two_images_of_a_clip_is_one_instance_with_a_centre_in_each(is_predicted: bool) -> None:
    outputs, mean = clip_outputs(is_predicted)
    class_map = torch.stack([CLASS_MAP[0], SECOND_CLASS_MAP])
    instance_map = torch.stack([INSTANCE_MAP[0], SECOND_INSTANCE_MAP])
    e, log_sigma, log_spatial = outputs["embedding"], outputs["log_sigma"][:, 0], outputs.get("spatial_log_sigma")
    log_spatial = outputs["shared_spatial_log_sigma"].expand(2, 3, 4) if log_spatial is None else log_spatial[:, 0]
    cells = [(b, y, x) for b in range(2) for y in range(3) for x in range(4) if class_map[b, y, x] != 255]
    ins, seed, ins_var, extent = [], [], [], []
    for instance in (4, 5, 7, 9):
        inside = [cell for cell in cells if instance_map[cell] == instance]
        mu = F.normalize(torch.stack([e[b, :, y, x] for b, y, x in inside]).mean(0), dim=0)
        sigma, spatial = (torch.stack([values[cell] for cell in inside]).mean() for values in (log_sigma, log_spatial))
        phi, member = [], []
        for b in {cell[0] for cell in inside}:  # an image that does not show it is left out
            here = [torch.tensor([x, y]) + 0.5 for image, y, x in inside if image == b]
            centre = torch.stack(here).mean(0) / 128
            for image, y, x in cells:
                if image == b:
                    apart = ((torch.tensor([x, y]) + 0.5) / 128 - centre).square().sum()
                    phi.append(torch.exp(-(1 - e[b, :, y, x] @ mu) / (2 * sigma.exp()**2)
                                         - apart / (2 * spatial.exp()**2)))
                    member.append((b, y, x) in inside)
                    if member[-1]:
                        seed.append((outputs["seed"][b, 0, y, x] - phi[-1]) ** 2)
        ins.append(lovasz_binary(torch.stack(phi)[None], torch.tensor(member)[None]))
        ins_var += [(log_sigma[cell] - sigma) ** 2 for cell in inside]
        extent += [extent_by_hand(log_spatial[b], instance_map[b], instance) for b in {cell[0] for cell in inside}]
    seed += [outputs["seed"][b, 0, y, x] ** 2 for b, y, x in cells if not IS_THING[class_map[b, y, x]]]
    terms = loss_terms(outputs, mean, PAPER, class_map, instance_map, clip=(3, 3))
    assert terms["ins"].item() == pytest.approx(torch.cat(ins).mean().item(), abs=1e-5)
    assert terms["seed"].item() == pytest.approx(torch.stack(seed).mean().item(), abs=1e-5)
    assert terms["ins_var"].item() == pytest.approx(10 * torch.stack(ins_var).mean().item(), rel=1e-4)
    if is_predicted:
        assert terms["extent"].item() == pytest.approx(sum(extent) / len(extent), rel=1e-4)


def test_images_of_different_clips_have_nothing_to_do_with_each_other() -> None:
    (first, mean), (second, _) = make_outputs(), make_outputs(1)
    both = {name: torch.cat([first[name], second[name]]) for name in ("embedding", "log_sigma", "seed")}
    terms = loss_terms({**first, **both}, mean, PAPER, CLASS_MAP.expand(2, 3, 4), INSTANCE_MAP.expand(2, 3, 4), (3, 4))
    alone = [loss_terms({**first, **{name: outputs[name] for name in both}}, mean)["ins"]
             for outputs in (first, second)]
    assert terms["ins"].item() == pytest.approx(sum(term.item() for term in alone) / 2, abs=1e-5)


def test_an_object_that_moved_within_a_clip_is_not_punished() -> None:
    outputs, mean = make_outputs()
    classes, instances = torch.zeros(1, 3, 8, dtype=torch.long), torch.zeros(1, 3, 8, dtype=torch.long)
    classes[..., :2], instances[..., :2] = 2, 7
    outputs = {**outputs, "shared_spatial_log_sigma": torch.tensor(-6.0),
               **{name: outputs[name].repeat(1, 1, 1, 2) for name in ("embedding", "log_sigma", "seed")}}
    alone = loss_terms(outputs, mean, PAPER, classes, instances)
    moved = {**outputs, **{name: torch.cat([outputs[name], outputs[name].roll(4, 3)])
                           for name in ("embedding", "log_sigma", "seed")}}
    together = loss_terms(moved, mean, PAPER, *(torch.cat([m, m.roll(4, 2)]) for m in (classes, instances)), (0, 0))
    # Every cell is there twice, with the same phi: the nearest to the centre, so far as four cells apart.
    assert together["seed"].item() == pytest.approx(alone["seed"].item(), abs=1e-6)
    assert together["ins_var"].item() == pytest.approx(alone["ins_var"].item(), abs=1e-6)


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
    valid = CLASS_MAP[0] != 255
    terms = loss_terms(outputs, mean, Settings(smallest_instance=3))  # leaves 7 with three cells, not 4 and 9 with two
    expected = lovasz_binary(phi_by_hand(outputs, 7)[valid][None], (INSTANCE_MAP[0] == 7)[valid][None])
    assert terms["ins"].item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_crowd_has_no_seed_target() -> None:
    outputs, mean = make_outputs()
    class_map = torch.full_like(CLASS_MAP, 2)
    terms = loss_terms(outputs, mean, PAPER, class_map, torch.zeros_like(INSTANCE_MAP))
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
    valid = (CLASS_MAP[0] != 255).flatten()
    e = outputs["embedding"][0].flatten(1)[:, valid].T
    distance = 1 - e @ outputs["class_mean"].detach().T
    kernel = torch.exp(-distance / (2 * outputs["class_log_sigma"].exp() ** 2))
    psi = kernel / kernel.sum(1, keepdim=True)
    term = loss_terms(outputs, mean)["seg"]
    assert term.item() == pytest.approx(lovasz_softmax(psi.T, CLASS_MAP.flatten()[valid]).item(), abs=1e-5)
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
    terms = loss_terms(outputs, mean, Settings(seg=2, seg_mean=3, ins=4, seed=5, cross_entropy=6))
    expected = (2 * terms["seg"] + 3 * terms["seg_mean"] + 4 * terms["ins"] + terms["ins_var"] + 5 * terms["seed"]
                + 6 * terms["cross_entropy"])
    assert terms["total"].item() == pytest.approx(expected.item())


def test_truth_of_a_finer_size_is_taken_at_the_nearest_pixels() -> None:
    outputs, mean = make_outputs()

    def finer(label_map: Tensor) -> Tensor:
        return label_map.repeat_interleave(4, 1).repeat_interleave(4, 2)

    terms = loss_terms(outputs, mean, PAPER, finer(CLASS_MAP), finer(INSTANCE_MAP))
    assert terms["total"].item() == pytest.approx(loss_terms(outputs, mean)["total"].item())


def test_an_image_of_void_alone_gives_zero() -> None:
    outputs, mean = make_outputs()
    terms = loss_terms(outputs, mean, PAPER, torch.full_like(CLASS_MAP, 255))
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


def known_log_psi(outputs: dict[str, Tensor], mean: Tensor) -> tuple[Tensor, Tensor]:
    valid = (CLASS_MAP[0] != 255).flatten()
    distance = 1 - outputs["embedding"][0].flatten(1)[:, valid].T @ mean.T
    return (-distance / (2 * outputs["class_log_sigma"].exp() ** 2)).log_softmax(1), CLASS_MAP.flatten()[valid]


def test_the_cross_entropy_variant_takes_it_of_psi_and_of_phi() -> None:
    outputs, mean = make_outputs()
    terms = loss_terms(outputs, mean, Settings(semantic="cross_entropy", instance="cross_entropy"))
    log_psi, classes = known_log_psi(outputs, outputs["class_mean"])
    assert terms["seg"].item() == pytest.approx(-log_psi[range(len(classes)), classes].mean().item(), abs=1e-5)
    valid, expected = CLASS_MAP[0] != 255, []
    for instance in (4, 7, 9):
        phi, inside = phi_by_hand(outputs, instance)[valid], (INSTANCE_MAP[0] == instance)[valid]
        expected.append(-torch.cat([phi[inside].log(), (1 - phi[~inside]).log()]).mean().item())
    assert terms["ins"].item() == pytest.approx(sum(expected) / 3, abs=1e-4)


def test_means_that_are_backpropagated_take_psis_gradient_and_have_no_regression() -> None:
    outputs, mean = make_outputs()
    terms = loss_terms(outputs, mean, Settings(means="backpropagation"))
    assert "seg_mean" not in terms
    terms["seg"].backward()
    assert mean.grad is not None
    assert mean.grad.abs().sum() > 0


def test_split_semantics_are_told_apart_by_their_own_half() -> None:
    outputs, mean = make_outputs()
    outputs["class_embedding"] = F.normalize(torch.randn(1, 5, 3, 4), dim=1)
    terms = loss_terms(outputs, mean, Settings(semantic="cross_entropy"))
    log_psi, classes = known_log_psi({**outputs, "embedding": outputs["class_embedding"]}, outputs["class_mean"])
    assert terms["seg"].item() == pytest.approx(F.nll_loss(log_psi, classes).item(), abs=1e-5)


def test_a_semantic_branch_is_trained_by_its_logits_alone() -> None:
    outputs, mean = make_outputs()
    outputs["class_logits"] = torch.randn(1, CLASSES, 3, 4, requires_grad=True)
    terms = loss_terms(outputs, mean, Settings(semantic="cross_entropy"))
    valid = (CLASS_MAP[0] != 255).flatten()
    expected = F.cross_entropy(outputs["class_logits"][0].flatten(1).T[valid], CLASS_MAP.flatten()[valid])
    assert terms["seg"].item() == pytest.approx(expected.item(), abs=1e-6)
    assert "seg_mean" not in terms


def test_associative_loss_pulls_beyond_its_margin_and_pushes_within_the_other() -> None:
    embedding = torch.tensor([[0.0, 0.0], [2.0, 0.0], [3.0, 0.0], [9.0, 9.0]])
    member = torch.tensor([[True, True, False, False], [False, False, True, False], [False] * 4])
    mean = torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 5.0]])
    # Pull (Eq. 1): each of the first group is 1 from its mean, 0.5 beyond the margin: 0.25; the second group 0; mean
    # 0.125. Push (Eq. 2): the two means are 2 apart, 1 within the margin of 3, in both directions: 1. A group without
    # members counts in neither.
    assert associative_loss(embedding, member, mean, (0.5, 3.0)).item() == pytest.approx(1.125)


def test_the_associative_variant_pulls_pixels_to_class_means_and_to_instance_means() -> None:
    outputs, mean = make_outputs()
    terms = loss_terms(outputs, mean, Settings(semantic="associative", instance="associative", means="backpropagation"))
    valid = (CLASS_MAP[0] != 255).flatten()
    e, classes = outputs["embedding"][0].flatten(1)[:, valid].T, CLASS_MAP.flatten()[valid]
    member = torch.stack([classes == k for k in range(CLASSES)])
    expected = associative_loss(e, member, outputs["class_mean"], PAPER.class_margins)
    assert terms["seg"].item() == pytest.approx(expected.item(), abs=1e-5)
    instances = INSTANCE_MAP.flatten()[valid]
    member = torch.stack([instances == i for i in (4, 7, 9)])
    means = torch.stack([e[row].mean(0) for row in member])
    expected = associative_loss(e, member, means, PAPER.instance_margins)
    assert terms["ins"].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("thomson", [True, False])
def test_class_means_begin_as_the_settings_want(thomson: bool) -> None:
    torch.manual_seed(0)
    network = hle.Network(hle.Hyperparameters("mobilenetv2_050", decoder_channels=16), [False] * 4)
    before = network.class_mean.detach().clone()
    HLEObjective(network, Settings(thomson=thomson), TABLE).initialise(seed=1)
    assert torch.equal(network.class_mean, thomson_means(4, 12, 1) if thomson else before)


def test_a_pixel_inside_an_instance_has_the_foreground_s_weight_in_the_seed_term() -> None:
    outputs, mean = make_outputs()
    plain, weighted = (loss_terms(outputs, mean, Settings(seed_foreground=w))["seed"].item() for w in (1.0, 11.0))
    seed = outputs["seed"][0, 0]
    errors, count = 0.0, 0
    for y in range(3):
        for x in range(4):
            k = int(INSTANCE_MAP[0, y, x])
            if CLASS_MAP[0, y, x] != 255 and k > 0:
                errors += float((seed[y, x] - phi_by_hand(outputs, k)[y, x]).detach()) ** 2
            # Stuff counts too; a pixel of a thing class without an instance (there is none here) would not.
            count += int(CLASS_MAP[0, y, x] != 255)
    assert weighted - plain == pytest.approx(10 * errors / count, abs=1e-5)


def test_the_extent_of_an_instance_that_its_crop_has_cut_is_not_asked_for() -> None:
    outputs, mean = make_outputs()
    outputs = {**outputs, "spatial_log_sigma": -4 + 0.5 * torch.randn(1, 1, 3, 4)}
    ids = [4, 7, 9]

    def extent(cut: list[int]) -> float:
        objects = Objects(torch.zeros(3).long(), torch.tensor(ids), torch.tensor([3, 2, 2]), torch.zeros(3, 4),
                          torch.tensor([[False, k in cut, False, False] for k in ids]))
        batch = {"class_map": CLASS_MAP, "instance_map": INSTANCE_MAP, "clip": torch.zeros(1), "objects": objects}
        return HLEObjective(EmbeddingSpace(mean), PAPER, TABLE).loss(outputs, batch)["extent"].item()

    alone = [extent([other for other in ids if other != k]) for k in ids]
    assert extent([]) == pytest.approx(sum(alone) / 3, abs=1e-5)
    assert extent([4]) == pytest.approx((alone[1] + alone[2]) / 2, abs=1e-5)
    assert extent(ids) == 0


def test_the_associative_variant_s_sigmas_learn_and_leave_the_embeddings_to_pull_and_push() -> None:
    settings = Settings(semantic="associative", instance="associative", means="backpropagation")
    outputs, mean = make_outputs()
    terms = loss_terms(outputs, mean, settings)
    (terms["seg_sigma"] + terms["ins_sigma"]).backward(retain_graph=True)
    for name in ("class_log_sigma", "log_sigma", "shared_spatial_log_sigma"):
        gradient = outputs[name].grad
        assert gradient is not None, name
        assert (gradient != 0).any(), name
    assert outputs["embedding"].grad is None or (outputs["embedding"].grad == 0).all()
    # The same kernels as the decode's.
    inside = torch.cat([lovasz_binary(phi_by_hand(outputs, number).flatten()[None, CLASS_MAP.flatten() != 255],
                                      (number == INSTANCE_MAP).flatten()[None, CLASS_MAP.flatten() != 255])
                        for number in (4, 7, 9)])
    torch.testing.assert_close(terms["ins_sigma"], inside.mean(), atol=1e-5, rtol=1e-4)
    assert not {"seg_sigma", "ins_sigma"} & loss_terms(*make_outputs()).keys()


def test_on_request_an_instance_s_sigma_is_held_below_that_of_its_class() -> None:
    outputs, mean = make_outputs()
    assert "hierarchy" not in loss_terms(outputs, mean)
    of_class = {7: 2, 9: 2, 4: 3}
    expected = []
    for instance, class_id in of_class.items():
        own = outputs["log_sigma"][0, 0][(INSTANCE_MAP[0] == instance) & (CLASS_MAP[0] != 255)].mean()
        expected.append(max(float((own - outputs["class_log_sigma"][class_id]).detach()), 0)**2)
    assert 0 in expected
    assert sum(expected) > 0
    terms = loss_terms(outputs, mean, Settings(hierarchy=2.0))
    assert terms["hierarchy"].item() == pytest.approx(sum(expected) / 3, rel=1e-5)
    others = loss_terms(outputs, mean)["total"]
    assert (terms["total"] - others).item() == pytest.approx(2 * terms["hierarchy"].item(), abs=1e-5)
