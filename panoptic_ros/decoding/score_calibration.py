"""Score calibration: a network's score of a thing segment -> the probability that the segment is real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from panoptic_ros.errors import InputError
from panoptic_ros.segments import Segments


@dataclass(frozen=True)
class ScoreCalibration:
    """A piecewise linear, ascending map; outside its scores it is constant.

    scores, precisions: (K,) each, K >= 1, ascending: of the segments with this score so many were real, that is, fitted
    an object of their class by more than half. Raises InputError for other values.
    """

    scores: tuple[float, ...]
    precisions: tuple[float, ...]

    def __post_init__(self) -> None:
        is_ascending = (list(self.scores) == sorted(set(self.scores))
                        and list(self.precisions) == sorted(self.precisions))
        if not self.scores or len(self.scores) != len(self.precisions) or not is_ascending \
                or not all(0 <= precision <= 1 for precision in self.precisions):
            raise InputError("a score calibration has as many scores as precisions, both ascending, precisions from 0 "
                             f"to 1; this one has {list(self.scores)} and {list(self.precisions)}")

    @staticmethod
    def of(values: Sequence[Sequence[float]]) -> ScoreCalibration:
        """From pairs of a score and its precision, as model.yaml has them."""
        return ScoreCalibration(tuple(float(score) for score, _ in values),
                                tuple(float(precision) for _, precision in values))

    def pairs(self) -> list[list[float]]:
        """The pairs that `of` takes."""
        return [[score, precision] for score, precision in zip(self.scores, self.precisions, strict=True)]

    def calibrated(self, segments: Segments[Tensor]) -> Segments[Tensor]:
        """The segments with calibrated scores of things; those of stuff stay as they are."""
        return replace(segments, score=torch.where(segments.is_thing, self(segments.score), segments.score))

    def __call__(self, score: Tensor) -> Tensor:
        """(N,) scores -> (N,) precisions."""
        scores, precisions = (torch.tensor(values, dtype=score.dtype, device=score.device)
                              for values in (self.scores, self.precisions))
        right = torch.searchsorted(scores, score.contiguous()).clamp(1, max(len(scores) - 1, 1))
        right = right.clamp(max=len(scores) - 1)
        left = (right - 1).clamp(min=0)
        along = (score - scores[left]) / (scores[right] - scores[left]).clamp(min=1e-12)
        return torch.lerp(precisions[left], precisions[right], along.clamp(0, 1))
