"""Mean IoU of semantic segmentation: the classes of pixels, whatever the objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.evaluation.overlap import check_classes, overlap
from panoptic_ros.evaluation.sums import Sums
from panoptic_ros.labels import PanopticLabel


@dataclass(frozen=True)
class ClassPixels(Sums):
    """Pixels per class outside the truth's void, (C,) int64 each: rightly predicted, predicted, and in the truth."""

    right: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray

    def iou(self) -> np.ndarray:
        """IoU of each class, (C,), NaN for classes that are neither predicted nor in the truth."""
        union = self.predicted + self.truth - self.right
        return np.where(union > 0, self.right / np.maximum(union, 1), np.nan)

    def result(self) -> dict[str, float]:
        """{"miou": mean over the classes that are predicted or in the truth}; empty where the truth has no class."""
        return {"miou": float(np.nanmean(self.iou()))} if self.truth.any() else {}


def class_pixels(shared: np.ndarray, predicted_class: np.ndarray, truth_class: np.ndarray,
                 classes: int) -> ClassPixels:
    """The pixels of one image by class.

    shared: (N + 1, M + 1) of `overlap`. predicted_class: (N,) and truth_class: (M,) in 0..C-1, or NO_CLASS. classes: C.
    Pixels that are void in the truth do not count; crowds count, their class is known. A pixel that the prediction
    leaves void or of NO_CLASS is missed.
    """
    check_classes(predicted_class, classes, "prediction")
    check_classes(truth_class, classes, "truth")

    def count(class_id: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        return np.bincount(class_id[class_id >= 0], pixels[class_id >= 0], classes).astype(np.int64)

    pixels = shared[1:, 1:]
    right = (pixels * (predicted_class[:, None] == truth_class[None])).sum(0)
    return ClassPixels(count(truth_class, right), count(predicted_class, pixels.sum(1)),
                       count(truth_class, shared[:, 1:].sum(0)))


def predicted_class_pixels(predicted: PanopticLabel, truth: PanopticLabel, shared: np.ndarray,
                           classes: int) -> ClassPixels:
    """The pixels of one image by class, as the prediction's `semantics` have it, or where it has none its segments.

    shared: (N + 1, M + 1) of `overlap`, of the segments. classes: C. Raises InputError for a class beyond them.
    """
    if predicted.semantics is None:
        return class_pixels(shared, predicted.class_id, truth.class_id, classes)
    # One row for each class: VOID, 255, becomes row 0.
    rows = overlap(predicted.semantics + np.uint8(1), truth.segment_map, classes, len(truth))
    return class_pixels(rows, np.arange(classes), truth.class_id, classes)
