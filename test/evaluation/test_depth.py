"""Errors of depth on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.depth import compare_depth


def test_errors_of_four_pixels() -> None:
    # Factors 1, 1.2, 1.5 and 2 (the last predicted too near): below 1.25, 1.25^2 = 1.5625, 1.25^3 = 1.953.
    truth = np.array([[10, 10], [10, 20]], np.float32)
    predicted = np.array([[10, 12], [15, 10]], np.float32)
    assert compare_depth(predicted, truth).result() == pytest.approx({
        "rmse": np.sqrt((4 + 25 + 100) / 4), "abs_rel": (0.2 + 0.5 + 0.5) / 4,
        "delta1": 0.5, "delta2": 0.75, "delta3": 0.75})


def test_a_factor_of_exactly_1_25_is_not_within() -> None:
    assert compare_depth(np.array([[5.0]]), np.array([[4.0]])).result()["delta1"] == 0


def test_the_truth_against_itself_is_perfect() -> None:
    truth = np.random.default_rng(0).uniform(1, 100, (5, 7)).astype(np.float32)
    assert compare_depth(truth, truth).result() == {"rmse": 0, "abs_rel": 0, "delta1": 1, "delta2": 1, "delta3": 1}


def test_pixels_without_truth_do_not_count() -> None:
    truth = np.array([[4, 0, np.nan, np.inf, -1]])
    assert compare_depth(np.array([[4, 9, 9, np.nan, 0]]), truth).pixels == 1
    assert compare_depth(np.array([[9.0]]), np.array([[0.0]])).result() == {}


def test_every_pixel_weighs_the_same_in_every_image() -> None:
    near = compare_depth(np.array([[1.0, 1, 1]]), np.array([[1.0, 1, 1]]))
    far = compare_depth(np.array([[6.0]]), np.array([[2.0]]))
    assert (near + far).result() == {"rmse": 2, "abs_rel": 0.5, "delta1": 0.75, "delta2": 0.75, "delta3": 0.75}


@pytest.mark.parametrize("missing", [0, -2, np.nan, np.inf])
def test_a_prediction_that_is_no_depth_is_refused(missing: float) -> None:
    with pytest.raises(InputError, match="1 of 2 pixels is not a positive number of metres"):
        compare_depth(np.array([[5, missing, 0]]), np.array([[5.0, 5, np.nan]]))


def test_different_sizes_are_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(1, 2\), the truth \(2, 1\)"):
        compare_depth(np.ones((1, 2)), np.ones((2, 1)))
