"""Area, box and median of every label of a map, for NumPy arrays: for datasets, ground truth, frames and overlays."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import find_objects


def label_areas_and_boxes(label_map: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Area (count,) int32 and box (count, 4) int32 of the labels 1..count in a label map (H, W) of integers.

    A box is x0, y0, x1, y1, the last two exclusive; zeros where the label has no pixel.
    """
    area = np.bincount(label_map.reshape(-1), minlength=count + 1)[1:count + 1]
    slices = find_objects(label_map.astype(np.int32, copy=False), count)
    boxes = [(0, 0, 0, 0) if part is None else (part[1].start, part[0].start, part[1].stop, part[0].stop)
             for part in slices]
    return area.astype(np.int32), np.array(boxes, np.int32).reshape(-1, 4)


def label_medians(label_map: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Median (count,) float32 of the values of the labels 1..count in a label map (H, W) of integers.

    values: (H, W) float32; those that are not above 0, or not finite, do not count. NaN where a label has no value.
    """
    known = (label_map > 0) & (values > 0) & np.isfinite(values)
    # Floats above 0 are ordered as their bits are: one sort, by label and then by value.
    bits = values[known].astype(np.float32, copy=False).view(np.uint32)
    key = np.sort(label_map[known].astype(np.uint64) << np.uint64(32) | bits)
    edge = np.searchsorted(key, np.arange(1, count + 2, dtype=np.uint64) << np.uint64(32))
    number = np.diff(edge)
    result = np.full(count, np.nan, np.float32)
    there = np.flatnonzero(number)
    lower, upper = (key[edge[there] + (number[there] - odd) // 2].astype(np.uint32).view(np.float32) for odd in (1, 0))
    result[there] = lower + (upper - lower) / 2
    return result
