"""Area and box of every label of a map, for NumPy arrays: for datasets, ground truth and overlays."""

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
