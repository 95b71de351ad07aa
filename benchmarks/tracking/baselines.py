"""Baselines: our tracker with all cues or one, mask IoU, and those of the PyPI package `trackers`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from panoptic_ros.evaluation.overlap import mask_iou, overlap
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking import Tracker, TrackerSettings

# A tracker: the frames of a sequence -> the track id of each of their segments, 0 = none.
TrackFunction = Callable[[Sequence[PanopticFrame]], list[np.ndarray]]
MIN_MASK_IOU = 0.1  # of two masks that are matched


def all_trackers() -> dict[str, TrackFunction]:
    """Name -> tracker; without those of `trackers`, which says how to install it, where it is not."""
    # Position says nothing where any velocity and size will do.
    embedding_only = TrackerSettings(sigma_position=1.0, sigma_position_relative=2.0, sigma_velocity_x=5.0,
                                     sigma_velocity_y=5.0, sigma_size=5.0, sigma_iou=2.0, velocity_ema_weight=0.0,
                                     camera_motion_compensation=False)
    return {"ours": lambda frames: track_panoptic_ros(frames, TrackerSettings()),
            "embedding only": lambda frames: track_panoptic_ros(frames, embedding_only),
            "motion only": lambda frames: track_panoptic_ros([without_embedding(f) for f in frames], TrackerSettings()),
            "mask IoU": match_mask_iou, **_published_baselines()}


def track_panoptic_ros(frames: Sequence[PanopticFrame], settings: TrackerSettings) -> list[np.ndarray]:
    """Track ids of our tracker."""
    tracker = Tracker()
    return [tracker.update(frame, settings)[0] for frame in frames]


def without_embedding(frame: PanopticFrame) -> PanopticFrame:
    return replace(frame, segments=replace(frame.segments, embedding=None))


def match_mask_iou(frames: Sequence[PanopticFrame]) -> list[np.ndarray]:
    """Hungarian matching by mask IoU of things of one class in two consecutive images."""
    ids = itertools.count(1)
    numbers: list[np.ndarray] = []
    last: PanopticFrame | None = None
    for frame in frames:
        segments = frame.segments
        track = np.zeros(len(segments), np.int64)
        if last is not None:
            iou = mask_iou(overlap(last.segment_map, frame.segment_map, len(last.segments), len(segments)))
            iou[(last.segments.class_id[:, None] != segments.class_id) | ~segments.is_thing] = 0
            rows, columns = linear_sum_assignment(iou, maximize=True)
            real = iou[rows, columns] > MIN_MASK_IOU
            track[columns[real]] = numbers[-1][rows[real]]
        fresh = (track == 0) & segments.is_thing
        track[fresh] = list(itertools.islice(ids, int(fresh.sum())))
        numbers.append(track)
        last = frame
    return numbers


def _published_baselines() -> dict[str, TrackFunction]:
    """ByteTrack, OC-SORT, BoT-SORT and McByte at the frames' own times, with a lost-track buffer as long as ours.

    BoT-SORT runs without its camera-motion compensation, for which it needs the pixels; McByte without the masks that a
    video object segmentation network would carry on for it, whose weights are not in the package.
    """
    try:
        import supervision  # type: ignore[import-not-found]
        from trackers import (  # type: ignore[import-not-found]
            BoTSORTTracker,
            ByteTrackTracker,
            McByteTracker,
            OCSORTTracker,
        )
    except ImportError:
        # Installed with what it asks for, opencv-python would overwrite the OpenCV that is there.
        print("left out: ByteTrack, OC-SORT, BoT-SORT and McByte, which are not installed; pip install --no-deps "
              "trackers supervision pydeprecate defusedxml requests urllib3 idna certifi charset-normalizer")
        return {}
    without_pixels = (BoTSORTTracker, McByteTracker)
    memory = round(30 * TrackerSettings().max_lost)

    def run(kind: Any, frames: Sequence[PanopticFrame]) -> list[np.ndarray]:
        times = (np.array([frame.image.stamp_ns for frame in frames]) * 1e-9).tolist()
        interval = (times[-1] - times[0]) / max(len(frames) - 1, 1)
        options = {"enable_cmc": False} if kind in without_pixels else {}
        tracker = kind(lost_track_buffer=memory, frame_rate=1 / interval, minimum_consecutive_frames=1, **options)
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

    kinds = {"ByteTrack": ByteTrackTracker, "OC-SORT": OCSORTTracker, "BoT-SORT": BoTSORTTracker,
             "McByte": McByteTracker}
    return {name: partial(run, kind) for name, kind in kinds.items()}
