"""The two-stage objective: which samples it takes of what truth, and what its terms are on worked numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.geometry.boxes import box_iou, encode_boxes
from panoptic_ros.methods.all_scales import Hyperparameters, Network
from training.batches import Objects
from training.ground_truth import ground_truth_objects
from training.matching import match_boxes
from training.objectives.all_scales import AllScalesObjective, Settings, _truth, mask_target

SIZE = (64, 96)
CLASSES = ClassTable("four", ("road", "car", "sky", "person"), (False, True, False, True),
                     tuple((40 * k, 0, 0) for k in range(4)))


def objective(**settings: Any) -> AllScalesObjective:
    torch.manual_seed(0)
    network = Network(Hyperparameters("test_efficientnet", False, 8, 16, anchor_scale=2.0, atrous_rates=(1,),
                                      semantic_channels=8, mask_convolutions=1, candidates=100, proposals=20,
                                      detections=10), CLASSES.is_thing)
    return AllScalesObjective(network, Settings(**settings), CLASSES)


def batch(*objects: tuple[int, tuple[int, int, int, int], tuple[bool, bool, bool, bool]],
          images: int = 1) -> dict[str, Any]:
    """Maps of road with objects of a class in a box, the sides that the crop has cut; all in the first image."""
    class_map = torch.zeros(images, *SIZE, dtype=torch.uint8)
    instance_map = torch.zeros(images, *SIZE, dtype=torch.int32)
    for number, (class_id, (x0, y0, x1, y1), _) in enumerate(objects, 5):
        class_map[0, y0:y1, x0:x1], instance_map[0, y0:y1, x0:x1] = class_id, number
    count = len(objects)
    rows = Objects(torch.zeros(count, dtype=torch.int64), torch.arange(5, 5 + count),
                   torch.tensor([o[0] for o in objects], dtype=torch.int64),
                   torch.tensor([o[1] for o in objects], dtype=torch.float32).view(-1, 4),
                   torch.tensor([o[2] for o in objects], dtype=torch.bool).view(-1, 4))
    # In another order than that of their numbers.
    order = torch.arange(count).flip(0)
    image = torch.randint(0, 256, (images, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return {"image": image, "class_map": class_map, "instance_map": instance_map,
            "clip": torch.arange(images), "objects": Objects(*(column[order] for column in rows))}


NONE = (False, False, False, False)
CAR = (1, (20, 16, 60, 40), NONE)
PERSON = (3, (70, 10, 82, 50), NONE)


def ideal(made: AllScalesObjective, truth: dict[str, Any], box: Tensor) -> dict[str, Tensor]:
    """Outputs whose proposals are these boxes: the first anchors' deltas lead to them, all others are unlikely."""
    outputs = made.network_outputs(torch.zeros(len(truth["image"]), 3, *SIZE))
    anchor = outputs["anchor"]
    objectness = torch.full_like(outputs["objectness"], -20.0)
    objectness[:, :len(box)] = 20.0
    deltas = torch.zeros_like(outputs["deltas"])
    size, anchor_size = box[:, 2:] - box[:, :2], (anchor[:, 2:] - anchor[:, :2])[:len(box)]
    center, anchor_center = (box[:, 2:] + box[:, :2]) / 2, ((anchor[:, 2:] + anchor[:, :2]) / 2)[:len(box)]
    deltas[:, :len(box), :2], deltas[:, :len(box), 2:] = (center - anchor_center) / anchor_size, (
        size / anchor_size).log()
    return {**outputs, "objectness": objectness, "deltas": deltas}


def test_proposals_that_overlap_an_object_are_its_positives_and_the_objects_themselves_are_among_them() -> None:
    made, truth = objective(proposals=3), batch(CAR, PERSON)
    box = torch.tensor([[22.0, 16, 60, 40], [0, 0, 10, 10], [72, 8, 82, 52]])
    outputs = ideal(made, truth, box)
    sampled = made._sample(outputs, *_truths(made, truth), SIZE, torch.Generator().manual_seed(0))
    positives = sampled.box[sampled.is_positive]
    found = {(tuple(b), t) for b, t in zip(positives.round().int().tolist(), sampled.thing.tolist(), strict=True)}
    assert found == {((20, 16, 60, 40), 0), ((70, 10, 82, 50), 1), ((22, 16, 60, 40), 0), ((72, 8, 82, 52), 1)}
    assert sampled.box[~sampled.is_positive].round().int().tolist() == [[0, 0, 10, 10]]
    for target, thing in zip(sampled.target.tolist(), sampled.thing.tolist(), strict=True):
        assert target == ([20, 16, 60, 40] if thing == 0 else [70, 10, 82, 50])


