"""The trackers of all cameras: tracks are kept per camera, ids are common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking.settings import TrackerSettings
from panoptic_ros.tracking.temporal_smoothing import stabilise
from panoptic_ros.tracking.tracker import Identities, Tracker
from panoptic_ros.tracking.tracks import Tracks

# Images of two cameras that are taken within this time show one moment.
SIMULTANEOUS_NS = 250_000_000
# Names of a state's arrays begin with this and the camera's name.
_CAMERA = "camera:"


@dataclass
class _Camera:
    tracker: Tracker
    # The last frame and what was made of it, where it is stabilised.
    before: PanopticFrame | None = field(default=None)
    last: PanopticFrame | None = field(default=None)


class CameraTrackers:
    """Follows the objects of any number of cameras; the same frames in the same order give the same result."""

    def __init__(self) -> None:
        self._identities = Identities()
        self._cameras: dict[str, _Camera] = {}

    def update(self, frame: PanopticFrame, settings: TrackerSettings) -> PanopticFrame:
        """The frame with the tracks of its segments, and stabilised where the settings say so.

        A frame without a stamp, or with that of the camera's last one, has no tracks and changes nothing.
        """
        name, now = frame.image.camera, frame.image.stamp_ns
        camera = self._cameras.setdefault(name, _Camera(Tracker(self._identities)))
        if now is None or not camera.tracker.can_follow(frame):
            return frame.with_tracks(*np.zeros((2, len(frame)), np.int32))
        elsewhere = self._in_sight_of_others(name, now) if settings.across_cameras > 0 else None
        last_ns = None if camera.last is None else camera.last.image.stamp_ns
        if last_ns is not None and now < last_ns:
            camera.last = camera.before = None
        frame = frame.with_tracks(*camera.tracker.update(frame, settings, elsewhere))
        if not settings.stabilise:
            camera.last = camera.before = None
            return frame
        camera.last = stabilise(frame, camera.tracker.tracks, camera.last, camera.before)
        camera.before = frame
        return camera.last

    def reset(self, camera: str | None = None) -> None:
        """Forget the tracks of one camera, or of all; ids that were given out are not given out again."""
        for name, one in self._cameras.items():
            if camera in (None, name):
                one.tracker.reset()
                one.last = one.before = None

    @property
    def born(self) -> int:
        """How many objects there have been so far."""
        return self._identities.given

    def state(self) -> dict[str, np.ndarray]:
        """All that the next ids depend on, as arrays with names, fit for np.savez."""
        result = {"given": np.array(self._identities.given)}
        for name, camera in self._cameras.items():
            result.update({f"{_CAMERA}{name}:{key}": value for key, value in camera.tracker.state().items()})
        return result

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a state; ids that were given out before it are not given out again.

        Raises InputError where it is no state of this version; then nothing has changed.
        """
        trackers: dict[str, dict[str, np.ndarray]] = {}
        for key, value in state.items():
            if key.startswith(_CAMERA):
                name, _, part = key.removeprefix(_CAMERA).rpartition(":")
                trackers.setdefault(name, {})[part] = value
        try:
            identities = Identities(max(int(state["given"]), self._identities.given))
            cameras = {name: _Camera(Tracker(identities)) for name in trackers}
            for name, camera in cameras.items():
                camera.tracker.restore(trackers[name])
        except (KeyError, TypeError, ValueError) as error:
            problem = f"has no {error}" if isinstance(error, KeyError) else f"does not fit: {error}"
            raise InputError(f"the tracks cannot be restored: their state {problem}; it was saved by another version, "
                             "or is not one of tracks") from error
        self._identities, self._cameras = identities, cameras

    def _in_sight_of_others(self, name: str, stamp_ns: int) -> Tracks | None:
        """The confirmed tracks that other cameras see at this moment, or None where there are none.

        An object that several cameras see is there once.
        """
        found: Tracks | None = None
        for other, camera in self._cameras.items():
            tracks = camera.tracker.tracks
            tracks = tracks.select((tracks.track_id > 0) & (abs(tracks.last_seen_ns - stamp_ns) <= SIMULTANEOUS_NS))
            if other == name or not len(tracks):
                continue
            if found is None:
                found = tracks
            elif found.embedding.shape[1] == tracks.embedding.shape[1]:
                classes = max(found.class_share.shape[1], tracks.class_share.shape[1])
                tracks = tracks.select(~np.isin(tracks.track_id, found.track_id))
                found = found.knowing(classes).joined(tracks.knowing(classes))
        return found
