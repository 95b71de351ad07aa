"""Every equation of EINet's loss against brute force, pixel by pixel, and against numbers worked by hand."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.methods import einet
from training.losses.cross_entropy import bootstrapped_cross_entropy
from training.objectives.einet import (
    EINetObjective,
    Settings,
    consistency_loss,
    correlation,
    extract_and_summarise,
    focal_loss,
    gaussian_radius,
    heatmap_target,
    instance_regularisation,
    instances_of,
    semantic_regularisation,
    updated_centre,
)

C, D, VOID = 4, 5, 255
IS_THING = (False, True, False, True)
TABLE = ClassTable("four", tuple("abcd"), IS_THING, ((0, 0, 0),) * 4)
# Image 0: instances 7 and 9 of class 1, 4 of class 3, a crowd of class 3, void. Image 1: another 7 of class 1.
CLASS_MAP = torch.tensor([[[0, 1, 1, 1], [2, 1, 255, 1], [3, 3, 0, 3]], [[0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]])
INSTANCE_MAP = torch.tensor([[[0, 7, 7, 9], [0, 7, 0, 9], [4, 4, 0, 0]], [[0, 0, 7, 0], [0, 0, 7, 0], [0, 0, 0, 0]]])
INSTANCES = [(0, 4, 3), (0, 7, 1), (0, 9, 1), (1, 7, 1)]  # image, number, class
CELLS = [(b, y, x) for b in range(2) for y in range(3) for x in range(4)]


class Heads(nn.Module):
    """What the loss takes of a network besides its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(D, C, 1)
        self.register_buffer("center", F.normalize(torch.randn(C, D), dim=1))
        self.register_buffer("center_seen", torch.tensor([True, True, False, False]))
        self.center: Tensor
        self.center_seen: Tensor


def make(seed: int = 0) -> tuple[dict[str, Tensor], Heads]:
    torch.manual_seed(seed)
    heads = Heads()
    semantic = torch.randn(2, D, 3, 4)
    outputs = {"semantic_embedding": semantic, "class_logits": heads.classifier(semantic).detach(),
               "semantic_attention": torch.rand(2, 1, 3, 4), "attention": torch.rand(2, 1, 3, 4),
               "embedding": 2 * torch.randn(2, D, 3, 4), "heatmap": torch.rand(2, 2, 3, 4)}
    return {name: value.requires_grad_() for name, value in outputs.items()}, heads


def loss_terms(outputs: dict[str, Tensor], heads: nn.Module, settings: Settings | None = None, train: bool = False,
               class_map: Tensor = CLASS_MAP, instance_map: Tensor = INSTANCE_MAP) -> dict[str, Tensor]:
    objective = EINetObjective(heads, settings or Settings(), TABLE).train(train)
    return objective.loss(outputs, {"class_map": class_map, "instance_map": instance_map})


def number(value: Tensor) -> float:
    """Of a scalar, also of one with a gradient."""
    return value.item()


def unit(v: Tensor) -> Tensor:
    return v / v.norm()


def average(embedding: Tensor, attention: Tensor, cells: list[tuple[int, int, int]]) -> Tensor:
    """ESM, cell by cell."""
    embedding, attention = embedding.detach(), attention.detach()
    total = sum(attention[b, 0, y, x] for b, y, x in cells)
    return torch.stack([attention[b, 0, y, x] * embedding[b, :, y, x] for b, y, x in cells]).sum(0) / total