def _truths(made: AllScalesObjective, truth: dict[str, Any]) -> tuple[Any, Tensor]:
    class_map, instance_map = truth["class_map"].long(), truth["instance_map"].long()
    objects = ground_truth_objects(class_map, instance_map)
    truths = [_truth(objects, truth["objects"], image, made.is_thing) for image in range(len(class_map))]
    is_thing = torch.cat([made.is_thing, torch.ones(252, dtype=torch.bool)])
    return truths, is_thing[class_map] & (instance_map == 0)


def test_the_sides_that_the_crop_has_cut_are_those_of_the_same_object() -> None:
    made = objective()
    truths, _ = _truths(made, batch((1, (0, 16, 60, 40), (True, False, False, False)),
                                    (3, (70, 0, 82, 64), (False, True, False, True)), images=2))
    assert truths[0].cut.tolist() == [[True, False, False, False], [False, True, False, True]]
    assert truths[0].thing.tolist() == [0, 1]
    assert len(truths[1].box) == 0


def test_a_cut_side_is_free_with_crop_aware_boxes_alone() -> None:
    """A proposal that reaches the left border, whose box would reach farther: right by Eq. 2, wrong by Eq. 1."""
    truth = batch((1, (0, 16, 40, 40), (True, False, False, False)))
    whole = batch((1, (0, 16, 40, 40), NONE))
    losses = {}
    for name, aware, maps in (("aware", True, truth), ("plain", False, truth), ("not cut", True, whole)):
        made = objective(crop_aware=aware, proposals=1)
        outputs = ideal(made, maps, torch.tensor([[0.0, 16, 40, 40]]))
        with torch.no_grad():
            # All deltas say: twice as wide, to the left. Of the box (0, 40) that is (-40, 40).
            made.network.box_head.deltas.weight.zero_()
            made.network.box_head.deltas.bias.copy_(torch.tensor([-5.0, 0, 5 * math.log(2), 0]).repeat(2))
        losses[name] = float(made.loss(outputs, maps)["box"])
    assert losses["aware"] == pytest.approx(0, abs=1e-5)
    # Eq. 1 with beta 1: |dx| = 5 -> 4.5, |dw| = 5 log 2 -> 2.966, of positives that are all samples.
    assert losses["plain"] == pytest.approx(4.5 + 5 * math.log(2) - 0.5, abs=1e-4)
    assert losses["not cut"] == pytest.approx(losses["plain"], abs=1e-4)


def test_the_terms_of_perfect_outputs_are_near_zero_and_of_wrong_ones_are_not() -> None:
    made, truth = objective(), batch(CAR, PERSON)
    outputs = made.network_outputs(torch.zeros(1, 3, *SIZE))
    anchor = outputs["anchor"]
    boxes = torch.tensor([[20.0, 16, 60, 40], [70, 10, 82, 50]])
    # Ideal proposals: every anchor leads to the object that it overlaps most, and is as sure as it should be.
    match = match_boxes(box_iou(boxes[:, None], anchor), 0.7, 0.3, best_of_each=True)
    assert (match >= 0).sum() >= 2
    deltas = encode_boxes(boxes[match.clamp(min=0)], anchor)[None]
    objectness = torch.where(match >= 0, 20.0, -20.0)[None]
    perfect = {**outputs, "deltas": deltas, "objectness": objectness}
    terms = made.loss(perfect, truth)
    assert float(terms["proposal_class"]) < 1e-4
    assert float(terms["proposal_box"]) < 1e-4
    wrong = made.loss({**perfect, "objectness": -objectness, "deltas": deltas + 1}, truth)
    assert float(wrong["proposal_class"]) == pytest.approx(20, abs=1e-3)
    positives = int((match >= 0).sum())
    samples = min(256, positives + int((match == -1).sum()))
    assert positives <= 128
    # All four deltas are wrong by 1: smooth L1 with beta 1/9 is 1 - 1/18.
    assert float(wrong["proposal_box"]) == pytest.approx(4 * (1 - 1 / 18) * positives / samples, rel=1e-4)


