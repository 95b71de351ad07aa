"""The tracker of one camera: a state machine that turns segments into objects with an identity."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from panoptic_ros.association.affinity import Cues, assign, log_affinity, place_of_boxes
from panoptic_ros.association.settings import TrackerSettings
from panoptic_ros.association.tracks import Tracks
from panoptic_ros.frame import PanopticFrame

# More tracks than this are not remembered, those unseen for longest go first. It bounds time and memory where
# `max_lost` does not: a camera whose clock stands still.
MAX_TRACKS = 1000


class Tracker:
    """Gives thing segments their track ids; the same frames give the same ids.

    ids: where new ids come from, ascending from 1 and never twice; trackers that share it have no id in common.
    """

    def __init__(self, ids: Iterator[int] | None = None) -> None:
        self._ids = ids or itertools.count(1)
        self._tracks = Tracks.none(0)
        self._stamp_ns = 0
        self.born = 0

    def __len__(self) -> int:
        """How many tracks are remembered at this moment, seen or not."""
        return len(self._tracks)

    def reset(self) -> None:
        """Forget all tracks; ids that were given out are not given out again."""
        self._tracks = Tracks.none(0)

    def update(self, frame: PanopticFrame, settings: TrackerSettings) -> tuple[np.ndarray, np.ndarray]:
        """The track of each of the frame's N segments.

        Returns track_id (N,) int32, 0 for stuff and for what is not confirmed as an object yet, and track_age (N,)
        int32, frames since the track got its id, 1 in that frame. A frame older than the last one starts anew.
        """
        stamp_ns = frame.image.stamp_ns
        if stamp_ns < self._stamp_ns:
            self.reset()
        interval = (stamp_ns - self._stamp_ns) * 1e-9
        self._stamp_ns = stamp_ns
        things = np.flatnonzero(frame.segments.is_thing)
        segments = _cues(frame, things)
        if not len(things):  # whatever its embeddings are, nothing in this frame contradicts the tracks
            segments = replace(segments, embedding=self._tracks.embedding[:0])
        tracks = self._tracks_to_match(segments, settings)

        log_phi = log_affinity(tracks.predicted(stamp_ns), segments, tracks.elapsed(stamp_ns), interval, settings)
        track_rows, segment_rows = assign(log_phi, settings.min_affinity)
        seen = tracks.select(track_rows).seen(_rows(segments, segment_rows), stamp_ns, settings)
        fresh_rows = np.setdiff1d(np.arange(len(things)), segment_rows)
        present = seen.joined(Tracks.born(_rows(segments, fresh_rows), stamp_ns))
        present_rows = things[np.concatenate([segment_rows, fresh_rows])]
        present = self._confirmed(present, frame.segments.score[present_rows], settings)

        lost = np.ones(len(tracks), bool)
        lost[track_rows] = False
        lost &= tracks.track_id > 0  # what was not confirmed is given up when it is not seen
        absent = tracks.select(lost)
        present, absent = (replace(part, age=part.age + (part.track_id > 0)) for part in (present, absent))
        self._tracks = present.joined(absent)
        if len(self._tracks) > MAX_TRACKS:
            latest = np.argsort(-self._tracks.last_seen_ns, kind="stable")
            self._tracks = self._tracks.select(latest[:MAX_TRACKS])

        track_id, track_age = np.zeros((2, len(frame.segments)), np.int32)
        track_id[present_rows], track_age[present_rows] = present.track_id, present.age
        return track_id, track_age

    def _tracks_to_match(self, segments: Cues, settings: TrackerSettings) -> Tracks:
        """The tracks that are not lost for too long, in an embedding space that fits the segments'."""
        dimension = 0 if segments.embedding is None else segments.embedding.shape[1]
        if dimension != self._tracks.embedding.shape[1]:
            return Tracks.none(dimension)  # another model: what it says cannot be compared
        return self._tracks.select(self._tracks.elapsed(self._stamp_ns) <= settings.max_lost)

    def _confirmed(self, tracks: Tracks, score: np.ndarray, settings: TrackerSettings) -> Tracks:
        """The tracks with ids for those that have earned one."""
        earned = (tracks.track_id == 0) & ((score >= settings.birth_score) | (tracks.hits >= settings.confirm_hits))
        track_id = tracks.track_id.copy()
        track_id[earned] = list(itertools.islice(self._ids, int(earned.sum())))
        self.born += int(earned.sum())
        return replace(tracks, track_id=track_id)


def _cues(frame: PanopticFrame, rows: np.ndarray) -> Cues:
    segments = frame.segments
    return Cues(segments.class_id[rows], place_of_boxes(segments.box[rows], frame.image.height),
                None if segments.embedding is None else segments.embedding[rows])


def _rows(cues: Cues, rows: np.ndarray) -> Cues:
    return Cues(cues.class_id[rows], cues.place[rows], None if cues.embedding is None else cues.embedding[rows])
