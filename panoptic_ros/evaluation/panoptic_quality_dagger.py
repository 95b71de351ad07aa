"""PQ-dagger (Porzi et al. 2019, "Seamless Scene Segmentation"): panoptic quality without a threshold for stuff."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.evaluation.panoptic_quality import Matches
from panoptic_ros.evaluation.sums import Sums


@dataclass(frozen=True)
class DaggerQuality(Sums):
    """Per class, (C,) each: sum of IoU, and by how much it is divided.

    Of things as in PQ: matches plus half the errors. Of stuff: the images in whose truth the class is.
    """

    iou: np.ndarray
    occurrences: np.ndarray

    def result(self) -> dict[str, float]:
        """{"pq_dagger": mean over the classes that occur}; empty where none does."""
        rows = self.occurrences > 0
        return {"pq_dagger": float((self.iou[rows] / self.occurrences[rows]).mean())} if rows.any() else {}


def dagger_quality(matches: Matches, shared: np.ndarray, predicted_class: np.ndarray, truth_class: np.ndarray,
                   is_thing: np.ndarray) -> DaggerQuality:
    """PQ-dagger's sums of one image.

    matches: the image's own, of `match_overlap`. shared: (N + 1, M + 1) of `overlap`. predicted_class: (N,) and
    truth_class: (M,) in 0..C-1, or NO_CLASS. is_thing: (C,) bool.
    All segments of a stuff class count as one; pixels that are void in the truth leave the union. A stuff class that
    is predicted where the truth has none is not punished here: the paper divides by the segments of the truth.
    """
    stuff = np.flatnonzero(~is_thing)
    predicted, truth = predicted_class[:, None] == stuff, truth_class[:, None] == stuff
    pixels = shared[1:, 1:]
    intersection = ((predicted.T @ pixels) * truth.T).sum(1)
    truth_area = shared[:, 1:].sum(0) @ truth
    union = pixels.sum(1) @ predicted + truth_area - intersection
    iou = matches.iou.copy()
    occurrences = matches.true_positive + (matches.false_positive + matches.false_negative) / 2
    iou[stuff] = intersection / np.maximum(union, 1)
    occurrences[stuff] = truth_area > 0
    return DaggerQuality(iou, occurrences)