def test_void_and_crowds_are_no_negatives() -> None:
    made, truth = objective(), batch(CAR)
    truth["class_map"][0, :, 62:] = 255
    truth["class_map"][0, 44:, :40] = 3  # people without a number
    truths, ignored = _truths(made, truth)
    outputs = made.network_outputs(torch.zeros(1, 3, *SIZE))
    anchor = outputs["anchor"]
    sure = torch.full_like(outputs["objectness"], -20.0)
    inside = (anchor[:, 0] >= 64) & (anchor[:, 2] <= 96) | (anchor[:, 1] >= 46) & (anchor[:, 2] <= 38)
    sure[0, inside] = 20.0
    outputs = {**outputs, "objectness": sure}
    terms = made._proposal_terms(outputs, truths, ignored, SIZE, torch.Generator().manual_seed(0))
    assert float(terms["proposal_class"]) < 0.5  # the object's own anchors are all that is wrong
    plain = made._proposal_terms(outputs, truths, torch.zeros_like(ignored), SIZE, torch.Generator().manual_seed(0))
    assert float(plain["proposal_class"]) > 2


def test_masks_are_the_object_s_pixels_in_the_box_and_void_is_not_known() -> None:
    truth = batch(CAR, PERSON)
    truth["class_map"][0, 16:20, 20:60] = 255
    number = torch.zeros(1, *SIZE, dtype=torch.int64)
    number[0, 16:40, 20:60] = 1
    box = torch.tensor([[20.0, 16, 60, 40], [0, 16, 40, 40], [76, 44, 116, 84]])
    inside, known = mask_target(box, torch.zeros(3, dtype=torch.int64), torch.tensor([1, 1, 1]), number,
                                truth["class_map"].long(), 8)
    assert inside[0].all()
    assert known[0, 2:].all()
    assert not known[0, 0].any()  # the first bin's centre is at row 17.5
    assert not inside[1, :, :4].any()
    assert inside[1, :, 4:].all()
    assert known[2].float().sum() == 4 * 4  # the rest is beyond the crop


def test_the_samples_depend_on_the_batch_alone() -> None:
    made, truth = objective(box_samples=8, proposal_samples=8), batch(CAR, PERSON)
    outputs = made.network_outputs(torch.zeros(1, 3, *SIZE))
    outputs["objectness"] = torch.randn_like(outputs["objectness"])
    first = made.loss(outputs, truth)
    torch.rand(5)
    assert {k: float(v) for k, v in made.loss(outputs, truth).items()} == {k: float(v) for k, v in first.items()}
    other = {**truth, "image": truth["image"] // 2}
    assert float(made.loss(outputs, other)["proposal_class"]) != float(first["proposal_class"])


@pytest.mark.parametrize("objects", [(), ((1, (0, 0, 96, 64), (True, True, True, True)),),
                                     ((1, (50, 30, 51, 31), NONE),),
                                     tuple((1 + 2 * (i % 2), (8 * (i % 12), 8 * (i // 12), 8 * (i % 12) + 6,
                                                              8 * (i // 12) + 7), NONE) for i in range(96))])
def test_the_loss_is_finite_without_objects_with_one_cut_on_all_sides_with_one_pixel_and_with_more_than_samples(
        objects: tuple[Any, ...]) -> None:
    made = objective(box_samples=16)
    terms = made(torch.randn(2, 3, *SIZE), batch(*objects, images=2))
    assert all(torch.isfinite(term) for term in terms.values()), terms
    terms["total"].backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)


def test_the_total_is_the_weighted_sum() -> None:
    weights = {"proposal_class": 2.0, "proposal_box": 3.0, "box_class": 5.0, "box": 7.0, "mask": 11.0,
               "semantics": 13.0}
    made = objective(**weights)
    terms = made(torch.randn(1, 3, *SIZE), batch(CAR))
    assert terms.keys() == {"total", *weights}
    torch.testing.assert_close(terms["total"], sum(weights[k] * terms[k] for k in weights))


def test_a_class_beyond_the_table_is_an_error() -> None:
    truth = batch(CAR)
    truth["class_map"][0, 0, 0] = 4
    with pytest.raises(InputError, match="4 classes"):
        objective()(torch.zeros(1, 3, *SIZE), truth)


@pytest.mark.parametrize("settings", [{"bootstrap": 0.0}, {"box_positives": 1.5}, {"proposal_iou": (0.3, 0.7)},
                                      {"box_beta": 0.0}])
def test_settings_that_cannot_be_are_errors(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        dataclasses.replace(Settings(), **settings)
