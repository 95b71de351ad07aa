"""Flicker: how often the predicted class of a pixel changes between two images though the true class does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.classes import VOID
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.sums import Sums
from panoptic_ros.labels import PanopticLabel


@dataclass(frozen=True)
class FlickerTotals(Sums):
    """Pixels of pairs of consecutive images that are void in neither truth; `+` joins sequences.

    steady: the true class stays the same. steady_changed: of these, the predicted class changes.
    moving: the true class changes. moving_changed: of these, the predicted class changes.
    """

    steady: int = 0
    steady_changed: int = 0
    moving: int = 0
    moving_changed: int = 0

    def result(self) -> dict[str, float]:
        """`flicker`: share of the steady pixels whose predicted class changes; 0 is best. To judge it by:

        `truth_change`: share of all pixels whose true class changes, `predicted_change`: the same of the predicted
        class, `followed`: share of the pixels whose true class changes where the prediction changes as well, so that
        a prediction that never changes is seen for what it is. Each is absent where there are no such pixels.
        """
        result = {}
        if self.steady:
            result["flicker"] = self.steady_changed / self.steady
        if self.steady + self.moving:
            result["truth_change"] = self.moving / (self.steady + self.moving)
            result["predicted_change"] = (self.steady_changed + self.moving_changed) / (self.steady + self.moving)
        if self.moving:
            result["followed"] = self.moving_changed / self.moving
        return result


class Flicker:
    """Takes the images of one sequence in order; keeps the two class maps of the last one.

    A prediction's classes are its `semantics` where it has them, else those of its segments. A pixel that is void, or
    of none of the classes, in either of two truths is left out; in a prediction void counts as a class of its own.
    """

    def __init__(self) -> None:
        self._totals = FlickerTotals()
        self._last: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, predicted: PanopticLabel, truth: PanopticLabel) -> None:
        """Raises InputError where the size of the images changes."""
        maps = predicted.class_map(VOID), truth.class_map(VOID)
        if self._last is not None:
            if not self._last[0].shape == self._last[1].shape == maps[0].shape == maps[1].shape:
                raise InputError(f"an image of {maps[1].shape[1]} x {maps[1].shape[0]} pixels follows one of "
                                 f"{self._last[1].shape[1]} x {self._last[1].shape[0]}: the images of a sequence must "
                                 "have one size, and predictions that of their truth")
            self._totals += flicker(self._last[0], maps[0], self._last[1], maps[1])
        self._last = maps

    def totals(self) -> FlickerTotals:
        return self._totals


def flicker(predicted_before: np.ndarray, predicted: np.ndarray, truth_before: np.ndarray,
            truth: np.ndarray) -> FlickerTotals:
    """The counts of two consecutive images; class maps (H, W) uint8, 255 = void."""
    changed = predicted_before != predicted
    known = (truth_before != VOID) & (truth != VOID)
    steady = truth_before == truth
    steady &= known
    pixels, still = int(np.count_nonzero(known)), int(np.count_nonzero(steady))
    known &= changed
    steady &= changed
    changes, flickers = int(np.count_nonzero(known)), int(np.count_nonzero(steady))
    return FlickerTotals(still, flickers, pixels - still, changes - flickers)
