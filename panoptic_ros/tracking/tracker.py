"""Multi-object tracker of one camera: predict, compensate camera motion, match, update, confirm, delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking.affinity import (
    Cues,
    box_areas,
    box_states,
    is_possible_motion,
    log_gate_area,
    position_log_affinity,
    visible_box_states,
    yaw_invariant_log_affinity,
)
from panoptic_ros.tracking.appearance import BINS, AppearanceStatistics
from panoptic_ros.tracking.camera_motion import estimate_camera_shift, scene_velocity
from panoptic_ros.tracking.masks import Masks, mask_intersections, merges_and_splits
from panoptic_ros.tracking.matching import assign, assign_in_stages, unmatched
from panoptic_ros.tracking.settings import TrackerSettings
from panoptic_ros.tracking.tracks import Tracks

# More tracks than this are not remembered, those unseen for longest go first. It bounds time and memory where
# `max_lost` does not: a camera whose clock hardly moves.
MAX_TRACKS = 1000
# A track that was missed for no longer than this, seconds, may still be matched with a low-score segment: a network may
# well miss what is there in some of the images of so short a time.
SHORT_GAP = 0.35
# The stamp of the last frame where there is none: earlier than all others.
_NEVER_NS = int(np.iinfo(np.int64).min)
# Names that arrays of a state had before 0.1.0.
_RENAMED_ARRAYS = {"place": "box_state", "mask_place": "mask_box_state", "mask_owner": "mask_track_row"}


class TrackIdAllocator:
    """Gives out track ids, ascending from 1, none of them twice; trackers that share one have no id in common."""

    def __init__(self, allocated: int = 0) -> None:
        """allocated: how many have been given out before."""
        self.allocated = allocated

    def allocate(self, count: int) -> np.ndarray:
        """So many new ids, (count,) int32."""
        self.allocated += count
        return np.arange(self.allocated - count + 1, self.allocated + 1, dtype=np.int32)


@dataclass(frozen=True)
class OtherCameras:
    """Tracks that are in sight of other cameras, and the appearance statistics of those."""

    tracks: Tracks
    statistics: AppearanceStatistics


class Tracker:
    """Gives thing segments their track ids; the same frames give the same ids."""

    def __init__(self, track_ids: TrackIdAllocator | None = None) -> None:
        self._track_ids = track_ids or TrackIdAllocator()
        self._tracks = Tracks.none(0)
        self._masks = Masks.none()
        self._statistics = AppearanceStatistics.none(0)
        self._stamp_ns = _NEVER_NS

    @property
    def statistics(self) -> AppearanceStatistics:
        """Of the embeddings of all things so far."""
        return self._statistics

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
        self._statistics = AppearanceStatistics.none(0)

    def can_follow(self, frame: PanopticFrame) -> bool:
        """Whether it is known how much time has passed: the frame has a stamp, and not that of the last one.

        A clock that stands still says no more than none. Without a time lost tracks would never end, and motion would
        mean nothing.
        """
        return frame.image.stamp_ns not in (None, self._stamp_ns)

    def update(self, frame: PanopticFrame, settings: TrackerSettings,
               other_cameras: OtherCameras | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Track id and track age of each of the frame's N segments.

        other_cameras: for re-identification: a new object of like appearance gets their track's id.
        Returns track_id (N,) int32, 0 for stuff and for tracks that are not confirmed yet, and track_age (N,) int32,
        frames since the track got its id, 1 in that frame. A frame older than the last one starts anew; one that it
        cannot follow has no tracks and changes nothing.
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
        self._statistics = self._statistics_with(segments)
        looks = replace(segments, embedding=self._centred(segments))
        aspect_ratio = frame.image.width / frame.image.height
        whole_box_state = expected.box_state
        expected = replace(expected, embedding=self._centred(expected),
                           box_state=visible_box_states(whole_box_state, aspect_ratio))
        log_phi = yaw_invariant_log_affinity(expected, looks, elapsed, np.maximum(elapsed - interval, 0), settings)
        camera_shift = 0.0
        if settings.camera_motion_compensation:
            shift = np.subtract.outer(-expected.box_state[in_sight, 0], -segments.box_state[:, 0])
            camera_shift = estimate_camera_shift(log_phi[in_sight], shift, settings.sigma_position)
            expected.box_state[:, 0] += camera_shift
            whole_box_state[:, 0] += camera_shift
        overlaps = mask_intersections(self._masks, whole_box_state, frame.segment_map, things)
        log_gate = log_gate_area(expected.box_state, elapsed, interval, settings)
        iou = overlaps.iou(expected.box_state, segments.box_state)
        log_phi += position_log_affinity(expected, segments, elapsed, iou, log_gate, settings)
        high_score = frame.segments.score[things] >= settings.high_score_threshold
        track_rows, segment_rows = assign_in_stages(log_phi, settings.min_affinity, log_gate, high_score,
                                                    in_sight | (elapsed <= SHORT_GAP))
        again, found = self._reidentified(tracks, expected, looks, elapsed, high_score, track_rows, segment_rows,
                                          settings)
        track_rows, segment_rows = np.append(track_rows, again), np.append(segment_rows, found)
        merged, split, part = merges_and_splits(overlaps, track_rows, segment_rows)

        matched = tracks.select(track_rows).updated(
            segments.select(segment_rows), now, settings, (merged | split)[segment_rows],
            _distances(expected, looks, track_rows, segment_rows))
        fresh_rows = unmatched(np.ones(len(things), bool), segment_rows)
        moving = matched.hits > 1
        velocity = None if settings.velocity_ema_weight == 0 else scene_velocity(
            matched.box_state[moving], matched.velocity[moving], segments.box_state[fresh_rows],
            (aspect_ratio / 2, 0.5))
        fresh = Tracks.born(segments.select(fresh_rows), now, part[fresh_rows], velocity)
        present, rows = matched.joined(fresh), np.concatenate([segment_rows, fresh_rows])
        earned = (high_score[rows] & ~present.is_part) | (present.hits >= settings.min_hits)
        present = self._confirmed(present, earned, other_cameras, settings)

        lost = tracks.track_id > 0  # a track that is not confirmed is deleted when it is missed
        lost[track_rows] = False
        absent = tracks.select(lost).shifted(camera_shift)
        absent = absent.select(np.argsort(-absent.last_seen_ns, kind="stable")[:MAX_TRACKS])
        present, absent = (replace(some, age=some.age + (some.track_id > 0)) for some in (present, absent))
        self._tracks = present.joined(absent)
        self._masks = Masks.of(frame.segment_map, things[rows], present.box_state)

        track_id, track_age = np.zeros((2, len(frame.segments)), np.int32)
        track_id[things[rows]], track_age[things[rows]] = present.track_id, present.age
        return track_id, track_age

    def _tracks_to_match(self, segments: Cues, settings: TrackerSettings) -> Tracks:
        """The tracks that were lost for no longer than `max_lost`, in an embedding space that fits the segments'."""
        dimension = 0 if segments.embedding is None else segments.embedding.shape[1]
        if dimension != self._tracks.embedding.shape[1]:
            # Another model: what it says cannot be compared.
            self._tracks, self._masks = Tracks.none(0), Masks.none()
            return Tracks.none(dimension).with_classes(segments.class_share.shape[1])
        kept = self._tracks.elapsed(self._stamp_ns) <= settings.max_lost
        if not kept[:len(self._masks.box_state)].all():  # they were all seen last in one frame
            self._masks = Masks.none()
        return self._tracks.select(kept).with_classes(segments.class_share.shape[1])

    def _statistics_with(self, segments: Cues) -> AppearanceStatistics:
        """The appearance statistics after these segments too; begun anew where their embeddings are of another kind."""
        if segments.embedding is None or not len(segments):
            return self._statistics
        dimension = segments.embedding.shape[1]
        is_same_kind = self._statistics.mean.shape[1] == dimension
        known = self._statistics if is_same_kind else AppearanceStatistics.none(dimension)
        return known.updated(segments.embedding, segments.class_share)

    def _centred(self, cues: Cues) -> np.ndarray | None:
        return None if cues.embedding is None or not len(cues) else self._statistics.centred(
            cues.embedding, cues.class_share)

    def _reidentified(self, tracks: Tracks, expected: Cues, segments: Cues, elapsed: np.ndarray, high_score: np.ndarray,
                      track_rows: np.ndarray, segment_rows: np.ndarray,
                      settings: TrackerSettings) -> tuple[np.ndarray, np.ndarray]:
        """Re-identification: lost tracks and new segments, of those that found no match, that look the same.

        Pairs are of one class, no further apart in appearance than `reid_false_match_rate` of the pairs of different
        objects are, and not where motion makes it impossible. Returns their rows.
        """
        nobody = np.zeros(0, np.int64)
        if expected.embedding is None or segments.embedding is None or not settings.reid_false_match_rate:
            return nobody, nobody
        lost = unmatched((tracks.track_id > 0) & (elapsed > SHORT_GAP), track_rows)
        fresh = unmatched(high_score, segment_rows)
        if not len(lost) or not len(fresh):
            return nobody, nobody
        before, now, elapsed = expected.select(lost), segments.select(fresh), elapsed[lost]
        closeness = self._statistics.false_match_distance(settings.reid_false_match_rate) - (
            1 - before.embedding @ now.embedding.T)  # type: ignore[union-attr]
        same_class = before.class_share.argmax(1)[:, None] == now.class_share.argmax(1)
        area = np.minimum.outer(box_areas(before.box_state), box_areas(now.box_state))
        closeness[~same_class | ~is_possible_motion(before, now, elapsed, settings)
                  | (area < settings.embedding_noise_size**2)] = -1
        rows, columns = assign(closeness, 1.0, np.zeros(len(lost)))
        return lost[rows], fresh[columns]

    def _confirmed(self, tracks: Tracks, earned: np.ndarray, other_cameras: OtherCameras | None,
                   settings: TrackerSettings) -> Tracks:
        """The tracks with ids for those that have earned one, re-identified in other cameras or new."""
        earned = np.flatnonzero(earned & (tracks.track_id == 0))
        track_id = tracks.track_id.copy()
        if other_cameras is not None:
            statistics = self._statistics.merged(other_cameras.statistics)
            candidates = other_cameras.tracks.select(~np.isin(other_cameras.tracks.track_id, self._tracks.track_id))
            if statistics.is_reliable:
                same, rows = candidates.centred(statistics).match_appearance(
                    tracks.select(earned).centred(statistics), settings.cross_camera_reid_distance)
                track_id[earned[rows]] = candidates.track_id[same]
                earned = np.delete(earned, rows)
        track_id[earned] = self._track_ids.allocate(len(earned))
        return replace(tracks, track_id=track_id)

    def state(self) -> dict[str, np.ndarray]:
        """All that the next ids depend on, as arrays with names."""
        return {"stamp_ns": np.array(self._stamp_ns), **vars(self._tracks),
                **{f"mask_{name}": np.array(value) for name, value in vars(self._masks).items()},
                **{f"appearance_{name}": value for name, value in vars(self._statistics).items()}}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a state. Raises KeyError where an array is missing, ValueError where one has another shape."""
        state = {_RENAMED_ARRAYS.get(name, name): value for name, value in state.items()}
        tracks = Tracks(*(state[column.name] for column in fields(Tracks)))
        box_state, x, y, track_row, per_height = (state[f"mask_{column.name}"] for column in fields(Masks))
        empty = Tracks.none(0)
        for column in fields(Tracks):
            expected, found = getattr(empty, column.name), getattr(tracks, column.name)
            if found.ndim != expected.ndim or found.dtype != expected.dtype or found.shape[:1] != tracks.track_id.shape:
                raise ValueError(f"{column.name} is {found.dtype} {found.shape}")
        if box_state.shape[1:] != (4,) or len(box_state) > len(tracks) or not x.shape == y.shape == track_row.shape \
                or not ((track_row >= 0) & (track_row < len(box_state))).all():
            raise ValueError("the masks are not those of the tracks")
        masks = Masks(box_state, x, y, track_row, float(per_height))
        # An earlier state has no statistics.
        statistics = AppearanceStatistics.none(tracks.embedding.shape[1])
        if "appearance_mean" in state:
            statistics = AppearanceStatistics(*(state[f"appearance_{column.name}"]
                                                for column in fields(AppearanceStatistics)))
            if statistics.mean.ndim != 2 or statistics.count.shape != statistics.mean.shape[:1] \
                    or statistics.distances.shape != (BINS,):
                raise ValueError("the appearance statistics do not belong together")
        self._tracks, self._masks, self._stamp_ns = tracks, masks, int(state["stamp_ns"])
        self._statistics = statistics


def _distances(tracks: Cues, segments: Cues, rows: np.ndarray, columns: np.ndarray) -> np.ndarray | None:
    """Cosine distances (K,) of the embeddings of K tracks and segments, these rows and columns; None without them."""
    if tracks.embedding is None or segments.embedding is None:
        return None
    distances: np.ndarray = 1 - (tracks.embedding[rows] * segments.embedding[columns]).sum(1)
    return distances


def _cues(frame: PanopticFrame, rows: np.ndarray, tracks: Tracks) -> Cues:
    segments = frame.segments
    embedding = None if segments.embedding is None else segments.embedding[rows]
    if not len(rows):  # whatever its embeddings are, nothing in this frame contradicts the tracks
        embedding = tracks.embedding[:0]
    class_id = segments.class_id[rows]
    classes = max(tracks.class_share.shape[1], int(class_id.max(initial=0)) + 1)
    return Cues(np.eye(classes, dtype=np.float32)[class_id], box_states(segments.box[rows], frame.image.height),
                embedding)
