"""The trackers that are compared: ours with all cues or one, mask overlap, and two of the PyPI package `trackers`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking import Tracker, TrackerSettings

# The frames of a sequence -> the track of each of their segments, 0 = none.
Follow = Callable[[Sequence[PanopticFrame]], list[np.ndarray]]
MASK_IOU = 0.1  # of two masks that are stitched, at least


def all_trackers() -> dict[str, Follow]:
    """Name -> tracker. Raises InputError where `trackers` is not installed."""
    # Position says nothing where any speed and size will do.
    anywhere = TrackerSettings(sigma_position=1.0, sigma_extent=2.0, sigma_speed=5.0, sigma_climb=5.0, sigma_size=5.0,
                               sigma_overlap=2.0, velocity_weight=0.0, follow_camera=False)
    return {"ours": lambda frames: follow(frames, TrackerSettings()),
            "embedding alone": lambda frames: follow(frames, anywhere),
            "motion alone": lambda frames: follow([without_embedding(f) for f in frames], TrackerSettings()),
            "mask IoU": stitch_masks, **_published_trackers()}


def follow(frames: Sequence[PanopticFrame], settings: TrackerSettings) -> list[np.ndarray]:
    """Our tracker."""
    tracker = Tracker()
    return [tracker.update(frame, settings)[0] for frame in frames]


def without_embedding(frame: PanopticFrame) -> PanopticFrame:
    return replace(frame, segments=replace(frame.segments, embedding=None))


def stitch_masks(frames: Sequence[PanopticFrame]) -> list[np.ndarray]:
    """Things of one class in two consecutive images are one object where their masks overlap most."""
    ids = itertools.count(1)
    numbers: list[np.ndarray] = []
    last: PanopticFrame | None = None
    for frame in frames:
        segments = frame.segments
        track = np.zeros(len(segments), np.int64)
        if last is not None:
            shared = overlap(last.segment_map, frame.segment_map, len(last.segments), len(segments))
            union = shared.sum(1)[1:, None] + shared.sum(0)[None, 1:] - shared[1:, 1:]
            iou = shared[1:, 1:] / np.maximum(union, 1)
            iou[(last.segments.class_id[:, None] != segments.class_id) | ~segments.is_thing] = 0
            rows, columns = linear_sum_assignment(iou, maximize=True)
            real = iou[rows, columns] > MASK_IOU
            track[columns[real]] = numbers[-1][rows[real]]
        fresh = (track == 0) & segments.is_thing
        track[fresh] = list(itertools.islice(ids, int(fresh.sum())))
        numbers.append(track)
        last = frame
    return numbers


def _published_trackers() -> dict[str, Follow]:
    """ByteTrack and OC-SORT at the frames' own times, remembering a lost track for as long as ours does."""
    try:
        import supervision  # type: ignore[import-not-found]
        from trackers import ByteTrackTracker, OCSORTTracker  # type: ignore[import-not-found]
    except ImportError as error:
        # Installed with what it asks for, opencv-python would overwrite the OpenCV that is there.
        raise InputError("ByteTrack and OC-SORT are not installed: pip install --no-deps trackers supervision "
                         "pydeprecate defusedxml requests urllib3 idna certifi charset-normalizer") from error
    memory = round(30 * TrackerSettings().max_lost)

    def run(kind: Any, frames: Sequence[PanopticFrame]) -> list[np.ndarray]:
        times = (np.array([frame.image.stamp_ns for frame in frames]) * 1e-9).tolist()
        interval = (times[-1] - times[0]) / max(len(frames) - 1, 1)
        tracker = kind(lost_track_buffer=memory, frame_rate=1 / interval, minimum_consecutive_frames=1)
        result = []
        for frame, time in zip(frames, times, strict=True):
            things = np.flatnonzero(frame.segments.is_thing)
            found = tracker.update(supervision.Detections(
                xyxy=frame.segments.box[things].astype(float), confidence=frame.segments.score[things],
                data={"row": things}), timestamp=time)
            track = np.zeros(len(frame.segments), np.int64)
            if len(things):
                track[found.data["row"].astype(int)] = np.maximum(found.tracker_id + 1, 0)
            result.append(track)
        return result

    return {"ByteTrack": lambda frames: run(ByteTrackTracker, frames),
            "OC-SORT": lambda frames: run(OCSORTTracker, frames)}
