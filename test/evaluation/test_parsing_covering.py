"""Parsing covering on numbers worked by hand and against a plain evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.evaluation.parsing_covering import Covering, cover_overlap
from panoptic_ros.labels import NO_CLASS


def cover(predicted: list, predicted_class: list, truth: list, truth_class: list, is_crowd: list | None = None,
          classes: int = 2) -> Covering:
    shared = overlap(np.array(predicted), np.array(truth), len(predicted_class), len(truth_class))
    crowd = np.array(is_crowd or [False] * len(truth_class), bool)
    return cover_overlap(shared, np.array(predicted_class, int), np.array(truth_class, int), crowd, classes)


def test_regions_weigh_by_their_size() -> None:
    truth = [[1, 1, 1, 1], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]
    predicted = [[1, 1, 1, 1], [1, 1, 2, 2], [2, 2, 2, 2], [3, 3, 4, 4]]
    # Region 1 of 8 pixels: IoU 6/8. Region 2 of 4: IoU 4/6. Region 3 of 4: the better of two halves, 2/4.
    covering = cover(predicted, [0, 0, 1, 1], truth, [0, 0, 1])
    assert covering.covered.tolist() == pytest.approx([8 * 6 / 8 + 4 * 4 / 6, 4 * 2 / 4])
    assert covering.area.tolist() == [12, 4]
    assert covering.result() == {"parsing_covering": pytest.approx(((6 + 8 / 3) / 12 + 1 / 2) / 2)}


def test_the_truth_against_itself_is_perfect() -> None:
    truth = [[1, 1, 2, 0], [1, 3, 3, 0]]
    assert cover(truth, [0, 1, 1], truth, [0, 1, 1]).result() == {"parsing_covering": 1}


def test_two_regions_may_share_their_best_prediction() -> None:
    # PQ would give the half to neither; the covering gives it to both.
    assert cover([[1, 1]], [0], [[1, 2]], [0, 0]).result() == {"parsing_covering": 0.5}


def test_another_class_covers_nothing() -> None:
    assert cover([[1, 1]], [1], [[1, 1]], [0]).result() == {"parsing_covering": 0}


def test_void_leaves_the_predicted_area() -> None:
    assert cover([[1, 1, 1, 1]], [0], [[1, 1, 0, 0]], [0]).result() == {"parsing_covering": 1}


def test_a_crowd_is_no_region_and_leaves_the_predicted_area() -> None:
    assert cover([[1, 1, 1, 1]], [0], [[1, 1, 2, 2]], [0, 0], [False, True]).result() == {"parsing_covering": 1}
    assert cover([[1, 1]], [0], [[1, 1]], [0], [True]).result() == {}


def test_no_class_is_no_region_but_stays_in_the_predicted_area() -> None:
    covering = cover([[1, 1, 1, 1]], [0], [[1, 1, 2, 2]], [0, NO_CLASS])
    assert covering.result() == {"parsing_covering": 0.5}
    assert cover([[1]], [NO_CLASS], [[1]], [NO_CLASS]).result() == {}


def test_sums_of_images_add_up() -> None:
    total = cover([[1, 1]], [0], [[1, 1]], [0]) + cover([[0] * 6], [], [[1] * 6], [0])
    assert total.result() == {"parsing_covering": 0.25}


def test_random_maps_agree_with_a_plain_evaluation() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        truth, predicted = random.integers(0, 5, (2, 6, 6))
        truth_class, predicted_class = random.integers(0, 2, (2, 4))
        is_crowd = random.random(4) < 0.25
        judged = (truth > 0) & ~np.isin(truth, np.flatnonzero(is_crowd) + 1)
        covered, area = np.zeros(2), np.zeros(2)
        for j in np.flatnonzero(~is_crowd):
            region = truth == j + 1
            masks = [(predicted == i + 1) & judged for i in range(4) if predicted_class[i] == truth_class[j]]
            best = max([(region & m).sum() / (region | m).sum() for m in masks if m.any()], default=0)
            covered[truth_class[j]] += region.sum() * best
            area[truth_class[j]] += region.sum()
        covering = cover(predicted, predicted_class, truth, truth_class, is_crowd.tolist())
        assert covering.covered == pytest.approx(covered)
        assert covering.area.tolist() == area.tolist()
