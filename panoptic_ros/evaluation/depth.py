"""Errors of predicted depth (Eigen et al. 2014), of all pixels and of those of each class: RMSE, AbsRel, and the share
of pixels within factors of 1.25."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.sums import Sums


@dataclass(frozen=True)
class DepthErrors(Sums):
    """Sums over pixels.

    pixels: how many. squared: of squared errors, square metres. relative: of |error| / truth.
    within: (3,) pixels whose depth is off by a factor below 1.25, 1.25^2 and 1.25^3.
    """

    pixels: int
    squared: float
    relative: float
    within: np.ndarray

    def result(self) -> dict[str, float]:
        """{"rmse" in metres, "abs_rel", "delta1", "delta2", "delta3" as fractions}, over all pixels of all images.

        Empty where no pixel has a true depth.
        """
        if self.pixels == 0:
            return {}
        shares = {f"delta{k + 1}": float(n / self.pixels) for k, n in enumerate(self.within)}
        return {"rmse": float(np.sqrt(self.squared / self.pixels)), "abs_rel": self.relative / self.pixels, **shares}


@dataclass(frozen=True)
class ClassDepthErrors(Sums):
    """Sums over the pixels of each class, (C,) each; see `DepthErrors`, but within a factor of 1.25 alone."""

    pixels: np.ndarray
    squared: np.ndarray
    relative: np.ndarray
    within: np.ndarray

    def result(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """{"rmse", "abs_rel", "delta1"} of each class, by name, that has a pixel with a true depth."""
        there = np.flatnonzero(self.pixels).tolist()
        return {names[k]: {"rmse": float(np.sqrt(self.squared[k] / self.pixels[k])),
                           "abs_rel": float(self.relative[k] / self.pixels[k]),
                           "delta1": float(self.within[k] / self.pixels[k])} for k in there}


def compare_class_depth(predicted: np.ndarray, truth: np.ndarray, class_map: np.ndarray, classes: int,
                        ) -> ClassDepthErrors:
    """The errors of one image, as `compare_depth`, for the pixels of each class of the truth.

    class_map: (H, W) integers; what is not below `classes` is of no class.
    """
    known = np.isfinite(truth) & (truth > 0) & (class_map < classes)
    found, true, class_id = predicted[known].astype(np.float64), truth[known].astype(np.float64), class_map[known]
    error = found - true

    def total(values: np.ndarray | None) -> np.ndarray:
        return np.bincount(class_id, values, classes)

    return ClassDepthErrors(total(None), total(error * error), total(np.abs(error) / true),
                            total(np.maximum(found / true, true / found) < 1.25))


def compare_depth(predicted: np.ndarray, truth: np.ndarray) -> DepthErrors:
    """The errors of one image, where the truth is known.

    predicted, truth: (H, W) metres; the truth is 0 or not finite where it is unknown.
    Raises InputError where the sizes differ, or where a depth is missing that the truth knows.
    """
    if predicted.shape != truth.shape:
        raise InputError(f"the predicted depth has shape {predicted.shape}, the truth {truth.shape}: "
                         "score predictions at the size of the truth")
    known = np.isfinite(truth) & (truth > 0)
    found, true = predicted[known].astype(np.float64), truth[known].astype(np.float64)
    wrong = np.count_nonzero(~(np.isfinite(found) & (found > 0)))
    if wrong:
        raise InputError(f"the predicted depth of {wrong} of {len(true)} pixels is not a positive number of metres: "
                         "predict a depth for every pixel, or leave those out of the truth")
    factor = np.maximum(found / true, true / found)
    within = np.array([np.count_nonzero(factor < 1.25 ** k) for k in (1, 2, 3)])
    error = found - true
    return DepthErrors(len(true), float(error @ error), float((np.abs(error) / true).sum()), within)
