"""Flicker on numbers worked by hand."""

from __future__ import annotations

import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.flicker import Flicker
from panoptic_ros.labels import NO_CLASS

NAMES = {"r": (0, 0), "a": (1, 1), "b": (1, 2), "n": (NO_CLASS, 0)}


@pytest.fixture
def totals(draw):
    def totals(*images):
        flicker = Flicker()
        for predicted, truth in images:
            flicker.add(draw(predicted, **NAMES), draw(truth, **NAMES))
        return flicker.totals()
    return totals


def test_changes_of_the_prediction_where_the_truth_is_steady_are_flicker(totals):
    # Six pixels: the truth changes in the last two; the prediction changes in one of these and in one of four.
    result = totals(("rrrrrr", "rrrrra"), ("arrrra", "rrrrar")).result()
    assert result == {"flicker": 1 / 4, "truth_change": 2 / 6, "predicted_change": 2 / 6, "followed": 1 / 2}


def test_void_and_no_class_in_either_truth_are_left_out(totals):
    result = totals(("aaaaa", "r.rnr"), ("rrrrr", ".rnrr"))
    assert (result.steady, result.steady_changed, result.moving) == (1, 1, 0)


def test_a_prediction_that_turns_void_flickers(totals):
    assert totals(("rr", "rr"), ("r.", "rr")).result()["flicker"] == 0.5


def test_another_object_of_the_same_class_does_not_flicker(totals):
    assert totals(("aa", "aa"), ("bb", "bb")).result() == {"flicker": 0, "truth_change": 0, "predicted_change": 0}


def test_a_wrong_but_steady_prediction_does_not_flicker_and_follows_nothing(totals):
    result = totals(("aaaa", "rrrr"), ("aaaa", "rrra")).result()
    assert (result["flicker"], result["followed"]) == (0, 0)


def test_pairs_of_images_of_one_sequence_add_up_and_sequences_do_not_touch(totals):
    one = totals(("rr", "rr"), ("ra", "rr"), ("ra", "rr"))
    assert one.result()["flicker"] == 1 / 4
    assert (one + totals(("aa", "aa"), ("rr", "aa"))).result()["flicker"] == 3 / 6


def test_what_cannot_be_measured_is_absent(totals):
    assert totals(("rr", "rr")).result() == {}
    assert totals(("rr", ".."), ("rr", "..")).result() == {}


def test_a_sequence_whose_size_changes_is_refused(totals):
    with pytest.raises(InputError, match="one size"):
        totals(("rr", "rr"), ("rrr", "rrr"))
