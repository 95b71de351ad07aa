"""When each track lived and what it followed: the rows of the report's timelines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from panoptic_ros.classes import ClassTable
from panoptic_ros.evaluation.tracked_masks import tracked_masks
from panoptic_ros.evaluation.tubes import CROWD
from panoptic_ros.labels import NO_CLASS, PanopticLabel


@dataclass
class Stay:
    """A time without interruption: numbers of the first and the last frame, and who followed (0 = nobody)."""

    first: int
    last: int
    follower: int = 0


@dataclass
class TrackRow:
    """One object over time.

    classes: how often it was of which class.
    follower: the last track that followed it, of an object of the truth.
    switches: numbers of the frames where another track followed it than before.
    """

    camera: str
    object_id: int
    classes: Counter[int] = field(default_factory=Counter)
    stays: list[Stay] = field(default_factory=list)
    follower: int = 0
    switches: list[int] = field(default_factory=list)

    @property
    def frames(self) -> int:
        return sum(self.classes.values())

    @property
    def class_id(self) -> int:
        return self.classes.most_common(1)[0][0]


class TrackTimeline:
    """Collects the lives of the predicted tracks and, where the truth has tracks, of the truth's objects."""

    def __init__(self, classes: ClassTable) -> None:
        self._is_thing = np.concatenate([classes.thing_mask, [False]])  # the last: NO_CLASS
        self._previous: dict[str, int] = {}
        self._tracks: dict[tuple[str, int], TrackRow] = {}
        self._objects: dict[tuple[str, int], TrackRow] = {}

    def add(self, number: int, camera: str, predicted: PanopticLabel, truth: PanopticLabel | None) -> None:
        """Account for frame `number`; truth: None where its objects have no ids that last."""
        before = self._previous.get(camera, number)
        self._previous[camera] = number
        for row in self._followed(predicted):
            self._see(self._tracks, camera, predicted, row, number, before, 0)
        if truth is None or not (rows := self._followed(truth)):
            return
        masks = tracked_masks(predicted, truth, self._is_thing[:-1], number)
        matched = masks.iou > 0.5  # as ID switches are counted
        ids = zip((masks.truth[masks.truth_row[matched]] & CROWD).tolist(),
                  (masks.predicted[masks.predicted_row[matched]] & CROWD).tolist(), strict=True)
        tracks = set(predicted.object_id.tolist())
        follower = {object_id: track if track in tracks else 0 for object_id, track in ids}  # 0: a thing of no track
        for row in rows:
            self._see(self._objects, camera, truth, row, number, before, follower.get(int(truth.object_id[row]), 0))

    @property
    def tracks(self) -> list[TrackRow]:
        """Of the prediction, the longest first."""
        return sorted(self._tracks.values(), key=lambda row: -row.frames)

    @property
    def objects(self) -> list[TrackRow]:
        """Of the truth, the longest first."""
        return sorted(self._objects.values(), key=lambda row: -row.frames)

    def _followed(self, label: PanopticLabel) -> list[int]:
        is_object = (label.object_id > 0) & (label.class_id != NO_CLASS) & self._is_thing[label.class_id]
        return np.flatnonzero(is_object & ~label.is_crowd).tolist()

    def _see(self, rows: dict[tuple[str, int], TrackRow], camera: str, label: PanopticLabel, index: int, number: int,
             before: int, follower: int) -> None:
        object_id = int(label.object_id[index])
        row = rows.setdefault((camera, object_id), TrackRow(camera, object_id))
        row.classes[int(label.class_id[index])] += 1
        if follower and row.follower and follower != row.follower:
            row.switches.append(number)
        row.follower = follower or row.follower
        last = row.stays[-1] if row.stays else None
        if last is not None and last.last == before and last.follower == follower:
            last.last = number
        elif last is None or last.last < number:
            row.stays.append(Stay(number, number, follower))
