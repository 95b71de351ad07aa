"""Centroid embedding's loss against brute force, pixel by pixel, and against numbers worked by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.methods.centroid_embedding import Hyperparameters, Network, Thresholds, decode
from panoptic_ros.methods.centroid_embedding.positions import positional_embedding
from training.losses.boundary import boundary_weight, distance_to_boundary
from training.losses.total_variation import cross_entropy_variation, total_variation
from training.objectives.centroid_embedding import (
    CentroidEmbeddingObjective,
    Settings,
    centroids_of,
    dice_loss,
    embedding_error,
)

C, VOID, D = 4, 255, 2.0
IS_THING = (False, True, False, True)
TABLE = ClassTable("four", tuple("abcd"), IS_THING, ((0, 0, 0),) * 4)
# Image 0: instances 7 and 9 of class 1, 4 of class 3, a crowd of class 3, void. Image 1: another 7 of class 1.
CLASS_MAP = torch.tensor([[[0, 1, 1, 1], [2, 1, 255, 1], [3, 3, 0, 3]], [[0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]])
INSTANCE_MAP = torch.tensor([[[0, 7, 7, 9], [0, 7, 0, 9], [4, 4, 0, 0]], [[0, 0, 7, 0], [0, 0, 7, 0], [0, 0, 0, 0]]])
INSTANCES = [(0, 4), (0, 7), (0, 9), (1, 7)]  # image, number
CELLS = [(b, y, x) for b in range(2) for y in range(3) for x in range(4)]
CROWD = (0, 2, 3)


def objective_of(settings: Settings | None = None, outputs: tuple[str, ...] = ("centroid", "depth"),
                 **hyperparameters: Any) -> CentroidEmbeddingObjective:
    network: Any = nn.Module()
    network.hyperparameters = Hyperparameters(grid=(6, 8), **hyperparameters)
    network.pixel_outputs = frozenset(outputs)
    return CentroidEmbeddingObjective(network, settings or Settings(edge_distance=D), TABLE)


def random_outputs(channels: int = 16, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"class_logits": torch.randn(2, C, 3, 4, generator=generator),
            "centroid": torch.randn(2, channels, 3, 4, generator=generator),
            "depth": 1 + 5 * torch.rand(2, 1, 3, 4, generator=generator)}


def batch_of(class_map: Tensor = CLASS_MAP, instance_map: Tensor = INSTANCE_MAP,
             depth: Tensor | None = None, focal: tuple[float, float] = (0.0, 0.0)) -> dict[str, Any]:
    return {"class_map": class_map.to(torch.uint8), "instance_map": instance_map.int(),
            "depth": torch.full(class_map.shape, 3.0) if depth is None else depth, "focal_length": torch.tensor(focal)}


def center(b: int, number: int) -> tuple[float, float]:
    """x and y of the centre of mass from -1 to 1."""
    cells = [(y, x) for image, y, x in CELLS if image == b and INSTANCE_MAP[b, y, x] == number]
    y, x = (sum(along) / len(cells) for along in zip(*cells, strict=True))
    return (x + 0.5) / 2 - 1, (y + 0.5) / 1.5 - 1


def target(b: int, y: int, x: int, harmonics: int = 4) -> Tensor:
    number = int(INSTANCE_MAP[b, y, x])
    return positional_embedding(torch.tensor(center(b, number)), harmonics).flatten() if number else torch.zeros(
        4 * harmonics)


def edge_weights() -> Tensor:
    labels = INSTANCE_MAP.clone()
    labels[CROWD] = -1
    return boundary_weight(distance_to_boundary(labels), D)


def weighted(errors: dict[tuple[int, int, int], float], weights: Tensor) -> float:
    """Eq. 1; the crowd has no weight."""
    total = sum(float(weights[c]) for c in CELLS if c != CROWD)
    return sum(float(weights[c]) * errors[c] for c in CELLS if c != CROWD) / total


def test_centroids_are_the_centres_of_mass_of_what_is_seen_over_the_image() -> None:
    found = centroids_of(CLASS_MAP, INSTANCE_MAP)
    assert found.image.tolist() == [b for b, _ in INSTANCES]
    assert found.area.tolist() == [2, 3, 2, 2]
    torch.testing.assert_close(found.position, torch.tensor([center(*instance) for instance in INSTANCES]))
    for b, y, x in CELLS:
        number = int(INSTANCE_MAP[b, y, x])
        assert int(found.number[b, y, x]) == (INSTANCES.index((b, number)) + 1 if number else 0)


def test_the_error_is_half_the_sum_of_the_distances_of_both_halves() -> None:
    predicted = torch.zeros(1, 4, 1, 1)
    predicted[0, :, 0, 0] = torch.tensor([3.0, 4, 5, 12])
    assert float(embedding_error(predicted, torch.zeros(1, 4, 1, 1))) == pytest.approx((5 + 13) / 2)


@pytest.mark.parametrize("harmonics", [3, 4, 5])
def test_the_instance_loss_is_equations_1_to_5(harmonics: int) -> None:
    outputs, half = random_outputs(4 * harmonics), 2 * harmonics
    difference = {c: outputs["centroid"][c[0], :, c[1], c[2]] - target(*c, harmonics) for c in CELLS}
    errors = {c: float(d[:half].norm() + d[half:].norm()) / 2 for c, d in difference.items()}
    terms = objective_of(harmonics=harmonics).loss(outputs, batch_of())
    assert float(terms["instance"]) == pytest.approx(weighted(errors, edge_weights()), rel=1e-5)
    assert float(terms["instance_variation"]) == pytest.approx(float(total_variation(outputs["centroid"])))
    plain = objective_of(Settings(edge_sampling=False), harmonics=harmonics).loss(outputs, batch_of())
    assert float(plain["instance"]) == pytest.approx(weighted(errors, torch.ones(2, 3, 4)), rel=1e-5)


def test_without_void_only_pixels_of_instances_count() -> None:
    outputs = random_outputs()
    objects = (INSTANCE_MAP > 0).float()
    errors = {c: float(embedding_error(outputs["centroid"][c[0], :, c[1], c[2]].view(1, 16, 1, 1),
                                       target(*c).view(1, 16, 1, 1))) for c in CELLS}
    settings = Settings(edge_sampling=False, train_on_void=False)
    assert float(objective_of(settings).loss(outputs, batch_of())["instance"]) == pytest.approx(
        weighted(errors, objects), rel=1e-5)


def test_dice_is_equations_12_to_14_image_by_image() -> None:
    predicted = 0.4 * random_outputs()["centroid"]
    centroids = centroids_of(CLASS_MAP, INSTANCE_MAP)
    code = positional_embedding(centroids.position, 4).flatten(1)
    losses = []
    for b in range(2):
        above = below = 0.0
        for image, number in INSTANCES:
            if image != b:
                continue
            own = torch.tensor(center(b, number))
            area = int((INSTANCE_MAP[b] == number).sum())
            for _, y, x in (c for c in CELLS if c[0] == b):
                d = predicted[b, :, y, x] - positional_embedding(own, 4).flatten()
                p = math.exp(-float(d[:8].square().sum())) * math.exp(-float(d[8:].square().sum()))
                r = float(INSTANCE_MAP[b, y, x] == number)
                above, below = above + r * p / area, below + (r + p) / area
        losses.append(1 - 2 * above / below)
    assert float(dice_loss(predicted, code, centroids)) == pytest.approx(sum(losses) / 2, rel=1e-4)


def test_direct_regression_is_to_red_green_and_blue_and_to_black_in_void() -> None:
    outputs = random_outputs(3)
    errors = {}
    for b, y, x in CELLS:
        number = int(INSTANCE_MAP[b, y, x])
        u, v = center(b, number) if number else (-1.0, -1.0)
        color = torch.tensor([(u + 1) / 2, (v + 1) / 2, float(number > 0)])
        errors[b, y, x] = float((outputs["centroid"][b, :, y, x] - color).abs().sum())
    terms = objective_of(encoding="direct").loss(outputs, batch_of())
    assert float(terms["instance"]) == pytest.approx(weighted(errors, edge_weights()), rel=1e-5)
    assert float(terms["instance_variation"]) == pytest.approx(float(total_variation(outputs["centroid"], "l1")))
    assert "dice" not in terms


def test_classification_is_of_the_column_and_the_row_of_the_centroid_or_void() -> None:
    outputs = random_outputs(8 + 6 + 2)
    errors = {}
    for b, y, x in CELLS:
        number = int(INSTANCE_MAP[b, y, x])
        u, v = center(b, number) if number else (0.0, 0.0)
        column, row = (int((u + 1) / 2 * 8), int((v + 1) / 2 * 6)) if number else (8, 6)
        along_x, along_y = outputs["centroid"][b, :, y, x].split([9, 7])
        errors[b, y, x] = -float(along_x.log_softmax(0)[column] + along_y.log_softmax(0)[row]) / 2
    terms = objective_of(encoding="cross_entropy").loss(outputs, batch_of())
    assert float(terms["instance"]) == pytest.approx(weighted(errors, edge_weights()), rel=1e-5)
    along = outputs["centroid"].split([9, 7], 1)
    assert float(terms["instance_variation"]) == pytest.approx(
        float(cross_entropy_variation(along[0]) + cross_entropy_variation(along[1])) / 2, rel=1e-5)


def test_classes_are_weighed_by_class_boundaries_and_void_is_left_out() -> None:
    logits = random_outputs()["class_logits"]
    weight = boundary_weight(distance_to_boundary(CLASS_MAP), D) * (CLASS_MAP != VOID)
    errors = torch.stack([-logits[b, :, y, x].log_softmax(0)[int(CLASS_MAP[b, y, x])] if CLASS_MAP[b, y, x] != VOID
                          else torch.tensor(0.0) for b, y, x in CELLS]).view(2, 3, 4)
    terms = objective_of().loss(random_outputs(), batch_of())
    assert float(terms["semantic"]) == pytest.approx(float((errors * weight).sum() / weight.sum()), rel=1e-5)
    assert float(terms["semantic_variation"]) == pytest.approx(float(cross_entropy_variation(logits)))


def test_the_total_is_the_sum_of_the_terms_by_their_weights() -> None:
    settings = Settings(instance=2, semantic=3, depth=5, total_variation=0.7, dice=0.5)
    terms = {name: float(term) for name, term in objective_of(settings).loss(random_outputs(), batch_of()).items()}
    assert terms["total"] == pytest.approx(
        2 * terms["instance"] + 2 * 0.5 * terms["dice"] + 3 * terms["semantic"] + 5 * terms["depth"]
        + 0.7 * (2 * terms["instance_variation"] + 3 * terms["semantic_variation"]), rel=1e-5)


def log_loss(predicted: Tensor, truth: Tensor) -> float:
    d = predicted.log() - truth.log()
    return float(d.square().mean() - 0.5 * d.mean().square())


def test_depth_is_learned_for_the_network_s_camera() -> None:
    outputs, truth = random_outputs(), torch.full((2, 3, 4), 3.0)
    # Seen by a camera of twice the focal length, what is 3 m away looks as it does to the network's at 1.5 m.
    terms = objective_of(focal_length=100.0).loss(outputs, batch_of(depth=truth, focal=(200.0, 0.0)))
    expected = (log_loss(outputs["depth"][0, 0], truth[0] / 2) + log_loss(outputs["depth"][1, 0], truth[1])) / 2
    assert float(terms["depth"]) == pytest.approx(expected, rel=1e-5)
    # One without a focal length takes metres as they are.
    plain = objective_of().loss(outputs, batch_of(depth=truth, focal=(200.0, 0.0)))
    assert float(plain["depth"]) == pytest.approx(
        (log_loss(outputs["depth"][0, 0], truth[0]) + log_loss(outputs["depth"][1, 0], truth[1])) / 2, rel=1e-5)


def test_holes_nan_and_what_is_beyond_the_largest_depth_are_left_out() -> None:
    outputs, truth = random_outputs(), torch.full((2, 3, 4), 3.0)
    truth[0, 0] = torch.tensor([0.0, math.nan, math.inf, 10.5])
    terms = objective_of(max_depth=10.0).loss(outputs, batch_of(depth=truth))
    expected = (log_loss(outputs["depth"][0, 0, 1:], truth[0, 1:]) + log_loss(outputs["depth"][1, 0], truth[1])) / 2
    assert float(terms["depth"]) == pytest.approx(expected, rel=1e-5)


def test_relative_depth_is_learned_as_disparity() -> None:
    outputs, truth = random_outputs(), 1 + 9 * torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(1))
    truth[0, 1, 1], truth[1, 0, 0] = 0, math.nan
    disparity = torch.where(torch.isfinite(truth) & (truth > 0), 1 / truth, 0.0)
    objective = objective_of(outputs=("centroid", "disparity"), depth="relative")
    terms = objective.loss({**outputs, "disparity": 0.2 * disparity[:, None] + 0.1}, batch_of(depth=truth))
    assert float(terms["depth"]) == pytest.approx(0, abs=1e-5)
    terms = objective.loss({**outputs, "disparity": outputs["depth"]}, batch_of(depth=truth))
    assert float(terms["depth"]) > 0.1


def test_a_first_stage_trains_instances_alone_and_needs_no_depth() -> None:
    objective = objective_of(Settings(semantic=0, depth=0))
    assert not objective.uses_depth
    assert objective_of().uses_depth
    assert not objective_of(outputs=("centroid",), depth="none").uses_depth
    batch = {name: values for name, values in batch_of().items() if name in ("class_map", "instance_map")}
    assert objective.loss(random_outputs(), batch).keys() == {"total", "instance", "instance_variation", "dice"}


def test_an_image_without_labels_has_depth_alone() -> None:
    void, nothing = torch.full_like(CLASS_MAP, VOID), torch.zeros_like(INSTANCE_MAP)
    terms = objective_of(Settings(edge_sampling=False)).loss(random_outputs(), batch_of(void, nothing))
    assert float(terms["instance"]) == float(terms["semantic"]) == float(terms["dice"]) == 0
    assert float(terms["depth"]) > 0


@pytest.mark.parametrize("encoding", ["positional", "direct", "cross_entropy"])
@pytest.mark.parametrize("class_id", [VOID, 0, 1])
def test_images_of_void_of_stuff_and_of_a_crowd_alone_give_finite_gradients(encoding: Any, class_id: int) -> None:
    channels = {"positional": 16, "direct": 3, "cross_entropy": 16}[encoding]
    outputs = {name: values.requires_grad_() for name, values in random_outputs(channels).items()}
    batch = batch_of(torch.full_like(CLASS_MAP, class_id), torch.zeros_like(INSTANCE_MAP), torch.zeros(2, 3, 4))
    terms = objective_of(encoding=encoding).loss(outputs, batch)
    terms["total"].backward()
    assert all(torch.isfinite(term) for term in terms.values())
    assert all(torch.isfinite(values.grad).all() for values in outputs.values() if values.grad is not None)


def test_a_class_that_the_table_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="beyond the 4 classes"):
        objective_of().loss(random_outputs(), batch_of(torch.full_like(CLASS_MAP, 4)))


@pytest.mark.parametrize("changes", [{"edge_distance": 0.0}, {"edge_weight": 1.5}, {"scale_invariance": -0.1}])
def test_settings_that_cannot_be_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(changes))} is|and {next(iter(changes))}"):
        dataclasses.replace(Settings(), **changes)


def test_a_network_learns_to_tell_boxes_apart_and_how_far_they_are() -> None:
    torch.manual_seed(0)
    class_map, instance_map = torch.zeros(1, 64, 128), torch.zeros(1, 64, 128)
    depth = torch.full((1, 64, 128), 40.0)
    image = 0.3 * torch.randn(1, 3, 64, 128)
    for k, x in enumerate((4, 34, 64, 94)):
        class_map[:, 16:56, x:x + 26], instance_map[:, 16:56, x:x + 26] = 1, k + 1
        depth[:, 16:56, x:x + 26] = 4.0 + 4 * k
        image[:, k % 3, 16:56, x:x + 26] += 2 + k // 3
    hyperparameters = Hyperparameters("test_efficientnet", decoder_channels=32, max_depth=100.0)
    network: Any = Network(hyperparameters, IS_THING)
    objective = CentroidEmbeddingObjective(network, Settings(), TABLE).train()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    batch = batch_of(class_map, instance_map, depth, (0.0, 0.0))
    batch["focal_length"] = torch.zeros(1)
    for _ in range(260):
        optimiser.zero_grad()
        objective(image, batch)["total"].backward()
        optimiser.step()
    with torch.no_grad():
        outputs = {**network(image), **network.decode_parameters()}
    decoded = decode(outputs, torch.tensor(IS_THING), Thresholds(distance=20.0), (64, 128))
    things = int(decoded.segments[0].is_thing.sum())
    assert things == 4
    found = F.one_hot(decoded.segment_map[0].long()).flatten(0, 1).float()[:, 1:5]
    true = F.one_hot(instance_map[0].long()).flatten(0, 1).float()[:, 1:]
    shared = found.T @ true
    iou = shared / (found.sum(0)[:, None] + true.sum(0) - shared)
    assert (iou.amax(0) > 0.8).all()
    assert decoded.depth is not None
    off = (decoded.depth / depth).log().abs().mean()
    assert off < 0.2