def cells_of(instance: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    return [c for c in CELLS if c[0] == instance[0] and INSTANCE_MAP[c] == instance[1]]


def instance_means(outputs: dict[str, Tensor]) -> list[Tensor]:
    return [average(outputs["embedding"], outputs["attention"], cells_of(i)) for i in INSTANCES]


def class_means(outputs: dict[str, Tensor]) -> list[Tensor]:
    return [average(outputs["semantic_embedding"], outputs["semantic_attention"],
                    [c for c in CELLS if CLASS_MAP[c] == j]) for j in range(C)]


def centres_by_hand(outputs: dict[str, Tensor], heads: Heads, mu: float = 0.9, interaction: str = "category",
                    augmented: bool = True) -> list[Tensor]:
    """Eq. 2 and 3, class by class and instance by instance."""
    e, v = [unit(x) for x in instance_means(outputs)], [unit(x) for x in class_means(outputs)]
    omega = []
    for one in e:
        similarity = [math.exp(-number((one - other).norm())) for other in v]
        omega.append([s / sum(similarity) for s in similarity])
    result = []
    for j in range(C):
        kept = heads.center[j] if heads.center_seen[j] else v[j]
        target = v[j]
        if IS_THING[j] and augmented:
            who = [k for k in range(4) if interaction == "all" or INSTANCES[k][2] == j]
            target = sum(omega[k][j] * e[k] for k in who) / sum(omega[k][j] for k in who)
        result.append(mu * kept + (1 - mu) * target)
    return result


def test_extract_and_summarise_is_the_attention_weighted_mean() -> None:
    embedding, attention = torch.tensor([[1.0, 0], [3, 4], [5, 5], [7, 7]]), torch.tensor([0.5, 0.25, 1, 1])
    mean = extract_and_summarise(embedding, attention, torch.tensor([0, 0, 2, -1]), 3)
    torch.testing.assert_close(mean, torch.tensor([[1.25 / 0.75, 1 / 0.75], [0, 0], [5, 5]]))


def test_eq_2_gives_the_nearest_present_class_the_most() -> None:
    mean, centres = torch.tensor([[1.0, 0]]), torch.tensor([[1.0, 0], [0, 1], [-1, 0]])
    near, middle = 1.0, math.exp(-math.sqrt(2))
    torch.testing.assert_close(correlation(mean, centres, torch.tensor([True, True, False])),
                               torch.tensor([[near, middle, 0]]) / (near + middle), atol=1e-5, rtol=0)
    assert correlation(mean, centres, torch.tensor([True] * 3)).argsort(descending=True).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("interaction", ["category", "all"])
def test_eq_3_moves_the_centres_in_training_and_sees_the_classes(interaction: Any) -> None:
    outputs, heads = make()
    expected = centres_by_hand(outputs, heads, 0.8, interaction)
    loss_terms(outputs, heads, Settings(mu=0.8, interaction=interaction), train=True)
    torch.testing.assert_close(heads.center, torch.stack(expected).detach(), atol=1e-5, rtol=1e-5)
    assert heads.center_seen.all()


def test_without_semantic_augmentation_all_centres_follow_the_average_embedding_of_their_class() -> None:
    outputs, heads = make()
    expected = centres_by_hand(outputs, heads, augmented=False)
    loss_terms(outputs, heads, Settings(semantic_augmentation=False), train=True)
    torch.testing.assert_close(heads.center, torch.stack(expected).detach(), atol=1e-5, rtol=1e-5)


def test_in_evaluation_the_centres_stay() -> None:
    outputs, heads = make()
    before = heads.center.clone()
    loss_terms(outputs, heads)
    assert torch.equal(heads.center, before)
    assert heads.center_seen.tolist() == [True, True, False, False]


def test_centres_of_classes_that_are_absent_stay_and_the_others_remain_within_the_unit_ball() -> None:
    outputs, heads = make()
    before = heads.center.clone()
    class_map, instance_map = torch.zeros_like(CLASS_MAP), torch.zeros_like(INSTANCE_MAP)
    for _ in range(20):
        loss_terms(outputs, heads, train=True, class_map=class_map, instance_map=instance_map)
    assert torch.equal(heads.center[1:], before[1:])
    assert not torch.equal(heads.center[0], before[0])
    assert heads.center_seen.tolist() == [True, True, False, False]
    for _ in range(50):
        loss_terms(outputs, heads, Settings(interaction="all"), train=True)
    assert (heads.center.norm(dim=1) <= 1 + 1e-5).all()


def cross_entropies(logits: Tensor) -> list[float]:
    """Of the known pixels, times 3 in instances of less than three cells: 7 of image 0 has three."""
    result = []
    for c in CELLS:
        if CLASS_MAP[c] == VOID:
            continue
        b, y, x = c
        error = -number(logits[b, :, y, x].log_softmax(0)[CLASS_MAP[c]])
        small = INSTANCE_MAP[c] != 0 and (b, int(INSTANCE_MAP[c])) != (0, 7)
        result.append(error * (3 if small else 1))
    return sorted(result, reverse=True)


def test_eq_4_the_classifier_learns_from_the_embedding_and_from_the_one_with_its_thing_pixels_at_their_centre() -> None:
    outputs, heads = make()
    centres = centres_by_hand(outputs, heads)
    recalibrated = outputs["semantic_embedding"].detach().clone()
    for c in CELLS:
        if CLASS_MAP[c] in (1, 3):
            recalibrated[c[0], :, c[1], c[2]] = centres[int(CLASS_MAP[c])]
    settings = Settings(bootstrap=0.3, small_instance=3)
    worst = round(0.3 * 23)
    logits = outputs["class_logits"], heads.classifier(recalibrated)
    expected = [sum(cross_entropies(x)[:worst]) / worst for x in logits]
    assert number(loss_terms(outputs, heads, settings)["sem"]) == pytest.approx(sum(expected) / 2, abs=1e-5)
    raw = loss_terms(outputs, heads, dataclasses.replace(settings, semantic_augmentation=False))
    assert number(raw["sem"]) == pytest.approx(expected[0], abs=1e-5)


def test_the_semantic_loss_reaches_the_instance_embedding_through_the_centres() -> None:
    outputs, heads = make()
    loss_terms(outputs, heads, Settings(bootstrap=1.0))["sem"].backward()
    inside = (CLASS_MAP != VOID) & (INSTANCE_MAP > 0)
    gradient = outputs["embedding"].grad.abs().sum(1)  # type: ignore[union-attr]
    assert (gradient[inside] > 0).all()
    assert (gradient[~inside] == 0).all()


def test_small_instances_are_measured_in_pixels_of_the_crop() -> None:
    outputs, heads = make()
    large = {"class_map": CLASS_MAP.repeat_interleave(4, 1).repeat_interleave(4, 2),
             "instance_map": INSTANCE_MAP.repeat_interleave(4, 1).repeat_interleave(4, 2)}
    settings = Settings(small_instance=3 * 16)
    expected = loss_terms(outputs, heads, Settings(small_instance=3))["sem"]
    assert number(loss_terms(outputs, heads, settings, **large)["sem"]) == pytest.approx(number(expected))
    assert number(loss_terms(outputs, heads, Settings(small_instance=4))["sem"]) != pytest.approx(number(expected))


def test_bootstrapping_takes_the_largest_after_weighting() -> None:
    logits = torch.tensor([[0.0, 0, 0, 0], [1.0, 2, 3, 9]]).view(1, 2, 1, 4)
    class_map = torch.tensor([[[0, 0, 0, 255]]])
    errors = [math.log1p(math.exp(z)) for z in (1, 2, 3)]
    weight = torch.tensor([[[4.0, 1, 1, 100]]])
    assert number(bootstrapped_cross_entropy(logits, class_map, 0.34, weight)) == pytest.approx(4 * errors[0])
    assert number(bootstrapped_cross_entropy(logits, class_map, 0.34)) == pytest.approx(errors[2])


@pytest.mark.parametrize("margin", [5.0, 0.2])
def test_first_term_of_eq_1(margin: float) -> None:
    outputs, heads = make()
    semantic = outputs["semantic_embedding"]
    expected, met = 0.0, 0
    for j in range(C):
        distance: dict[bool, list[float]] = {True: [], False: []}
        for c in CELLS:
            if CLASS_MAP[c] != VOID:
                away = unit(semantic[c[0], :, c[1], c[2]]) - unit(heads.center[j])
                distance[bool(CLASS_MAP[c] == j)].append(number(away.norm()))
        own, other = (sum(distance[k]) / len(distance[k]) for k in (True, False))
        expected += max(0.0, own - other + margin)
        met += own - other + margin < 0
    pixels = semantic.permute(0, 2, 3, 1).flatten(0, 2)
    found = semantic_regularisation(pixels, CLASS_MAP.flatten(), heads.center, margin)
    assert number(found) == pytest.approx(expected, abs=1e-5)
    assert margin < 2 or not met  # the printed margin is beyond reach


def test_first_term_of_eq_1_with_pixels_at_their_centres() -> None:
    centre = torch.tensor([[2.0, 0], [0, 3], [-1, 0]])
    semantic = torch.tensor([[5.0, 0], [0, 0.5]])
    # Two classes are present; each is at 0 from its own and at sqrt(2) from the other's.
    expected = 2 * (5 - math.sqrt(2))
    class_id = torch.tensor([0, 1])
    assert number(semantic_regularisation(semantic, class_id, centre, 5.0)) == pytest.approx(expected, abs=1e-4)
    assert number(semantic_regularisation(semantic, class_id, centre, 1.4)) == 0


def test_second_and_third_term_of_eq_1() -> None:
    outputs, _ = make()
    embedding, mean = outputs["embedding"], instance_means(outputs)
    pull = 0.0
    for instance, e in zip(INSTANCES, mean, strict=True):
        cells = cells_of(instance)
        pull += sum(max(0.0, number((embedding[b, :, y, x] - e).norm()) - 0.5) for b, y, x in cells) / len(cells) / 4
    # All ordered pairs of image 0; the instance of image 1 has none.
    push = [max(0.0, 2 * 1.5 - number((mean[k] - mean[m]).norm())) for k in range(3) for m in range(3) if k != m]
    assert any(push)
    found = instances_of(CLASS_MAP, INSTANCE_MAP)
    pixels = embedding.permute(0, 2, 3, 1).flatten(0, 2)
    value = instance_regularisation(pixels, torch.stack(mean), found.of_cell, found.image, 0.5, 1.5)
    assert number(value) == pytest.approx(pull + sum(push) / len(push), abs=1e-5)


def test_eq_5_to_7() -> None:
    outputs, heads = make()
    present = torch.tensor([True, True, False, True])
    mean, expected = instance_means(outputs), 0.0
    for (_, _, g), e in zip(INSTANCES, mean, strict=True):
        similarity = [(1 + number(unit(e) @ unit(heads.center[j]))) / 2 for j in range(C)]
        for j in range(C):
            if present[j]:
                negative = 1.0 if j == g else similarity[j]
                expected -= math.log(1 - max(0.0, negative - similarity[g] + 0.15) / 1.15) / 4
    classes = torch.tensor([g for _, _, g in INSTANCES])
    assert number(consistency_loss(torch.stack(mean), classes, heads.center, present, 0.15)) == pytest.approx(
        expected, abs=1e-5)


def test_classes_that_are_absent_have_no_part_in_eq_7() -> None:
    outputs, heads = make()
    class_map = torch.where(CLASS_MAP == 2, 0, CLASS_MAP)
    terms = loss_terms(outputs, heads, train=True, class_map=class_map)
    centre = heads.center  # as the loss has moved them
    classes, mean = torch.tensor([g for _, _, g in INSTANCES]), torch.stack(instance_means(outputs))
    present = torch.tensor([True, True, False, True])
    expected = number(consistency_loss(mean, classes, centre, present, 0.15))
    assert number(terms["ins"]) == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(number(consistency_loss(mean, classes, centre, ~present | present, 0.15)))


def test_eq_6_is_least_at_the_own_centre_and_finite_opposite_to_it() -> None:
    centre, present = torch.tensor([[1.0, 0], [-1, 0]]), torch.tensor([True, True])

    def at(x: float, y: float) -> Tensor:
        mean = torch.tensor([[x, y]], dtype=torch.float32, requires_grad=True)
        return consistency_loss(mean, torch.tensor([0]), centre, present, 0.15)

    assert number(at(3, 0)) == pytest.approx(math.log(1.15))  # j = g(k): -log(1 / 1.15); the other's similarity is 0
    assert number(at(3, 0)) < number(at(1, 1)) < number(at(-1, 1)) < number(at(-1, 0)) < 20
    at(-1, 0).backward()


def test_eq_8_compares_the_mean_with_the_embedding_at_the_centroid() -> None:
    outputs, heads = make()
    centroid = [(0, 2, 0), (0, 0, 1), (0, 0, 3), (1, 0, 2)]
    expected = [number((e - outputs["embedding"][b, :, y, x]).square().sum())
                for e, (b, y, x) in zip(instance_means(outputs), centroid, strict=True)]
    assert number(loss_terms(outputs, heads)["cen"]) == pytest.approx(sum(expected) / 4, abs=1e-5)


def test_with_offsets_instances_are_told_apart_by_where_they_are_as_well_and_classes_are_not() -> None:
    outputs, heads = make()
    offset = torch.randn(2, 2, 3, 4)
    found = loss_terms({**outputs, "offset": offset}, heads)
    # By hand: the embedding with two more dimensions, the offset and the cell's own x and y in quarters.
    position = torch.tensor([[[x / 4 for x in range(4)]] * 3, [[y / 4] * 4 for y in range(3)]])
    located = {**outputs, "embedding": torch.cat([outputs["embedding"], offset + position], 1)}
    mean, cells = instance_means(located), [(0, 2, 0), (0, 0, 1), (0, 0, 3), (1, 0, 2)]
    expected = [number((e - located["embedding"][b, :, y, x]).square().sum())
                for e, (b, y, x) in zip(mean, cells, strict=True)]
    assert number(found["cen"]) == pytest.approx(sum(expected) / 4, abs=1e-5)
    instances, plain = instances_of(CLASS_MAP, INSTANCE_MAP), loss_terms(outputs, heads)
    before, after = (instance_regularisation(
        some["embedding"].permute(0, 2, 3, 1).flatten(0, 2), torch.stack(instance_means(some)), instances.of_cell,
        instances.image, 0.5, 1.5) for some in (outputs, located))
    assert number(found["reg"] - plain["reg"]) == pytest.approx(number(after - before), abs=1e-5)
    for name in ("ins", "sem", "hm"):
        torch.testing.assert_close(found[name], plain[name])


def test_instances_have_their_image_class_area_and_box() -> None:
    found = instances_of(CLASS_MAP, INSTANCE_MAP)
    assert list(zip(found.image.tolist(), found.class_id.tolist(), strict=True)) == [(b, g) for b, _, g in INSTANCES]
    assert found.area.tolist() == [2, 3, 2, 2]
    assert found.box.tolist() == [[0, 2, 2, 3], [1, 0, 3, 2], [3, 0, 4, 2], [2, 0, 3, 2]]
    for k, instance in enumerate(INSTANCES):
        assert [c for c, n in zip(CELLS, found.of_cell.tolist(), strict=True) if n == k] == cells_of(instance)


def test_the_centroid_of_an_instance_that_is_split_lies_on_one_of_its_parts() -> None:
    instance_map = torch.zeros(1, 5, 9, dtype=torch.long)
    instance_map[0, 1:4, 0:3] = 1
    instance_map[0, 1:4, 6:9] = 1  # behind a pole; the mean is between the parts, at (2, 4)
    instance_map[0, 2, 4] = 2
    found = instances_of(torch.ones_like(instance_map), instance_map)
    assert found.centroid.tolist() == [2 * 9 + 2, 2 * 9 + 4]
    assert found.area.tolist() == [18, 1]


def test_the_radius_keeps_the_overlap_at_seven_tenths() -> None:
    for height, width in ((10.0, 10.0), (4.0, 30.0), (80.0, 50.0)):
        r = number(gaussian_radius(torch.tensor(height), torch.tensor(width)))
        area = height * width
        common = (height - r) * (width - r)
        overlaps = [common / (2 * area - common), (height - 2 * r) * (width - 2 * r) / area,
                    area / ((height + 2 * r) * (width + 2 * r))]
        assert min(overlaps) == pytest.approx(0.7, abs=1e-4)


def test_the_heatmap_target_is_the_largest_gaussian_in_the_channel_of_the_class() -> None:
    class_map, instance_map = torch.zeros(2, 30, 40).long(), torch.zeros(2, 30, 40).long()
    boxes = [(0, 1, 5, 5, 25, 25), (0, 1, 8, 27, 20, 38), (0, 3, 2, 30, 3, 31), (1, 3, 4, 4, 16, 28)]
    for k, (b, g, y0, x0, y1, x1) in enumerate(boxes, 1):
        class_map[b, y0:y1, x0:x1], instance_map[b, y0:y1, x0:x1] = g, k
    found = instances_of(class_map, instance_map)
    target = heatmap_target(found, torch.tensor(IS_THING), (2, 30, 40))
    expected = torch.zeros(2, 2, 30, 40)
    for (b, g, y0, x0, y1, x1), centroid in zip(boxes, found.centroid.tolist(), strict=True):
        cy, cx = centroid // 40 % 30, centroid % 40
        assert (abs(cy - (y0 + y1 - 1) / 2), abs(cx - (x0 + x1 - 1) / 2)) <= (0.5, 0.5)
        radius = math.floor(number(gaussian_radius(torch.tensor(float(y1 - y0)), torch.tensor(float(x1 - x0)))))
        sigma = (2 * radius + 1) / 6
        for y in range(30):
            for x in range(40):
                value = math.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2))
                channel = (1, 3).index(g)
                expected[b, channel, y, x] = max(number(expected[b, channel, y, x]), value)
    torch.testing.assert_close(target, expected, atol=1e-5, rtol=1e-4)
    assert (target == 1).sum() == 4


