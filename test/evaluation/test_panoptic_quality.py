"""Panoptic quality on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.evaluation.panoptic_quality import match_segments, number_segments

TRUTH = np.array([[1, 1, 1, 2, 2, 0]])
TRUTH_CLASS = np.array([0, 1])


def test_the_truth_against_itself_is_perfect() -> None:
    matches = match_segments(TRUTH, TRUTH_CLASS, TRUTH, TRUTH_CLASS, 3)
    assert matches.quality()[:2].tolist() == [1, 1]
    assert np.isnan(matches.quality()[2])


def test_a_match_a_miss_and_a_false_segment() -> None:
    # Class 0: predicted 4 pixels of 3, IoU 3/4. Class 1: one pixel of two, IoU 1/2 is no match.
    predicted = np.array([[1, 1, 1, 1, 2, 0]])
    matches = match_segments(predicted, np.array([0, 1]), TRUTH, TRUTH_CLASS, 2)
    assert matches.iou.tolist() == [0.75, 0]
    assert matches.true_positive.tolist() == [1, 0]
    assert matches.false_positive.tolist() == [0, 1]
    assert matches.false_negative.tolist() == [0, 1]
    assert matches.quality().tolist() == [0.75, 0]


def test_void_of_the_truth_leaves_the_union() -> None:
    predicted = np.array([[0, 0, 0, 2, 2, 2]])
    matches = match_segments(predicted, np.array([0, 1]), TRUTH, TRUTH_CLASS, 2)
    assert matches.iou[1] == 1


def test_a_segment_mostly_on_void_is_no_error() -> None:
    truth = np.array([[1, 0, 0, 0]])
    predicted = np.array([[1, 2, 2, 2]])
    matches = match_segments(predicted, np.array([0, 1]), truth, np.array([0]), 2)
    assert matches.false_positive.tolist() == [0, 0]
    half = match_segments(np.array([[2, 2, 0, 0]]), np.array([0, 1]), truth, np.array([0]), 2)
    assert half.false_positive.tolist() == [0, 1]


def test_the_wrong_class_is_an_error_for_both_classes() -> None:
    matches = match_segments(TRUTH, np.array([1, 1]), TRUTH, TRUTH_CLASS, 2)
    assert matches.false_negative.tolist() == [1, 0]
    assert matches.false_positive.tolist() == [0, 1]


def test_counts_of_images_add_up() -> None:
    one = match_segments(TRUTH, TRUTH_CLASS, TRUTH, TRUTH_CLASS, 2)
    none = match_segments(np.zeros_like(TRUTH), np.zeros(0, int), TRUTH, TRUTH_CLASS, 2)
    assert (one + none).quality().tolist() == pytest.approx([2 / 3, 2 / 3])


def test_classes_and_instances_become_numbered_segments() -> None:
    class_map = np.array([[0, 0, 5, 5, 255]], np.uint8)
    instance_map = np.array([[0, 0, 300, 301, 0]])
    segment_map, class_id = number_segments(class_map, instance_map)
    assert segment_map.tolist() == [[1, 1, 2, 3, 0]]
    assert class_id.tolist() == [0, 5, 5]
