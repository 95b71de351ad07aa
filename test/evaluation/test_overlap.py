"""The pixels that segments share."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.overlap import check_classes, overlap


def test_every_pair_of_segments_is_counted() -> None:
    predicted = np.array([[0, 1, 1, 2], [0, 1, 2, 2]])
    truth = np.array([[1, 1, 3, 3], [1, 0, 0, 3]])

    # Rows: void, 1, 2 of the prediction; columns: void, 1, 2 (without a pixel), 3 of the truth.
    assert overlap(predicted, truth, 2, 3).tolist() == [[0, 2, 0, 0], [1, 1, 0, 1], [1, 0, 0, 2]]


@pytest.mark.parametrize(("predicted_count", "truth_count"), [(1, 1), (12, 19), (200, 300), (400, 500)])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_noise_of_any_type_agrees_with_a_count_of_pixel_after_pixel(
        predicted_count: int, truth_count: int, dtype: type) -> None:
    random = np.random.default_rng(predicted_count)
    predicted = random.integers(0, predicted_count + 1, (37, 41)).astype(dtype)
    truth = np.repeat(random.integers(0, truth_count + 1, (37, 1)), 41, 1).astype(np.uint16)
    expected = np.zeros((predicted_count + 1, truth_count + 1), np.int64)
    np.add.at(expected, (predicted, truth), 1)

    assert (overlap(predicted, truth, predicted_count, truth_count) == expected).all()


def test_maps_that_are_views_are_read_in_their_own_order() -> None:
    whole = np.arange(24, dtype=np.uint16).reshape(4, 6)
    predicted, truth = whole[:, ::2].T, np.ascontiguousarray(whole[:, ::2].T)

    shared = overlap(predicted, truth, 23, 23)

    assert shared.sum() == np.trace(shared) == 12


def test_no_segments_and_no_pixels_are_fine() -> None:
    assert overlap(np.zeros((2, 3), np.uint16), np.zeros((2, 3), int), 0, 0).tolist() == [[6]]
    assert overlap(np.zeros((0, 3), np.uint16), np.zeros((0, 3), int), 1, 0).tolist() == [[0], [0]]


def test_maps_of_different_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="prediction has 2 x 3 pixels, the truth 3 x 2"):
        overlap(np.zeros((2, 3), int), np.zeros((3, 2), int), 0, 0)


@pytest.mark.parametrize(("predicted", "truth", "message"), [
    ([[0, 3]], [[0, 1]], "map of the prediction has a pixel of segment 3, .* 1 to 2"),
    ([[0, 1]], [[0, 3]], "map of the truth has a pixel of segment 3"),
    ([[-1, 1]], [[0, 1]], "map of the prediction has a pixel of segment -1"),
])
def test_a_segment_beyond_the_table_is_refused(predicted: list, truth: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        overlap(np.array(predicted), np.array(truth), 2, 2)


def test_a_class_beyond_the_table_is_refused_and_no_class_is_not() -> None:
    check_classes(np.array([0, -1, 4]), 5, "truth")
    with pytest.raises(InputError, match="truth has a segment of class 5, .* 0 to 4"):
        check_classes(np.array([0, 5]), 5, "truth")
    with pytest.raises(InputError, match="class -2"):
        check_classes(np.array([-2]), 5, "truth")