def test_the_focal_loss_of_the_heatmap() -> None:
    heatmap = torch.tensor([0.6, 0.3, 0.2, 0.9]).view(1, 1, 1, 4)
    target, known = torch.tensor([1.0, 0.5, 0, 0]).view(1, 1, 1, 4), torch.tensor([True, True, True, False])
    expected = -(0.4**2 * math.log(0.6) + 0.5**4 * 0.3**2 * math.log(0.7) + 0.2**2 * math.log(0.8))
    assert number(focal_loss(heatmap, target, known.view(1, 1, 1, 4))) == pytest.approx(expected)


def test_neither_crowds_nor_void_are_background_of_the_heatmap() -> None:
    outputs, heads = make()
    loss_terms(outputs, heads)["hm"].backward()
    gradient = outputs["heatmap"].grad
    assert gradient is not None
    unknown = gradient == 0
    # Void in both channels; the crowd of class 3 in the second.
    assert unknown.nonzero().tolist() == [[0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 3]]


def test_the_total_is_eq_10() -> None:
    outputs, heads = make()
    for loss, weight in (("focal", 1.0), ("mse", 200.0)):
        terms = loss_terms(outputs, heads, Settings(heatmap_loss=loss))  # type: ignore[arg-type]
        expected = sum(factor * number(terms[name]) for name, factor in
                       (("ins", 0.01), ("cen", 10), ("sem", 1), ("reg", 0.01), ("hm", weight)))
        assert number(terms["total"]) == pytest.approx(expected, rel=1e-5)
    found = heatmap_target(instances_of(CLASS_MAP, INSTANCE_MAP), torch.tensor(IS_THING), (2, 3, 4))
    errors = [number((outputs["heatmap"][b, t, y, x] - found[b, t, y, x]).square()) for b, y, x in CELLS for t in (0, 1)
              if CLASS_MAP[b, y, x] != VOID and (b, t, y, x) != (0, 1, 2, 3)]
    assert number(terms["hm"]) == pytest.approx(sum(errors) / len(errors), rel=1e-5)


