"""Errors of depth on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.depth import compare_class_depth, compare_depth


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


def test_errors_of_each_class_are_those_of_its_pixels_alone() -> None:
    random = np.random.default_rng(0)
    truth, class_map = random.uniform(1, 90, (20, 30)), random.choice([0, 2, 3, 255], (20, 30)).astype(np.uint8)
    truth[random.uniform(size=truth.shape) < 0.2] = np.nan
    truth[class_map == 3] = 0
    predicted = truth * random.uniform(0.6, 1.5, truth.shape)
    names = ("road", "sky", "car", "person")
    errors = compare_class_depth(predicted, truth, class_map, 4).result(names)
    assert errors.keys() == {"road", "car"}  # of the sky there is none, and of people no depth
    for name, found in errors.items():
        alone = np.where(class_map == names.index(name), truth, 0)
        whole = compare_depth(np.where(alone > 0, predicted, 1), alone).result()
        assert found == pytest.approx({key: whole[key] for key in ("rmse", "abs_rel", "delta1")})


def test_errors_of_classes_add_up_over_images() -> None:
    class_map = np.array([[1, 1]])
    first = compare_class_depth(np.array([[2.0, 2]]), np.array([[2.0, 2]]), class_map, 2)
    second = compare_class_depth(np.array([[3.0, 9]]), np.array([[2.0, 0]]), class_map, 2)
    assert (first + second).result(("a", "b")) == {
        "b": {"rmse": pytest.approx(np.sqrt(1 / 3)), "abs_rel": pytest.approx(0.5 / 3), "delta1": pytest.approx(2 / 3)}}
