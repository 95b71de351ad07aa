"""Parsing covering (Yang et al. 2019, "DeeperLab"): how well the best prediction covers each region, by its size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.evaluation.overlap import check_classes
from panoptic_ros.evaluation.sums import Sums


@dataclass(frozen=True)
class Covering(Sums):
    """Per class, (C,) each: sum over the regions R of the truth of |R| max IoU(R, R'), and of |R|, in pixels."""

    covered: np.ndarray
    area: np.ndarray

    def covering(self) -> np.ndarray:
        """Covering of each class, (C,), NaN for classes that are not in the truth."""
        return np.where(self.area > 0, self.covered / np.maximum(self.area, 1), np.nan)

    def result(self) -> dict[str, float]:
        """{"parsing_covering": mean over the classes of the truth}; empty where it has none."""
        covering = self.covering()
        return {"parsing_covering": float(np.nanmean(covering))} if (self.area > 0).any() else {}


def cover_overlap(shared: np.ndarray, predicted_class: np.ndarray, truth_class: np.ndarray,
                  truth_is_crowd: np.ndarray, classes: int) -> Covering:
    """The covering's sums of one image (section 4.2 of the paper, Cov_i = 1 / N_i sum |R| max IoU).

    shared: (N + 1, M + 1) of `overlap`. predicted_class: (N,) and truth_class: (M,) in 0..C-1, or NO_CLASS.
    truth_is_crowd: (M,) bool. classes: C.
    Pixels that are void or crowd in the truth are left out of every area. A pixel weighs the same in every image, as
    the paper has it; the authors' code can also divide by the image's size, which is the same where all have one size.
    """
    check_classes(predicted_class, classes, "prediction")
    check_classes(truth_class, classes, "truth")
    pixels = shared[1:, 1:] * ~truth_is_crowd
    truth_area = np.where(truth_is_crowd, 0, shared[:, 1:].sum(0))
    union = pixels.sum(1)[:, None] + truth_area[None] - pixels
    iou = np.where(predicted_class[:, None] == truth_class[None], pixels / np.maximum(union, 1), 0)
    best = iou.max(0, initial=0)
    judged = truth_class >= 0
    return Covering(np.bincount(truth_class[judged], (truth_area * best)[judged], classes).astype(np.float64),
                    np.bincount(truth_class[judged], truth_area[judged], classes).astype(np.int64))
