"""The tracker of one camera: a state machine that turns segments into objects with an identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np

from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking.affinity import Cues, log_likeness, log_position, log_spread, place_of_boxes
from panoptic_ros.tracking.masks import Masks, merges_and_splits, shared_pixels
from panoptic_ros.tracking.matching import assign_in_stages, camera_turn
from panoptic_ros.tracking.settings import TrackerSettings
from panoptic_ros.tracking.tracks import Tracks

# More tracks than this are not remembered, those unseen for longest go first. It bounds time and memory where
# `max_lost` does not: a camera whose clock hardly moves.
MAX_TRACKS = 1000
# What was missed for this long, seconds, counts as in sight for doubtful segments: a network may well miss what is
# there in some of the images of so short a time.
BLINK = 0.35
# The stamp of the last frame where there is none: earlier than all others.
_NEVER_NS = int(np.iinfo(np.int64).min)


class Identities:
    """Where ids come from: ascending from 1, none of them twice; trackers that share it have no id in common."""

    def __init__(self, given: int = 0) -> None:
        """given: how many have been given out before."""
        self.given = given

    def take(self, count: int) -> np.ndarray:
        """So many new ids, (count,) int32."""
        self.given += count
        return np.arange(self.given - count + 1, self.given + 1, dtype=np.int32)


class Tracker:
    """Gives thing segments their track ids; the same frames give the same ids."""

    def __init__(self, identities: Identities | None = None) -> None:
        self._identities = identities or Identities()
        self._tracks = Tracks.none(0)
        self._masks = Masks.none()
        self._stamp_ns = _NEVER_NS

    @property
    def tracks(self) -> Tracks:
        """All that are remembered, those seen in the last frame first."""
        return self._tracks

    def __len__(self) -> int:
        """How many tracks are remembered at this moment, seen or not."""
        return len(self._tracks)

    def reset(self) -> None:
        """Forget all tracks; ids that were given out are not given out again."""
        self._tracks, self._masks, self._stamp_ns = Tracks.none(0), Masks.none(), _NEVER_NS

    def can_follow(self, frame: PanopticFrame) -> bool:
        """Whether it is known how much time has passed: the frame has a stamp, and not that of the last one.

        A clock that stands still says no more than none. Without a time lost tracks would never end, and motion would
        mean nothing.
        """
        return frame.image.stamp_ns not in (None, self._stamp_ns)

    def update(self, frame: PanopticFrame, settings: TrackerSettings,
               elsewhere: Tracks | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The track of each of the frame's N segments.

        elsewhere: tracks of other cameras that are in sight there; a new object that looks like one of them is it.
        Returns track_id (N,) int32, 0 for stuff and for what is not confirmed as an object yet, and track_age (N,)
        int32, frames since the track got its id, 1 in that frame. A frame older than the last one starts anew; one
        that it cannot follow has no tracks and changes nothing.
        """
        now = frame.image.stamp_ns
        if now is None or not self.can_follow(frame):
            return np.zeros(len(frame), np.int32), np.zeros(len(frame), np.int32)
        if now < self._stamp_ns:
            self.reset()
        interval = (now - self._stamp_ns) * 1e-9
        self._stamp_ns = now
        things = np.flatnonzero(frame.segments.is_thing)
        segments = _cues(frame, things, self._tracks)
        tracks = self._tracks_to_match(segments, settings)
        expected, elapsed = tracks.predicted(now), tracks.elapsed(now)
        in_sight = elapsed <= interval + 1e-6
        log_phi = log_likeness(expected, segments, elapsed, np.maximum(elapsed - interval, 0), settings)
        turn = 0.0
        if settings.follow_camera:
            shift = np.subtract.outer(-expected.place[in_sight, 0], -segments.place[:, 0])
            turn = camera_turn(log_phi[in_sight], shift, settings.sigma_position)
            expected.place[:, 0] += turn
        pixels = shared_pixels(self._masks, expected.place, frame.segment_map, things)
        spread = log_spread(expected.place, elapsed, interval, settings)
        log_phi += log_position(expected, segments, elapsed, pixels.iou(expected.place, segments.place), spread,
                                settings)
        sure = frame.segments.score[things] >= settings.birth_score
        track_rows, segment_rows = assign_in_stages(log_phi, settings.min_affinity, spread, sure,
                                                    in_sight | (elapsed <= BLINK))
        merged, split, part = merges_and_splits(pixels, track_rows, segment_rows)

        seen = tracks.select(track_rows).seen(segments.select(segment_rows), now, settings,
                                              (merged | split)[segment_rows])
        fresh_rows = np.setdiff1d(np.arange(len(things)), segment_rows)
        fresh = Tracks.born(segments.select(fresh_rows), now, part[fresh_rows], _common_velocity(seen, settings))
        present, rows = seen.joined(fresh), np.concatenate([segment_rows, fresh_rows])
        earned = (sure[rows] & ~present.is_part) | (present.hits >= settings.confirm_hits)
        present = self._confirmed(present, earned, elsewhere, settings)

        lost = tracks.track_id > 0  # what was not confirmed is given up when it is not seen
        lost[track_rows] = False
        absent = tracks.select(lost).moved(turn)
        absent = absent.select(np.argsort(-absent.last_seen_ns, kind="stable")[:MAX_TRACKS])
        present, absent = (replace(some, age=some.age + (some.track_id > 0)) for some in (present, absent))
        self._tracks = present.joined(absent)
        self._masks = Masks.of(frame.segment_map, things[rows], present.place)

        track_id, track_age = np.zeros((2, len(frame.segments)), np.int32)
        track_id[things[rows]], track_age[things[rows]] = present.track_id, present.age
        return track_id, track_age

    def _tracks_to_match(self, segments: Cues, settings: TrackerSettings) -> Tracks:
        """The tracks that are not lost for too long, in an embedding space that fits the segments'."""
        dimension = 0 if segments.embedding is None else segments.embedding.shape[1]
        if dimension != self._tracks.embedding.shape[1]:
            # Another model: what it says cannot be compared.
            self._tracks, self._masks = Tracks.none(0), Masks.none()
            return Tracks.none(dimension).knowing(segments.class_share.shape[1])
        kept = self._tracks.elapsed(self._stamp_ns) <= settings.max_lost
        if not kept[:len(self._masks.place)].all():  # they were all seen last in one frame
            self._masks = Masks.none()
        return self._tracks.select(kept).knowing(segments.class_share.shape[1])

    def _confirmed(self, tracks: Tracks, earned: np.ndarray, elsewhere: Tracks | None,
                   settings: TrackerSettings) -> Tracks:
        """The tracks with ids for those that have earned one."""
        earned = np.flatnonzero(earned & (tracks.track_id == 0))
        track_id = tracks.track_id.copy()
        if elsewhere is not None:
            other = elsewhere.select(~np.isin(elsewhere.track_id, self._tracks.track_id))
            same, rows = other.alike(tracks.select(earned), settings.across_cameras)
            track_id[earned[rows]] = other.track_id[same]
            earned = np.delete(earned, rows)
        track_id[earned] = self._identities.take(len(earned))
        return replace(tracks, track_id=track_id)

    def state(self) -> dict[str, np.ndarray]:
        """All that the next ids depend on, as arrays with names."""
        return {"stamp_ns": np.array(self._stamp_ns), **vars(self._tracks),
                **{f"mask_{name}": np.array(value) for name, value in vars(self._masks).items()}}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a state. Raises KeyError where an array is missing, ValueError where one has another shape."""
        tracks = Tracks(*(state[column.name] for column in fields(Tracks)))
        place, x, y, owner, per_height = (state[f"mask_{column.name}"] for column in fields(Masks))
        empty = Tracks.none(0)
        for column in fields(Tracks):
            expected, found = getattr(empty, column.name), getattr(tracks, column.name)
            if found.ndim != expected.ndim or found.dtype != expected.dtype or found.shape[:1] != tracks.track_id.shape:
                raise ValueError(f"{column.name} is {found.dtype} {found.shape}")
        if place.shape[1:] != (4,) or len(place) > len(tracks) or not x.shape == y.shape == owner.shape \
                or not ((owner >= 0) & (owner < len(place))).all():
            raise ValueError("the masks are not those of the tracks")
        masks = Masks(place, x, y, owner, float(per_height))
        self._tracks, self._masks, self._stamp_ns = tracks, masks, int(state["stamp_ns"])


def _cues(frame: PanopticFrame, rows: np.ndarray, tracks: Tracks) -> Cues:
    segments = frame.segments
    embedding = None if segments.embedding is None else segments.embedding[rows]
    if not len(rows):  # whatever its embeddings are, nothing in this frame contradicts the tracks
        embedding = tracks.embedding[:0]
    class_id = segments.class_id[rows]
    classes = max(tracks.class_share.shape[1], int(class_id.max(initial=0)) + 1)
    return Cues(np.eye(classes, dtype=np.float32)[class_id], place_of_boxes(segments.box[rows], frame.image.height),
                embedding)


def _common_velocity(tracks: Tracks, settings: TrackerSettings) -> np.ndarray | None:
    """How most tracks move, (4,): what is new in a scene that passes by passes by as well."""
    known = tracks.velocity[tracks.hits > 1]
    if len(known) < 3 or settings.velocity_weight == 0:
        return None
    common = np.median(known, axis=0)
    common[1:] = 0
    return common
