"""Targets and loss of dense detections: every term against brute force, pixel by pixel and location by location."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.geometry.boxes import box_iou
from panoptic_ros.methods import dense_detections
from training.ground_truth import ground_truth_objects
from training.losses.cross_entropy import bootstrapped_cross_entropy
from training.objectives.dense_detections import (
    DenseDetectionsObjective,
    Settings,
    assign,
    centerness,
    mask_errors,
)

IS_THING = torch.tensor([False, True, False, True])
TABLE = ClassTable("four", tuple("abcd"), tuple(IS_THING.tolist()), ((0, 0, 0),) * 4)
HEIGHT, WIDTH = 64, 96
RANGES = (12.0, 20.0, 30.0, 50.0)
CELLS = [(8, 8, 12), (16, 4, 6), (32, 2, 3), (64, 1, 2), (128, 1, 1)]  # stride, rows, columns
LOCATIONS = [(x * s + s // 2, y * s + s // 2, i) for i, (s, rows, columns) in enumerate(CELLS)
             for y in range(rows) for x in range(columns)]


def truth() -> dict[str, Tensor]:
    """Two images; in the first, objects that touch, void and a crowd (class 3 without an instance)."""
    class_map, instance_map = torch.zeros(2, HEIGHT, WIDTH).long(), torch.zeros(2, HEIGHT, WIDTH).long()
    class_map[:, :20] = 2
    for b, kind, k, x0, y0, x1, y1 in [(0, 1, 7, 10, 10, 40, 40), (0, 1, 3, 40, 16, 60, 40), (0, 3, 9, 4, 50, 90, 64),
                                       (1, 3, 7, 30, 4, 44, 60), (1, 1, 5, 20, 20, 30, 30)]:
        class_map[b, y0:y1, x0:x1], instance_map[b, y0:y1, x0:x1] = kind, k
    class_map[0, 0:9, 70:], instance_map[0, 0:9, 70:] = 255, 0
    class_map[0, 20:40, 70:90], instance_map[0, 20:40, 70:90] = 3, 0
    instance_map[0, 24:34, 20:30], class_map[0, 24:34, 20:30] = 4, 1  # inside the box of 7
    return {"class_map": class_map.to(torch.uint8), "instance_map": instance_map.int()}


def random_outputs(seed: int = 0, levelness: bool = True) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    outputs = {"semantic_logits": torch.randn(2, 4, 8, 12, generator=random),
               "class_logits": torch.randn(2, 2, len(LOCATIONS), generator=random) - 1,
               "offsets": torch.rand(2, 4, len(LOCATIONS), generator=random) * 25 + 3,
               "centerness": torch.randn(2, len(LOCATIONS), generator=random),
               "levelness": torch.randn(2, 6, 16, 24, generator=random)}
    if not levelness:
        del outputs["levelness"]
    return {name: value.requires_grad_() for name, value in outputs.items()}


def terms(outputs: dict[str, Tensor], settings: Settings, batch: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    return DenseDetectionsObjective(torch.nn.Identity(), settings, TABLE).loss(outputs, batch or truth())


def box_of(b: int, k: int) -> tuple[int, int, int, int]:
    y, x = (truth()["instance_map"][b] == k).nonzero(as_tuple=True)
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1


def assigned_by_hand(b: int, x: int, y: int, supervision: str) -> int | None:
    """The instance id at a point, 0 = background, None = ignored."""
    if x >= WIDTH or y >= HEIGHT:
        return None
    class_map, instance_map = truth()["class_map"][b], truth()["instance_map"][b]
    k = int(instance_map[y, x])
    if supervision == "boxes":
        boxes = {k: box_of(b, k) for k in instance_map[instance_map > 0].unique().tolist()}
        around = [((x1 - x0) * (y1 - y0), k) for k, (x0, y0, x1, y1) in boxes.items() if x0 <= x < x1 and y0 <= y < y1]
        k = min(around)[1] if around else 0
    if k == 0 and class_map[y, x] in (1, 3, 255):
        return None
    return k


def offsets_by_hand(b: int, k: int, x: int, y: int) -> list[int]:
    x0, y0, x1, y1 = box_of(b, k)
    return [x - x0, y - y0, x1 - x, y1 - y]


def positives(supervision: str) -> Iterator[tuple[int, int, int]]:
    """Image, location and instance of each positive."""
    limits = [-1.0, *RANGES, math.inf]
    for b in range(2):
        for i, (x, y, level) in enumerate(LOCATIONS):
            k = assigned_by_hand(b, x, y, supervision)
            if k and limits[level] <= max(offsets_by_hand(b, k, x, y)) <= limits[level + 1]:
                yield b, i, k


def iou(a: list[float], b: list[float]) -> float:
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def predicted_box(outputs: dict[str, Tensor], b: int, i: int) -> list[float]:
    x, y, _ = LOCATIONS[i]
    left, top, right, bottom = outputs["offsets"][b, :, i].tolist()
    return [x - left, y - top, x + right, y + bottom]


@pytest.mark.parametrize("supervision", ["masks", "boxes"])
def test_box_and_center_terms_are_means_over_the_positive_locations(supervision: Literal["masks", "boxes"]) -> None:
    outputs = random_outputs()
    found = list(positives(supervision))
    assert len({LOCATIONS[i][2] for _, i, _ in found}) >= 3  # of so many levels
    box = sum(-math.log(max(1e-6, iou(predicted_box(outputs, b, i), [float(v) for v in box_of(b, k)])))
              for b, i, k in found) / len(found)
    center = 0.0
    for b, i, k in found:
        left, top, right, bottom = offsets_by_hand(b, k, *LOCATIONS[i][:2])
        target = math.sqrt(min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom))
        p = outputs["centerness"][b, i].sigmoid().item()
        center -= (target * math.log(p) + (1 - target) * math.log(1 - p)) / len(found)
    result = terms(outputs, Settings(regression_ranges=RANGES, supervision=supervision))
    assert result["box_reg"].item() == pytest.approx(box, rel=1e-4)
    assert result["center"].item() == pytest.approx(center, rel=1e-4)


@pytest.mark.parametrize("supervision", ["masks", "boxes"])
@pytest.mark.parametrize("focal_mean", ["locations", "positives"])
def test_class_term_is_the_focal_loss_of_all_locations_of_which_something_is_known(
        supervision: Literal["masks", "boxes"], focal_mean: Literal["locations", "positives"]) -> None:
    outputs = random_outputs()
    found = {(b, i): k for b, i, k in positives(supervision)}
    total, valid = 0.0, 0
    for b in range(2):
        for i, (x, y, _) in enumerate(LOCATIONS):
            if assigned_by_hand(b, x, y, supervision) is None:
                continue
            valid += 1
            for row, kind in enumerate((1, 3)):
                p = outputs["class_logits"][b, row, i].sigmoid().item()
                k = found.get((b, i))
                is_it = k is not None and truth()["class_map"][b][truth()["instance_map"][b] == k][0] == kind
                total += -0.25 * (1 - p) ** 2 * math.log(p) if is_it else -0.75 * p**2 * math.log(1 - p)
    expected = total / (valid if focal_mean == "locations" else len(found))
    result = terms(outputs, Settings(regression_ranges=RANGES, supervision=supervision, focal_mean=focal_mean))
    assert result["box_cls"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("supervision", ["masks", "boxes"])
def test_levelness_term_asks_for_the_level_of_each_box_at_a_quarter_of_the_size(
        supervision: Literal["masks", "boxes"]) -> None:
    outputs = random_outputs()
    errors = []
    for b in range(2):
        for y in range(16):
            for x in range(24):
                k = assigned_by_hand(b, 4 * x + 2, 4 * y + 2, supervision)
                if k is not None:
                    level = 0
                    if k:
                        farthest = max(offsets_by_hand(b, k, 4 * x + 2, 4 * y + 2))
                        level = 1 + sum(farthest > limit for limit in RANGES)
                    errors.append(-outputs["levelness"][b, :, y, x].log_softmax(0)[level].item())
    result = terms(outputs, Settings(regression_ranges=RANGES, supervision=supervision))
    assert result["levelness"].item() == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_semantic_term_is_the_cross_entropy_of_the_worst_pixels() -> None:
    outputs = random_outputs()
    logits = F.interpolate(outputs["semantic_logits"], (16, 24), mode="bilinear", align_corners=False)
    errors = []
    for b in range(2):
        for y in range(16):
            for x in range(24):
                kind = int(truth()["class_map"][b, 4 * y + 2, 4 * x + 2])
                if kind != 255:
                    errors.append(-logits[b, :, y, x].log_softmax(0)[kind].item())
    worst = sorted(errors, reverse=True)[:round(0.3 * len(errors))]
    result = terms(outputs, Settings(regression_ranges=RANGES))
    assert result["semantics"].item() == pytest.approx(sum(worst) / len(worst), rel=1e-4)


def test_bootstrapping_looks_at_the_worst_share_of_the_known_pixels() -> None:
    # Cross entropies ln(1 + e^-m) of margins m = 4, 2, 0 and -2; the last pixel is void.
    logits = torch.zeros(1, 2, 1, 5)
    logits[0, 0, 0] = torch.tensor([4.0, 2, 0, -2, -9])
    class_map = torch.tensor([[[0, 0, 0, 0, 255]]])
    errors = [math.log(1 + math.exp(-m)) for m in (4, 2, 0, -2)]
    assert bootstrapped_cross_entropy(logits, class_map, 0.5).item() == pytest.approx((errors[3] + errors[2]) / 2)
    assert bootstrapped_cross_entropy(logits, class_map, 1.0).item() == pytest.approx(sum(errors) / 4)
    assert bootstrapped_cross_entropy(logits, class_map, 0.01).item() == pytest.approx(errors[3])
    assert bootstrapped_cross_entropy(logits, torch.full((1, 1, 5), 255), 0.5).item() == 0


def test_mask_errors_on_worked_numbers() -> None:
    # One query box 0 0 4 4 for object 1, whose true box is 0 0 4 5: beta = 16 / 20. Of the pixels, two are the object's
    # (boxes with IoU 1 and 1/2 with the query), one is another object's (IoU 1/4), one background (1), one ignored.
    pixels = torch.tensor([[0.0, 0, 4, 4], [0.0, 0, 4, 2], [0.0, 0, 2, 2], [0.0, 0, 4, 4], [0.0, 0, 4, 4]])
    dense = pixels.T.view(1, 4, 1, 5)
    assigned = torch.tensor([1, 1, 2, 0, -1])
    boxes = torch.tensor([[0.0, 0, 0, 0], [0.0, 0, 4, 5], [0.0, 0, 2, 2]])
    query, target = torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([1])
    false_negative, false_positive = 0 + 0.5, 0.25 + 1
    [error] = mask_errors(dense, query, target, assigned, boxes).tolist()
    assert error == pytest.approx(0.8 / 2 * (false_positive + false_negative))


@pytest.mark.parametrize("levels", [1, 3])
def test_mask_errors_equal_the_sums_over_all_pixels(levels: int) -> None:
    random = torch.Generator().manual_seed(levels)

    def boxes(*shape: int) -> torch.Tensor:
        corner, size = (torch.rand(*shape, 2, generator=random) * 20 for _ in range(2))
        return torch.cat([corner, corner + size], -1)

    dense = boxes(levels, 300).requires_grad_()
    query, target_box = boxes(7), boxes(5)
    target, assigned = torch.randint(1, 5, (7,), generator=random), torch.randint(-1, 5, (300,), generator=random)
    overlap = box_iou(dense[:, :, None], query).amax(0)
    inside = assigned[:, None] == target
    wrong = (overlap * (~inside & (assigned >= 0)[:, None])).sum(0) + ((1 - overlap) * inside).sum(0)  # Eq. 17, 18
    expected = box_iou(query, target_box[target]) / inside.sum(0) * wrong
    (gradient,) = torch.autograd.grad(expected.sum(), dense)

    errors = mask_errors(dense.transpose(1, 2)[:, :, None], query, target, assigned, target_box)
    torch.testing.assert_close(errors, expected)
    torch.testing.assert_close(torch.autograd.grad(errors.sum(), dense)[0], gradient)


def test_mask_term_pulls_the_boxes_of_an_object_to_its_query_and_pushes_others_away() -> None:
    dense = torch.tensor([0.0, 0, 4, 3]).view(1, 4, 1, 1).repeat(1, 1, 1, 2).requires_grad_()
    query = torch.tensor([[0.0, 0, 4, 4]]).requires_grad_()
    mask_errors(dense, query.detach(), torch.tensor([1]), torch.tensor([1, 2]),
                torch.tensor([[0.0, 0, 0, 0], [0.0, 0, 4, 4], [0.0, 0, 4, 3]])).sum().backward()
    assert dense.grad is not None
    assert dense.grad[0, 3, 0, 0] < 0 < dense.grad[0, 3, 0, 1]  # descent: the own box taller, the other shorter


@pytest.mark.parametrize("levelness", [True, False])
def test_mask_term_is_made_of_the_query_boxes_that_have_a_target(levelness: bool) -> None:
    outputs = random_outputs(3, levelness)
    with torch.no_grad():
        # The best boxes are those of one location of each of three objects, the rest scores too little.
        outputs["class_logits"].fill_(-9)
        chosen = list({(b, k): (b, i) for b, i, k in positives("masks")}.values())[:3]
        for n, (b, i) in enumerate(chosen):
            outputs["class_logits"][b, n % 2, i] = 2.0 + n
    found = {(b, i): k for b, i, k in positives("masks")}
    assert len(chosen) == 3
    expected = []
    for b, i in chosen:
        query, k = [min(max(v, 0), limit) for v, limit in zip(
            predicted_box(outputs, b, i), (WIDTH, HEIGHT, WIDTH, HEIGHT), strict=True)], found[b, i]
        errors, size = 0.0, 0
        for y in range(16):
            for x in range(24):
                assigned = assigned_by_hand(b, 4 * x + 2, 4 * y + 2, "masks")
                if assigned is None:
                    continue
                overlap = max(iou(box, query) for box in boxes_at(outputs, b, x, y))
                size += assigned == k
                errors += 1 - overlap if assigned == k else overlap
        expected.append(iou(query, [float(v) for v in box_of(b, k)]) / size * errors)
    result = terms(outputs, Settings(regression_ranges=RANGES))
    assert result["mask"].item() == pytest.approx(sum(expected) / 3, rel=1e-3)


def boxes_at(outputs: dict[str, Tensor], b: int, x: int, y: int) -> list[list[float]]:
    """The dense boxes at cell (x, y) of the quarter, bilinear between the locations of a level."""
    boxes, first = [], 0
    for i, (_, rows, columns) in enumerate(CELLS):
        box = torch.tensor([predicted_box(outputs, b, first + n) for n in range(rows * columns)]).view(rows, columns, 4)
        v, u = ((n + 0.5) / 2 ** (i + 1) - 0.5 for n in (y, x))
        v, u = min(max(v, 0), rows - 1), min(max(u, 0), columns - 1)
        v0, u0, v1, u1 = int(v), int(u), min(int(v) + 1, rows - 1), min(int(u) + 1, columns - 1)
        above = (1 - u + u0) * box[v0, u0] + (u - u0) * box[v0, u1]
        below = (1 - u + u0) * box[v1, u0] + (u - u0) * box[v1, u1]
        boxes.append(((1 - v + v0) * above + (v - v0) * below).tolist())
        first += rows * columns
    return [boxes[int(outputs["levelness"][b, 1:, y, x].argmax())]] if "levelness" in outputs else boxes


@pytest.mark.parametrize("supervision", ["masks", "boxes"])
def test_a_network_that_sees_the_image_as_larger_is_judged_by_a_truth_as_large(
        supervision: Literal["masks", "boxes"]) -> None:
    settings = Settings(supervision=supervision, regression_ranges=RANGES)
    small = {name: value[:, ::2, ::2] for name, value in truth().items()}
    large = {name: value.repeat_interleave(2, 1).repeat_interleave(2, 2) for name, value in small.items()}
    outputs = random_outputs()
    expected = terms(outputs, settings, large)
    for name, value in terms(outputs, settings, small).items():
        torch.testing.assert_close(value, expected[name])


def test_the_total_weighs_the_terms_as_in_eq_19() -> None:
    result = terms(random_outputs(), Settings(regression_ranges=RANGES, semantics=0.4, mask=0.5))
    expected = 0.4 * result["semantics"] + 0.5 * result["mask"] + sum(
        result[name] for name in ("box_reg", "center", "box_cls", "levelness"))
    assert result["total"].item() == pytest.approx(expected.item())
    assert result["mask"] > 0


def test_under_boxes_alone_there_is_no_mask_term_and_the_smallest_box_wins() -> None:
    assert "mask" not in terms(random_outputs(), Settings(regression_ranges=RANGES, supervision="boxes"))
    assert "mask" not in terms(random_outputs(), Settings(regression_ranges=RANGES, mask=0.0))
    batch = {name: value.long() for name, value in truth().items()}
    found = ground_truth_objects(batch["class_map"], batch["instance_map"])
    # Instance 4 lies inside the box of 7; at (35, 38) there is 7 alone; void and the crowd have no box around them.
    points = torch.tensor([[22.0, 26], [35.0, 38], [80.0, 4], [80.0, 30], [2.0, 2]])
    assigned = assign(found, points, batch["class_map"], IS_THING, "boxes")[0]
    ids = [int(batch["instance_map"][0][found.number[0] == k][0]) if k > 0 else int(k) for k in assigned]
    assert ids == [4, 7, -1, -1, 0]


def test_objects_have_the_boxes_and_classes_of_their_masks_and_ids_of_two_images_are_not_confused() -> None:
    batch = {name: value.long() for name, value in truth().items()}
    found = ground_truth_objects(batch["class_map"], batch["instance_map"])
    seen = set()
    for b, k in [(0, 3), (0, 4), (0, 7), (0, 9), (1, 5), (1, 7)]:
        number = int(found.number[b][batch["instance_map"][b] == k].unique())
        assert found.box[number].tolist() == list(box_of(b, k))
        assert found.class_id[number] == batch["class_map"][b][batch["instance_map"][b] == k][0]
        assert found.image[number] == b
        seen.add(number)
    assert seen == set(range(1, 7))
    everywhere = ground_truth_objects(torch.ones(1, 4, 4).long(), torch.full((1, 4, 4), 5))
    assert everywhere.box[1].tolist() == [0, 0, 4, 4]


def test_centerness_on_worked_numbers() -> None:
    # sqrt(1/4 * 2/8), a corner, the very middle.
    values = centerness(torch.tensor([[1.0, 2, 4, 8], [0.0, 3, 6, 3], [5.0, 5, 5, 5]])).tolist()
    assert values == pytest.approx([0.25, 0, 1])


@pytest.mark.parametrize("settings", [Settings(), Settings(supervision="boxes"), Settings(focal_mean="positives")])
def test_images_without_things_or_without_anything_known_have_a_finite_loss_and_gradient(settings: Settings) -> None:
    for kind in (0, 1, 255):  # 1: things without a mask
        batch = {"class_map": torch.full((2, HEIGHT, WIDTH), kind), "instance_map": torch.zeros(2, HEIGHT, WIDTH).int()}
        outputs = random_outputs()
        result = terms(outputs, settings, batch)
        assert result["box_reg"] == result["center"] == 0
        result["total"].backward()
        for name, value in outputs.items():
            assert value.grad is None or torch.isfinite(value.grad).all(), name


@pytest.mark.parametrize("supervision", ["masks", "boxes"])
def test_boxes_without_an_area_and_objects_of_one_pixel_have_a_finite_loss_and_gradient(
        supervision: Literal["masks", "boxes"]) -> None:
    # One pixel at a location of stride 8, one that no location or cell of the quarter sees.
    class_map, instance_map = torch.zeros(2, HEIGHT, WIDTH).long(), torch.zeros(2, HEIGHT, WIDTH).int()
    for k, (x, y) in enumerate([(12, 20), (33, 33)], 1):
        class_map[0, y, x], instance_map[0, y, x] = 1, k
    outputs = random_outputs()
    with torch.no_grad():
        outputs["offsets"].zero_()
    result = terms(outputs, Settings(supervision=supervision, regression_ranges=RANGES),
                   {"class_map": class_map, "instance_map": instance_map})
    assert result["box_reg"].item() == pytest.approx(-math.log(1e-6), rel=1e-4)  # the positive's overlap is none
    result["total"].backward()
    for name, value in outputs.items():
        assert value.grad is None or torch.isfinite(value.grad).all(), name


def test_ids_of_instances_may_be_as_large_as_the_map_holds() -> None:
    batch = truth()
    large = {**batch, "instance_map": torch.where(batch["instance_map"] > 0, batch["instance_map"] + 2**31 - 20, 0)}
    expected, result = (terms(random_outputs(), Settings(regression_ranges=RANGES), b) for b in (batch, large))
    assert {name: value.item() for name, value in result.items()} == {
        name: value.item() for name, value in expected.items()}


def test_a_class_outside_the_table_is_refused_and_void_is_not() -> None:
    batch = truth()
    batch["class_map"][0, 0, 0] = 4
    with pytest.raises(InputError, match="beyond the 4 classes"):
        terms(random_outputs(), Settings(), batch)


def test_a_table_without_things_learns_semantics_alone() -> None:
    outputs = {"semantic_logits": random_outputs()["semantic_logits"]}
    batch = {"class_map": torch.zeros(2, HEIGHT, WIDTH).long(), "instance_map": torch.zeros(2, HEIGHT, WIDTH).long()}
    result = DenseDetectionsObjective(torch.nn.Identity(), Settings(), replace(TABLE, is_thing=(False,) * 4)).loss(
        outputs, batch)
    assert set(result) == {"total", "semantics"}


@pytest.mark.parametrize("wrong", [{"bootstrap": 0.0}, {"prior_prob": 1.0},
                                   {"regression_ranges": (64.0, 32.0, 128.0, 256.0)},
                                   {"regression_ranges": (64.0, 128.0)}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_a_network_begins_with_the_prior_as_the_score_of_every_class() -> None:
    tiny = dense_detections.Hyperparameters("resnet10t", 16, 16, 16, 1)
    network = dense_detections.Network(tiny, IS_THING.tolist())
    DenseDetectionsObjective(network, Settings(prior_prob=0.02), TABLE).initialise(0)
    with torch.no_grad():
        scores = network.eval()(torch.zeros(1, 3, 64, 64))["class_logits"].sigmoid()
    assert scores.mean().item() == pytest.approx(0.02, abs=2e-3)
    stuff = dense_detections.Network(tiny, [False, False])
    DenseDetectionsObjective(stuff, Settings(), TABLE).initialise(0)  # nothing to do
