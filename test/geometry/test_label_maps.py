"""Area, box and median of every label, by tensor code and by NumPy code alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from panoptic_ros.geometry.label_maps import measure_labels
from panoptic_ros.geometry.numpy_label_maps import label_areas_and_boxes, label_medians

LABELS = [[0, 0, 3, 3, 0],
          [1, 0, 3, 1, 0],
          [0, 0, 0, 0, 4]]
AREAS = [9, 2, 0, 3, 1]
BOXES = [[0, 0, 5, 3], [0, 1, 4, 2], [0, 0, 0, 0], [2, 0, 4, 2], [4, 2, 5, 3]]  # label 2 is not there


def test_tensors_of_labels_are_measured() -> None:
    area, box = measure_labels(torch.tensor(LABELS, dtype=torch.int32), 5)
    there = [0, 1, 3, 4]
    assert area.tolist() == AREAS
    assert box[there].tolist() == [BOXES[k] for k in there]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_arrays_of_labels_are_measured_from_1_on(dtype: type) -> None:
    area, box = label_areas_and_boxes(np.array(LABELS, dtype), 4)
    assert area.tolist() == AREAS[1:]
    assert box.tolist() == BOXES[1:]
    assert (area.dtype, box.dtype) == (np.int32, np.int32)


def test_labels_beyond_the_last_pixel_have_no_area_and_no_labels_are_none() -> None:
    area, box = label_areas_and_boxes(np.array([[0, 1]]), 3)
    assert (area.tolist(), box.tolist()) == ([1, 0, 0], [[1, 0, 2, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    area, box = label_areas_and_boxes(np.zeros((2, 2), np.uint16), 0)
    assert (area.shape, box.shape) == ((0,), (0, 4))


def test_the_median_of_each_label_is_numpy_s_of_its_known_values() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 9, (30, 40)).astype(np.uint16)
    labels[labels == 5] = 0
    values = random.uniform(1e-3, 900, labels.shape).astype(np.float32)
    holes = random.uniform(size=labels.shape)
    values[holes < 0.3] = random.choice([0, np.nan, np.inf, -1], int((holes < 0.3).sum()))
    values[labels == 7] = np.nan
    median = label_medians(labels, values, 9)
    assert median.dtype == np.float32
    for label in range(1, 10):
        known = values[(labels == label) & np.isfinite(values) & (values > 0)]
        expected = np.median(known) if len(known) else np.nan
        np.testing.assert_allclose(median[label - 1], expected, rtol=1e-6)
    assert np.isnan(median).tolist() == [False] * 4 + [True, False, True, False, True]


@pytest.mark.parametrize(("values", "expected"), [([3.0], 3), ([1.0, 4], 2.5), ([9.0, 1, 2], 2), ([0.0, 2, 2, 8], 2)])
def test_a_median_is_the_middle_value_or_between_the_two(values: list[float], expected: float) -> None:
    row = np.array([values], np.float32)
    assert label_medians(np.ones(row.shape, np.int32), row, 1).tolist() == [expected]
    assert label_medians(np.zeros(row.shape, np.int32), row, 0).shape == (0,)
