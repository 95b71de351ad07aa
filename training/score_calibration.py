"""Fit a score calibration: how many of the thing segments with a score are real."""

from __future__ import annotations

import numpy as np
from scipy.optimize import isotonic_regression

from panoptic_ros.decoding.score_calibration import ScoreCalibration

# Fewer segments than this say nothing about scores.
FEWEST = 20
# A precision is measured on at least so many segments; there are no more groups than this.
GROUP, MOST_GROUPS = 10, 30


def fit_calibration(score: np.ndarray, is_real: np.ndarray) -> ScoreCalibration | None:
    """Isotonic regression of `is_real` (N,) bool on `score` (N,); None for fewer than FEWEST segments.

    Knots are groups of equal size, of which neighbours that it gives one precision are one. A precision is that of
    Laplace's rule of succession: no score is certain.
    """
    if len(score) < FEWEST:
        return None
    order = np.argsort(score, kind="stable")
    groups = np.array_split(order, min(max(len(order) // GROUP, 1), MOST_GROUPS))
    blocks = isotonic_regression([is_real[group].mean() for group in groups],
                                 weights=[len(group) for group in groups]).blocks
    knots: dict[float, float] = {}
    for first, last in zip(blocks[:-1], blocks[1:], strict=True):
        rows = np.concatenate(groups[first:last])
        knots[round(float(score[rows].mean()), 4)] = round(float((is_real[rows].sum() + 1) / (len(rows) + 2)), 4)
    # The rule draws small groups to a half, which may be below the one before.
    precisions = np.maximum.accumulate(list(knots.values())).tolist()
    return ScoreCalibration(tuple(knots), tuple(precisions))
