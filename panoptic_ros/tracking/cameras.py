"""Multi-camera tracking: one tracker per camera, track ids that are unique over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking.settings import TrackerSettings
from panoptic_ros.tracking.temporal_smoothing import smooth
from panoptic_ros.tracking.tracker import OtherCameras, Tracker, TrackIdAllocator

# Cross-camera re-identification: images of two cameras that are taken within this time show one moment.
SIMULTANEOUS_NS = 250_000_000
# Names of a state's arrays begin with this and the camera's name.
_CAMERA = "camera:"


@dataclass
class _Camera:
    tracker: Tracker
    # The last frame before and after temporal smoothing, where that is on.
    last_input: PanopticFrame | None = field(default=None)
    last_output: PanopticFrame | None = field(default=None)


class CameraTrackers:
    """Tracks the things of any number of cameras; the same frames in the same order give the same result."""

    def __init__(self) -> None:
        self._track_ids = TrackIdAllocator()
        self._cameras: dict[str, _Camera] = {}

    def update(self, frame: PanopticFrame, settings: TrackerSettings) -> PanopticFrame:
        """The frame with its segments' track ids, and temporally smoothed where the settings say so.

        A frame without a stamp, or with that of the camera's last one, has no tracks and changes nothing.
        """
        name, now = frame.image.camera, frame.image.stamp_ns
        camera = self._cameras.setdefault(name, _Camera(Tracker(self._track_ids)))
        if now is None or not camera.tracker.can_follow(frame):
            return frame.with_tracks(*np.zeros((2, len(frame)), np.int32))
        other_cameras = None
        if settings.cross_camera_reid_distance > 0:
            other_cameras = self._in_sight_of_others(name, now)
        last_ns = None if camera.last_output is None else camera.last_output.image.stamp_ns
        if last_ns is not None and now < last_ns:
            camera.last_output = camera.last_input = None
        frame = frame.with_tracks(*camera.tracker.update(frame, settings, other_cameras))
        if not settings.temporal_smoothing:
            camera.last_output = camera.last_input = None
            return frame
        camera.last_output = smooth(frame, camera.tracker.tracks, camera.last_output, camera.last_input)
        camera.last_input = frame
        return camera.last_output

    def reset(self, camera: str | None = None) -> None:
        """Forget the tracks of one camera, or of all; ids that were given out are not given out again."""
        for name, one in self._cameras.items():
            if camera in (None, name):
                one.tracker.reset()
                one.last_output = one.last_input = None

    @property
    def born(self) -> int:
        """How many objects there have been so far."""
        return self._track_ids.allocated

    def state(self) -> dict[str, np.ndarray]:
        """All that the next ids depend on, as arrays with names, fit for np.savez."""
        result = {"allocated": np.array(self._track_ids.allocated)}
        for name, camera in self._cameras.items():
            result.update({f"{_CAMERA}{name}:{key}": value for key, value in camera.tracker.state().items()})
        return result

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a state, also an earlier version's; ids that were given out before it are not given out again.

        Raises InputError where it is no such state; then nothing has changed.
        """
        trackers: dict[str, dict[str, np.ndarray]] = {}
        for key, value in state.items():
            if key.startswith(_CAMERA):
                name, _, part = key.removeprefix(_CAMERA).rpartition(":")
                trackers.setdefault(name, {})[part] = value
        try:
            allocated = state["given"] if "given" in state else state["allocated"]  # "given" before 0.1.0
            track_ids = TrackIdAllocator(max(int(allocated), self._track_ids.allocated))
            cameras = {name: _Camera(Tracker(track_ids)) for name in trackers}
            for name, camera in cameras.items():
                camera.tracker.restore(trackers[name])
        except (KeyError, TypeError, ValueError) as error:
            problem = f"has no {error}" if isinstance(error, KeyError) else f"does not fit: {error}"
            raise InputError(f"the tracks cannot be restored: their state {problem}; it was saved by another version, "
                             "or is not one of tracks") from error
        self._track_ids, self._cameras = track_ids, cameras

    def _in_sight_of_others(self, name: str, stamp_ns: int) -> OtherCameras | None:
        """Candidates for re-identification: confirmed tracks that other cameras see now; None where there are none.

        An object that several cameras see is there once.
        """
        found: OtherCameras | None = None
        for other, camera in self._cameras.items():
            tracks, statistics = camera.tracker.tracks, camera.tracker.statistics
            tracks = tracks.select((tracks.track_id > 0) & (abs(tracks.last_seen_ns - stamp_ns) <= SIMULTANEOUS_NS))
            if other == name or not len(tracks):
                continue
            if found is None:
                found = OtherCameras(tracks, statistics)
            elif found.tracks.embedding.shape[1] == tracks.embedding.shape[1]:
                classes = max(found.tracks.class_share.shape[1], tracks.class_share.shape[1])
                tracks = tracks.select(~np.isin(tracks.track_id, found.tracks.track_id))
                found = OtherCameras(found.tracks.with_classes(classes).joined(tracks.with_classes(classes)),
                                     found.statistics.merged(statistics))
        return found
