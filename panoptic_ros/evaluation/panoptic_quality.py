"""Panoptic quality (Kirillov et al. 2019) with the rules of COCO's evaluator for void and crowds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.evaluation.overlap import check_classes, overlap
from panoptic_ros.evaluation.sums import Sums


@dataclass(frozen=True)
class Matches(Sums):
    """Counts per class, (C,) each: sum of the IoU of matched segments, and the numbers of matches and errors."""

    iou: np.ndarray
    true_positive: np.ndarray
    false_positive: np.ndarray
    false_negative: np.ndarray

    def quality(self) -> np.ndarray:
        """PQ of each class, (C,), NaN for classes that occur neither in the truth nor in the prediction."""
        return _ratio(self.iou, self._occurrences())

    def segmentation_quality(self) -> np.ndarray:
        """SQ, the mean IoU of matched segments, (C,): 0 without a match, NaN for classes that do not occur."""
        return np.where(self._occurrences() > 0, self.iou / np.maximum(self.true_positive, 1), np.nan)

    def recognition_quality(self) -> np.ndarray:
        """RQ, the F1 score of the segments, (C,), NaN for classes that do not occur."""
        return _ratio(self.true_positive, self._occurrences())

    def result(self, is_thing: np.ndarray) -> dict[str, dict[str, float]]:
        """PQ, SQ and RQ, means over the classes that occur: {"all": {"pq", "sq", "rq"}, "things": ..., "stuff": ...}.

        is_thing: (C,) bool. A group of which no class occurs is left out.
        """
        columns = {"pq": self.quality(), "sq": self.segmentation_quality(), "rq": self.recognition_quality()}
        occurs = self._occurrences() > 0
        groups = {"all": occurs, "things": occurs & is_thing, "stuff": occurs & ~is_thing}
        return {group: {name: float(column[rows].mean()) for name, column in columns.items()}
                for group, rows in groups.items() if rows.any()}

    def _occurrences(self) -> np.ndarray:
        return self.true_positive + (self.false_positive + self.false_negative) / 2


def match_segments(predicted_map: np.ndarray, predicted_class: np.ndarray, truth_map: np.ndarray,
                   truth_class: np.ndarray, classes: int, truth_is_crowd: np.ndarray | None = None) -> Matches:
    """Compare the segments of one image.

    predicted_map, truth_map: (H, W), 0 = void, k = row k - 1 of predicted_class (N,) and truth_class (M,).
    truth_is_crowd: (M,) bool, or None for no crowds. The rules are those of `match_overlap`.
    """
    shared = overlap(predicted_map, truth_map, len(predicted_class), len(truth_class))
    crowd = np.zeros(len(truth_class), bool) if truth_is_crowd is None else truth_is_crowd
    return match_overlap(shared, predicted_class, truth_class, crowd, classes)


def match_overlap(shared: np.ndarray, predicted_class: np.ndarray, truth_class: np.ndarray,
                  truth_is_crowd: np.ndarray, classes: int) -> Matches:
    """Compare the segments of one image by the pixels they share.

    shared: (N + 1, M + 1) of `overlap`. predicted_class: (N,) and truth_class: (M,) in 0..C-1, or NO_CLASS.
    truth_is_crowd: (M,) bool. classes: C.

    - A pair of one class with an IoU above 0.5 is a match. Pixels that are void in the truth leave the union.
    - Crowds are neither matched nor missed. A predicted segment that lies by more than half on void and on crowds of
      its own class is no error.
    - Segments of NO_CLASS are neither matched, missed nor false. Where the truth has one, its pixels count against
      what is predicted there, as those of another class do.
    - A row without pixels is no segment.
    """
    check_classes(predicted_class, classes, "prediction")
    check_classes(truth_class, classes, "truth")
    predicted_area, truth_area = shared[1:].sum(1), shared[:, 1:].sum(0)
    pixels, on_void = shared[1:, 1:], shared[1:, 0]
    same_class = predicted_class[:, None] == truth_class[None]
    judged = ~truth_is_crowd & (truth_class >= 0) & (truth_area > 0)
    union = (predicted_area - on_void)[:, None] + truth_area[None] - pixels
    iou = pixels / np.maximum(union, 1)
    row, column = np.nonzero((iou > 0.5) & same_class & judged[None])

    matched, found = np.zeros(len(predicted_class), bool), np.zeros(len(truth_class), bool)
    matched[row], found[column] = True, True
    ignored = on_void + (pixels * (same_class & truth_is_crowd[None])).sum(1)
    wrong = ~matched & (predicted_class >= 0) & (predicted_area > 0) & (ignored * 2 <= predicted_area)

    def count(ids: np.ndarray) -> np.ndarray:
        return np.bincount(ids, minlength=classes)

    # NumPy sums no weights to integers.
    total_iou = np.bincount(truth_class[column], iou[row, column], classes).astype(np.float64)
    return Matches(total_iou, count(truth_class[column]), count(predicted_class[wrong]),
                   count(truth_class[judged & ~found]))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
