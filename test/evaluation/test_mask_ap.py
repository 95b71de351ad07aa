"""Mask AP: the rules by hand, and the same numbers that pycocotools gives from the masks themselves."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.mask_ap import MaskAP, pair_things
from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.labels import NO_CLASS, PanopticLabel

THINGS = np.array([False, True, True])  # road, car, person


def pair(predicted: PanopticLabel, truth: PanopticLabel, image: str = "x") -> MaskAP:
    shared = overlap(predicted.segment_map, truth.segment_map, len(predicted), len(truth))
    return pair_things(shared, predicted.class_id, predicted.score, truth.class_id, truth.is_crowd, THINGS, image)


def boxes(size: int, *corners: tuple[int, int], extent: int) -> np.ndarray:
    """A square map with square segments 1, 2, ... at these corners (y, x)."""
    segment_map = np.zeros((size, size), np.uint16)
    for k, (y, x) in enumerate(corners):
        segment_map[y:y + extent, x:x + extent] = k + 1
    return segment_map


def test_the_truth_against_itself_is_perfect_and_sizes_without_things_are_absent() -> None:
    small = PanopticLabel.of(boxes(64, (0, 0), (20, 20), extent=10), [1, 2])
    large = PanopticLabel.of(boxes(128, (0, 0), extent=97), [1])
    assert pair(small, small).result() == {"ap": 1, "ap50": 1, "small": 1}
    assert (pair(small, small) + pair(large, large)).result() == {"ap": 1, "ap50": 1, "small": 1, "large": 1}


def test_the_sizes_are_those_of_coco() -> None:
    # Of 32 x 32 = 1024 pixels COCO counts both as small and as medium; one pixel fewer is small alone.
    at = PanopticLabel.of(boxes(64, (0, 0), extent=32), [1])
    below = PanopticLabel.of(np.where(np.arange(4096).reshape(64, 64) == 0, 0, at.segment_map), [1])
    assert pair(at, at).result().keys() == {"ap", "ap50", "small", "medium"}
    assert pair(below, below).result().keys() == {"ap", "ap50", "small"}


def test_an_iou_of_62_per_cent_is_found_at_three_of_ten_thresholds() -> None:
    # 16 of 26 predicted-or-true pixels: IoU 0.615 passes 0.5, 0.55 and 0.6.
    truth, predicted = np.full((2, 1, 40), 2)
    truth[0, :16], predicted[0, :26] = 1, 1
    result = pair(PanopticLabel.of(predicted, [1, 0]), PanopticLabel.of(truth, [1, 0])).result()
    assert result == {"ap": pytest.approx(0.3), "ap50": 1, "small": pytest.approx(0.3)}


def test_a_surer_wrong_thing_halves_the_precision() -> None:
    truth = PanopticLabel.of(boxes(32, (0, 0), extent=8), [1])
    predicted = PanopticLabel.of(boxes(32, (0, 0), (16, 16), extent=8), [1, 1], score=[0.4, 0.9])
    background = PanopticLabel.of(np.where(truth.segment_map > 0, 1, 2), [1, 0])
    assert pair(predicted, background).result()["ap"] == pytest.approx(0.5)
    surer = PanopticLabel.of(predicted.segment_map, [1, 1], score=[0.9, 0.4])
    assert pair(surer, background).result()["ap"] == pytest.approx(1)


def test_a_wrong_thing_on_void_does_not_count_and_void_leaves_the_mask() -> None:
    # The first thing reaches into void, the second, surer one lies on it by more than half.
    truth = PanopticLabel.of(np.array([[1] * 6 + [2] * 6 + [0] * 12]), [1, 0])
    predicted = PanopticLabel.of(np.array([[1] * 6 + [0] * 4 + [2] * 8 + [1] * 6]), [1, 1], score=[0.4, 0.9])
    assert pair(predicted, truth).result()["ap"] == 1
    half = PanopticLabel.of(np.array([[1] * 6 + [0] * 4 + [2] * 4 + [0] * 10]), [1, 1], score=[0.4, 0.9])
    assert pair(half, truth).result()["ap"] == pytest.approx(0.5)


def test_things_in_a_crowd_of_their_class_are_neither_right_nor_wrong() -> None:
    truth_map = np.array([[1] * 6 + [2] * 12])
    predicted = PanopticLabel.of(np.array([[1] * 6 + [2] * 6 + [3] * 6]), [1, 1, 1], score=[0.4, 0.9, 0.8])
    crowd = PanopticLabel.of(truth_map, [1, 1], is_crowd=[False, True])
    assert pair(predicted, crowd).result()["ap"] == 1
    # Surer things of another class in it are wrong; they are of a class that the truth has once, elsewhere.
    other = PanopticLabel.of(truth_map, [1, 2], is_crowd=[False, True])
    assert pair(predicted, other).result()["ap"] == pytest.approx(1 / 3)


def test_stuff_and_no_class_are_not_judged() -> None:
    label = PanopticLabel.of(np.array([[1, 2, 3]]), [0, NO_CLASS, 1], score=[np.nan, np.nan, 1])
    result = pair(label, label)
    assert result.images[0].predicted_class.tolist() == result.images[0].truth_class.tolist() == [1]
    assert result.result()["ap"] == 1


def test_without_a_thing_in_the_truth_there_is_no_result() -> None:
    road, car = (PanopticLabel.of(np.ones((2, 2), int), [k]) for k in (0, 1))
    assert pair(road, road).result() == {}
    assert pair(car, road).result() == {}
    assert MaskAP().result() == {}
    assert pair(road, car).result() == {"ap": 0, "ap50": 0, "small": 0}


def test_a_thing_without_a_score_is_refused_with_the_image() -> None:
    truth = PanopticLabel.of(np.array([[1, 2]]), [1, 1])
    with pytest.raises(InputError, match="frame 7: 1 predicted things have no score"):
        pair(PanopticLabel.of(truth.segment_map, [1, 1], score=[0.5, np.nan]), truth, "frame 7")


def test_pycocotools_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    label = PanopticLabel.of(np.array([[1, 2]]), [1, 1])
    pair(label, label).result()
    assert capfd.readouterr().out == ""


def from_masks(pairs: list[tuple[PanopticLabel, PanopticLabel]]) -> dict[str, float]:
    """What pycocotools gives for run-length encoded masks of the same things."""
    truths, predictions = [], []
    for i, (predicted, truth) in enumerate(pairs):
        known = truth.segment_map > 0
        for label, found in ((truth, truths), (predicted, predictions)):
            for k in np.flatnonzero(label.class_id > 0):
                mask = (label.segment_map == k + 1) & known
                if mask.sum() * 2 < (label.segment_map == k + 1).sum() or not mask.any():
                    continue
                rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                found.append({"id": len(found) + 1, "image_id": i, "category_id": int(label.class_id[k]),
                              "segmentation": rle, "area": int(mask.sum()), "iscrowd": int(label.is_crowd[k]),
                              "score": float(label.score[k])})
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"info": {}, "images": [{"id": i, "height": truth.segment_map.shape[0],
                                                  "width": truth.segment_map.shape[1]}
                                                 for i, (_, truth) in enumerate(pairs)],
                        "categories": [{"id": k} for k in (1, 2)], "annotations": truths}
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes([{k: v for k, v in p.items() if k not in ("id", "iscrowd", "area")}
                                             for p in predictions]), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    names = ("ap", "ap50", "ap75", "small", "medium", "large")
    return {name: value for name, value in zip(names, judge.stats, strict=False) if name != "ap75" and value > -1}


def test_random_images_score_as_pycocotools_scores_their_masks() -> None:
    random = np.random.default_rng(1)
    pairs = []
    for cell in (4, 4, 7, 20, 20, 60):
        truth = np.kron(random.integers(0, 12, (6, 6)), np.ones((cell, cell), int))
        noise = random.random(truth.shape) < random.choice([0.02, 0.1, 0.3])
        predicted = np.where(noise, random.integers(0, 12, truth.shape), np.roll(truth, cell // 6, 1))
        class_id = random.integers(0, 3, 11)
        pairs.append((PanopticLabel.of(predicted, np.where(random.random(11) < 0.8, class_id, 1),
                                       score=random.random(11).round(1)),
                      PanopticLabel.of(truth, class_id, is_crowd=random.random(11) < 0.2)))
    total = sum((pair(*both) for both in pairs), MaskAP())
    expected = from_masks(pairs)
    assert expected.keys() == {"ap", "ap50", "small", "medium", "large"}
    assert all(0.02 < value < 0.98 for value in expected.values())
    assert total.result() == pytest.approx(expected, abs=1e-9)
