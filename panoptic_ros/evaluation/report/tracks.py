"""Track timelines: in which frames a track or a ground-truth object is present, and which track matched it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from panoptic_ros.classes import ClassTable
from panoptic_ros.evaluation.tracked_masks import tracked_masks
from panoptic_ros.evaluation.tubes import CROWD
from panoptic_ros.labels import NO_CLASS, PanopticLabel


@dataclass
class Interval:
    """Frames without interruption, first and last, in which one predicted track matched an object (0 = none)."""

    first: int
    last: int
    matched_track: int = 0


@dataclass
class TrackRow:
    """A predicted track or an object of the truth over time.

    classes: how often it was of which class.
    matched_track: of an object of the truth, the predicted track that matched it last.
    switches: numbers of the frames with an ID switch: another track matches it than before.
    """

    camera: str
    object_id: int
    classes: Counter[int] = field(default_factory=Counter)
    intervals: list[Interval] = field(default_factory=list)
    matched_track: int = 0
    switches: list[int] = field(default_factory=list)

    @property
    def frames(self) -> int:
        return sum(self.classes.values())

    @property
    def class_id(self) -> int:
        return self.classes.most_common(1)[0][0]


class TrackTimeline:
    """Collects when predicted tracks and, where the truth has tracks, its objects are present."""

    def __init__(self, classes: ClassTable) -> None:
        self._is_thing = np.concatenate([classes.thing_mask, [False]])  # the last: NO_CLASS
        self._previous: dict[str, int] = {}
        self._tracks: dict[tuple[str, int], TrackRow] = {}
        self._objects: dict[tuple[str, int], TrackRow] = {}

    def add(self, number: int, camera: str, predicted: PanopticLabel, truth: PanopticLabel | None) -> None:
        """Account for frame `number`; truth: None where its objects have no ids that last."""
        before = self._previous.get(camera, number)
        self._previous[camera] = number
        for row in self._tracked_rows(predicted):
            self._add(self._tracks, camera, predicted, row, number, before, 0)
        if truth is None or not (rows := self._tracked_rows(truth)):
            return
        masks = tracked_masks(predicted, truth, self._is_thing[:-1], number)
        matched = masks.iou > 0.5  # as ID switches are counted
        ids = zip((masks.truth[masks.truth_row[matched]] & CROWD).tolist(),
                  (masks.predicted[masks.predicted_row[matched]] & CROWD).tolist(), strict=True)
        tracks = set(predicted.object_id.tolist())  # a thing without a track has a number of its own
        matched_track = {object_id: track if track in tracks else 0 for object_id, track in ids}
        for row in rows:
            self._add(self._objects, camera, truth, row, number, before,
                      matched_track.get(int(truth.object_id[row]), 0))

    @property
    def tracks(self) -> list[TrackRow]:
        """Of the prediction, the longest first."""
        return sorted(self._tracks.values(), key=lambda row: -row.frames)

    @property
    def objects(self) -> list[TrackRow]:
        """Of the truth, the longest first."""
        return sorted(self._objects.values(), key=lambda row: -row.frames)

    def _tracked_rows(self, label: PanopticLabel) -> list[int]:
        is_object = (label.object_id > 0) & (label.class_id != NO_CLASS) & self._is_thing[label.class_id]
        return np.flatnonzero(is_object & ~label.is_crowd).tolist()

    def _add(self, rows: dict[tuple[str, int], TrackRow], camera: str, label: PanopticLabel, index: int, number: int,
             before: int, matched_track: int) -> None:
        object_id = int(label.object_id[index])
        row = rows.setdefault((camera, object_id), TrackRow(camera, object_id))
        row.classes[int(label.class_id[index])] += 1
        if matched_track and row.matched_track and matched_track != row.matched_track:
            row.switches.append(number)
        row.matched_track = matched_track or row.matched_track
        last = row.intervals[-1] if row.intervals else None
        if last is not None and last.last == before and last.matched_track == matched_track:
            last.last = number
        elif last is None or last.last < number:
            row.intervals.append(Interval(number, number, matched_track))
