"""Panoptic quality (Kirillov et al. 2019) with COCO's rules for void."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Matches:
    """Counts per class, (C,) each: sum of the IoU of matched segments, and the numbers of matches and errors."""

    iou: np.ndarray
    true_positive: np.ndarray
    false_positive: np.ndarray
    false_negative: np.ndarray

    def __add__(self, other: Matches) -> Matches:
        return Matches(self.iou + other.iou, self.true_positive + other.true_positive,
                       self.false_positive + other.false_positive, self.false_negative + other.false_negative)

    def quality(self) -> np.ndarray:
        """PQ of each class, (C,), NaN for classes that occur neither in the truth nor in the prediction."""
        occurrences = self.true_positive + (self.false_positive + self.false_negative) / 2
        with np.errstate(invalid="ignore"):
            return np.where(occurrences > 0, self.iou / occurrences, np.nan)


def number_segments(class_map: np.ndarray, instance_map: np.ndarray, void: int = 255) -> tuple[np.ndarray, np.ndarray]:
    """Truth as a class map and an instance map -> a segment map.

    class_map: (H, W) class ids. instance_map: (H, W) int, 0 = no instance, else its id.
    Returns (H, W) int32, 0 = void, and the class ids of the segments 1..N, (N,).
    """
    key = np.where(class_map == void, -1, class_map.astype(np.int64) + (instance_map.astype(np.int64) << 8))
    values, index = np.unique(key, return_inverse=True)
    has_void = int(values[0] == -1)
    return (index.reshape(key.shape) + 1 - has_void).astype(np.int32), (values[has_void:] & 255).astype(np.int32)


def match_segments(predicted_map: np.ndarray, predicted_class: np.ndarray, truth_map: np.ndarray,
                   truth_class: np.ndarray, classes: int) -> Matches:
    """Compare the segments of one image.

    predicted_map, truth_map: (H, W), 0 = void, k = row k - 1 of predicted_class (N,) and truth_class (M,).
    A pair of one class with an IoU above 0.5 is a match. Pixels that are void in the truth leave the union, and a
    predicted segment that lies mostly on them is no error.
    """
    n, m = len(predicted_class) + 1, len(truth_class) + 1
    shared = np.bincount((predicted_map.astype(np.int64) * m + truth_map).ravel(), minlength=n * m).reshape(n, m)
    predicted_area, truth_area = shared.sum(1), shared.sum(0)
    on_void = shared[1:, 0]
    union = (predicted_area[1:, None] - on_void[:, None]) + truth_area[None, 1:] - shared[1:, 1:]
    iou = shared[1:, 1:] / np.maximum(union, 1)
    row, column = np.nonzero((iou > 0.5) & (predicted_class[:, None] == truth_class[None]))

    def count(ids: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(ids, weights, minlength=classes)

    matched, found = np.zeros(n - 1, bool), np.zeros(m - 1, bool)
    matched[row], found[column] = True, True
    wrong = ~matched & (on_void * 2 <= predicted_area[1:]) & (predicted_area[1:] > 0)
    return Matches(count(truth_class[column], iou[row, column]), count(truth_class[column]),
                   count(predicted_class[wrong]), count(truth_class[~found]))
