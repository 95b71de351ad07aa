"""Which masks count for tracking, and how well they overlap."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.evaluation.tracked_masks import tracked_masks
from panoptic_ros.evaluation.tubes import tube_class
from panoptic_ros.labels import NO_CLASS, PanopticLabel

ROAD, CAR, PERSON = 0, 1, 2
IS_THING = np.array([False, True, True])
NAMES = {"r": (ROAD, 0), "n": (NO_CLASS, 0), "a": (CAR, 1), "b": (CAR, 2), "p": (PERSON, 1), "c": (CAR, 9, True),
         "u": (CAR, 0)}


@pytest.fixture
def masks(draw):
    return lambda predicted, truth: tracked_masks(draw(predicted, **NAMES), draw(truth, **NAMES), IS_THING, 0)


def test_masks_of_one_class_that_overlap_are_pairs_with_their_iou(masks):
    result = masks("aaabbrpp", "aabbbbbb")
    pairs = zip(result.truth_row.tolist(), result.predicted_row.tolist(), result.iou.tolist(), strict=True)
    # The person is on car b: no pair.
    assert sorted(pairs) == [(0, 0, 2 / 3), (1, 0, 1 / 8), (1, 1, 2 / 6)]
    assert tube_class(result.truth).tolist() == [CAR, CAR]
    assert tube_class(result.predicted).tolist() == [CAR, CAR, PERSON]


def test_stuff_and_what_has_no_class_are_no_masks(masks):
    result = masks("rrnn", "nnrr")
    assert len(result.truth) == len(result.predicted) == len(result.iou) == 0


@pytest.mark.parametrize(("predicted", "truth", "counts"), [
    ("aaa", "..n", 0),  # by more than half on void
    ("aaaa", "..nn", 1),  # by half
    ("aaa", "nnn", 1),
    ("aaa", "ccn", 0),  # a crowd of its class
    ("ppp", "ccn", 1),  # of another class
    ("aaa", "uun", 0),  # a truth thing without object id is not told apart
    ("aaa", "c.n", 0),
    ("aaaaa", "..nnb", 1),
    ("aaaaa..", "bbb..nn", 1),
    ("aaaaaa..", "bb....nn", 0),
])
def test_a_mask_mostly_on_void_or_on_a_crowd_of_its_class_does_not_count(masks, predicted, truth, counts):
    assert len(masks(predicted, truth).predicted) == counts


def test_the_masks_left_keep_their_pairs(masks):
    result = masks("aaabb", "...bb")
    assert (result.truth_row.tolist(), result.predicted_row.tolist(), result.iou.tolist()) == ([0], [0], [1])


def test_void_is_in_the_union(masks):
    assert masks("aaaa", "aaa.").iou.tolist() == [0.75]


def test_two_segments_of_one_object_are_one_mask(draw):
    split = PanopticLabel.of(np.array([[1, 1, 2, 2]]), [CAR, CAR], [1, 1])
    whole = draw("aaaa", **NAMES)
    for predicted, truth in ((split, whole), (whole, split), (split, split)):
        assert tracked_masks(predicted, truth, IS_THING, 0).iou.tolist() == [1]


def test_a_row_without_pixels_is_no_mask():
    label = PanopticLabel.of(np.array([[1, 1]]), [CAR, CAR], [1, 2])
    result = tracked_masks(label, label, IS_THING, 0)
    assert len(result.truth) == len(result.predicted) == 1
