"""VPQ, video panoptic quality (Kim et al. 2020): panoptic quality of tubes over windows of consecutive images."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.evaluation.panoptic_quality import Matches, match_overlap
from panoptic_ros.evaluation.tubes import CROWD, tube_class, tube_keys
from panoptic_ros.labels import PanopticLabel

WINDOWS = (1, 5, 10, 15)  # images; the paper's 0, 5, 10, 15 at 17 images a second, of which every fifth has a truth


@dataclass(frozen=True)
class VideoPanopticTotals:
    """Matches of tubes and number of windows, for each of WINDOWS; `+` joins sequences."""

    matches: tuple[Matches, ...]
    windows: tuple[int, ...]

    def __add__(self, other: VideoPanopticTotals) -> VideoPanopticTotals:
        return VideoPanopticTotals(tuple(a + b for a, b in zip(self.matches, other.matches, strict=True)),
                                   tuple(a + b for a, b in zip(self.windows, other.windows, strict=True)))

    def result(self) -> dict[str, float]:
        """`1`, `5`, `10`, `15`: the mean over classes that occur; `mean`: that of the lengths that could be measured.

        A length is absent where no sequence is that long; `windows` has how many there were.
        """
        result = {}
        for length, matches in zip(WINDOWS, self.matches, strict=True):
            quality = matches.quality()
            if not np.isnan(quality).all():
                result[str(length)] = float(np.nanmean(quality))
        return result | ({"mean": sum(result.values()) / len(result)} if result else {})


@dataclass(frozen=True)
class _Overlaps:
    """What one image adds to a window: keys of the tubes (row 0 = void = key 0) and the shares of pairs of rows."""

    predicted: np.ndarray
    truth: np.ndarray
    row: np.ndarray
    column: np.ndarray
    pixels: np.ndarray


class VideoPanopticQuality:
    """Takes the images of one sequence in order; keeps what the tubes of the last 15 images share, no pixels.

    Every run of k consecutive images is a window (the reference's stride of 1). In a window the segments of one object
    (class and object id) and those of one stuff class are one tube, and tubes are matched by the rules of
    `match_overlap`: same class, IoU of the tubes above 0.5, COCO's rules for void and for crowds, of which a class has
    one in a window. A thing without an object id is a tube of one image. Windows of one image give PQ itself, as long
    as no image has two segments of one object or of one stuff class.
    """

    def __init__(self, is_thing: np.ndarray) -> None:
        """is_thing: (C,) bool."""
        self._is_thing = np.asarray(is_thing, bool)
        self._last: deque[_Overlaps] = deque(maxlen=max(WINDOWS))  # the newest one first
        self._frame = 0
        none = np.zeros(len(is_thing))
        self._matches = [Matches(none, none, none, none) for _ in WINDOWS]
        self._windows = [0 for _ in WINDOWS]

    def add(self, predicted: PanopticLabel, truth: PanopticLabel, shared: np.ndarray | None = None) -> None:
        """shared: (N + 1, M + 1) as `overlap` gives it; computed here where it is None."""
        if shared is None:
            shared = overlap(predicted.segment_map, truth.segment_map, len(predicted), len(truth))
        truth_keys = tube_keys(truth, self._is_thing, self._frame)
        row, column = np.nonzero(shared)
        self._last.appendleft(_Overlaps(
            np.concatenate([[0], tube_keys(predicted, self._is_thing, self._frame)]),
            np.concatenate([[0], np.where(truth.is_crowd, truth_keys | CROWD, truth_keys)]),
            row, column, shared[row, column]))
        self._frame += 1
        for i, matches in enumerate(_match_windows(list(self._last), len(self._is_thing))):
            self._matches[i] += matches
            self._windows[i] += 1

    def totals(self) -> VideoPanopticTotals:
        return VideoPanopticTotals(tuple(self._matches), tuple(self._windows))


def _match_windows(frames: list[_Overlaps], classes: int) -> list[Matches]:
    """The matches in those of WINDOWS for which there are enough images; the newest image comes first."""
    predicted, predicted_row, predicted_age = _join([f.predicted for f in frames])
    truth, truth_row, truth_age = _join([f.truth for f in frames])
    shared = np.zeros((len(predicted), len(truth)), np.int64)
    result = []
    for age, frame in enumerate(frames):  # each window has the images of the one before
        np.add.at(shared, (predicted_row[age][frame.row], truth_row[age][frame.column]), frame.pixels)
        if age + 1 in WINDOWS:
            rows, columns = np.flatnonzero(predicted_age <= age), np.flatnonzero(truth_age <= age)
            p, t = predicted[rows][1:], truth[columns][1:]  # without void, whose key is the lowest
            result.append(match_overlap(shared[np.ix_(rows, columns)], tube_class(p), tube_class(t),
                                        t & CROWD == CROWD, classes))
    return result


def _join(keys: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Keys of several images: each once, where those of each image are among them, the first image that has it."""
    start = np.cumsum([0, *map(len, keys)])
    joined, first, row = np.unique(np.concatenate(keys), return_index=True, return_inverse=True)
    return joined, np.split(row, start[1:-1]), np.searchsorted(start, first, side="right") - 1