def test_the_switches_of_table_3_leave_out_their_terms() -> None:
    outputs, heads = make()
    terms = loss_terms(outputs, heads, Settings(instance_augmentation=False, semantic_augmentation=False,
                                                centroid_regularisation=False))
    assert terms.keys() == {"total", "sem", "reg", "hm"}


def test_a_batch_without_things_and_instances_of_one_pixel_have_a_finite_loss() -> None:
    outputs, heads = make()
    one = torch.zeros_like(INSTANCE_MAP)
    one[0, 0, 1] = 3
    for class_map, instance_map in ((torch.zeros_like(CLASS_MAP), torch.zeros_like(INSTANCE_MAP)), (CLASS_MAP, one)):
        terms = loss_terms(outputs, heads, class_map=class_map, instance_map=instance_map, train=True)
        assert all(torch.isfinite(term) for term in terms.values())
        terms["total"].backward()
        assert all(torch.isfinite(value.grad).all() for value in outputs.values() if value.grad is not None)
    assert number(terms["cen"]) == pytest.approx(0, abs=1e-6)  # its mean is the embedding of its only pixel


def test_a_network_for_a_table_without_things_has_a_semantic_loss_alone() -> None:
    table = dataclasses.replace(TABLE, is_thing=(False,) * 4)
    hyperparameters = einet.Hyperparameters("test_efficientnet", 32, 8, (1,), 16)
    objective = EINetObjective(einet.Network(hyperparameters, table.is_thing), Settings(), table)
    batch = {"class_map": torch.zeros(2, 64, 64).long(), "instance_map": torch.zeros(2, 64, 64).long()}
    assert objective(torch.randn(2, 3, 64, 64), batch).keys() == {"total", "sem", "reg"}


