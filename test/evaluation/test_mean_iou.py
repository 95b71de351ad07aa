"""Mean IoU on numbers worked by hand and against a plain evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.evaluation.mean_iou import ClassPixels, class_pixels
from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.labels import NO_CLASS


def count(predicted: list, predicted_class: list, truth: list, truth_class: list, classes: int = 3) -> ClassPixels:
    shared = overlap(np.array(predicted), np.array(truth), len(predicted_class), len(truth_class))
    return class_pixels(shared, np.array(predicted_class, int), np.array(truth_class, int), classes)


def test_the_truth_against_itself_is_perfect_and_absent_classes_are_left_out() -> None:
    truth = [[1, 1, 2, 0]]
    pixels = count(truth, [0, 1], truth, [0, 1])
    assert pixels.iou()[:2].tolist() == [1, 1]
    assert np.isnan(pixels.iou()[2])
    assert pixels.result() == {"miou": 1}


def test_segments_of_a_class_count_together_and_void_does_not() -> None:
    # Class 0: 3 of 4 pixels right, no pixel too many: 3/4. Class 1: the one pixel is right, one too many: 1/2.
    # Class 2 is predicted on void alone.
    truth, predicted = [[1, 2, 2, 2, 3, 0]], [[1, 1, 1, 2, 2, 3]]
    assert count(predicted, [0, 1, 2], truth, [0, 0, 1]).result() == {"miou": pytest.approx((3 / 4 + 1 / 2) / 2)}


def test_a_class_that_is_predicted_but_not_there_counts_as_zero() -> None:
    assert count([[1, 2]], [0, 1], [[1, 1]], [0]).result() == {"miou": 0.25}


def test_pixels_left_void_or_of_no_class_are_missed() -> None:
    assert count([[1, 1, 0, 2]], [0, NO_CLASS], [[1, 1, 1, 1]], [0]).result() == {"miou": 0.5}


def test_what_is_predicted_on_no_class_is_too_much() -> None:
    assert count([[1, 1, 1, 1]], [0], [[1, 2, 2, 2]], [0, NO_CLASS]).result() == {"miou": 0.25}
    assert count([[1]], [0], [[1]], [NO_CLASS]).result() == {}


def test_pixels_of_images_add_up() -> None:
    assert (count([[1]], [0], [[1]], [0]) + count([[0] * 3], [], [[1] * 3], [0])).result() == {"miou": 0.25}


def test_random_maps_agree_with_a_plain_evaluation() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        truth, predicted = random.integers(0, 6, (2, 5, 7))
        truth_class, predicted_class = random.integers(0, 3, (2, 5))
        maps = [np.append(-9, ids)[m] for ids, m in ((truth_class, truth), (predicted_class, predicted))]
        known = truth > 0
        expected = [((maps[0] == k) & (maps[1] == k) & known).sum() / max(1, (
            ((maps[0] == k) | (maps[1] == k)) & known).sum()) for k in range(3)]
        assert np.nan_to_num(count(predicted, predicted_class, truth, truth_class).iou()) == pytest.approx(expected)
