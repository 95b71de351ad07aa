"""Area and box of every label, by tensor code and by NumPy code alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from panoptic_ros.geometry.label_maps import measure_labels
from panoptic_ros.geometry.numpy_label_maps import label_areas_and_boxes

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