def test_a_class_beyond_the_table_is_refused() -> None:
    outputs, heads = make()
    with pytest.raises(InputError, match="beyond the 4 classes"):
        loss_terms(outputs, heads, class_map=CLASS_MAP.clamp(max=9) + 0)


@pytest.mark.parametrize("change", [{"mu": 1.5}, {"bootstrap": 0.0}, {"interaction": "some"}, {"heatmap_loss": "l1"}])
def test_settings_out_of_range_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Settings(**change)


def test_a_new_centre_begins_with_the_average_of_the_processes_that_have_the_class() -> None:
    centre, seen = torch.tensor([[0.0, 1], [0, 1]]), torch.tensor([False, True])
    # Directions summed over two processes, weights 3 and 0, averages (1, 0) and (0, 1) of the first class, 2 have it.
    table = torch.tensor([[3.0, 0, 3, 1, 1, 2], [0, 0, 0, 0, 0, 0]])
    begun = torch.tensor([1, 1]) / math.sqrt(2)
    expected = torch.stack([0.9 * begun + 0.1 * torch.tensor([1.0, 0]), torch.tensor([0.0, 1])])
    torch.testing.assert_close(updated_centre(centre, seen, table, 0.9), expected)


PROCESS = """
import sys, torch
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
from training.objectives.einet import summed_over_processes
mine = torch.tensor([1.0, 10.0]) * (rank + 1)
mine.requires_grad_()
total = summed_over_processes(mine * 2)
(total * torch.tensor([1.0, 3.0])).sum().backward()
torch.save([total.detach(), mine.grad], f"{folder}/{rank}.pt")
"""


@pytest.mark.skipif(not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
                    reason="this PyTorch has no gloo, which connects processes on the CPU")
def test_processes_sum_what_moves_the_centres_and_keep_their_own_gradients(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), str(tmp_path)],
                                  cwd=Path(__file__).parents[2]) for rank in (0, 1)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for rank in (0, 1):
        total, gradient = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert total.tolist() == [6.0, 60.0]
        assert gradient.tolist() == [2.0, 6.0]
