"""ReplaySink, what a replay gives its results to; ReplayAccount: frames in and out, drops, latencies, tracks."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from tqdm import tqdm

from panoptic_ros import __version__
from panoptic_ros.bags.recording import BrokenFrame, Recording
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.latency import latency_percentiles

# Of problems of one kind, so many are told in words; all are counted.
_TOLD = 5


class ReplaySink(Protocol):
    """Takes the results of a replay frame by frame, in the order of the recording.

    Every frame of the recording is given either to `add` (or `add_received`) or to `drop`; `finish` comes last, after
    an interruption as well, and returns the summary.
    """

    def add(self, frame: PanopticFrame, latency_ms: Mapping[str, float]) -> None:
        """A frame; latency_ms: milliseconds per stage, `end_to_end` among them."""

    def add_received(self, image: CameraImage, cdr: Mapping[str, bytes], latency_ms: Mapping[str, float]) -> None:
        """What a node published for an image: each of `replay.result.result_topics` -> serialized message."""

    def drop(self, broken: BrokenFrame) -> None:
        """Frames that have no result, and why."""

    def finish(self, seconds: float, facts: Mapping[str, Any], interrupted: bool = False) -> dict[str, Any]:
        """seconds: the time that `fps` refers to; facts: what the caller knows: mode, engine, device, precision."""


class ReplayAccount:
    """Counts what comes out of a replay; problems are told on stderr as they come."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._cameras = {stream.camera: _CameraAccount() for stream in recording.streams}
        self._latency_ms: dict[str, array[float]] = {}
        self._segments = 0
        self._dropped: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()
        self._problems: list[str] = []

    def add(self, frame: PanopticFrame, latency_ms: Mapping[str, float]) -> None:
        """Count a frame and its milliseconds per stage."""
        for warning in self._cameras[frame.image.camera].add(frame):
            self._warnings[warning] += 1
            self._tell(warning, f"{frame.image.camera} {frame.image.moment}: {warning}")
        self._segments += len(frame.segments)
        for stage, value in latency_ms.items():
            self._latency_ms.setdefault(stage, array("d")).append(value)

    def drop(self, broken: BrokenFrame) -> None:
        """Count frames that have no result, and say why."""
        self._dropped[broken.reason] += broken.frames
        self._warnings[broken.reason] += broken.frames == 0
        self._tell(broken.reason, f"{broken.camera or self._recording.path}: {broken.detail}")

    def summary(self, seconds: float, model_id: str, facts: Mapping[str, Any], interrupted: bool) -> dict[str, Any]:
        """All of it, ready for JSON; the arguments are those of `ReplaySink.finish`."""
        frames_out = sum(camera.frames for camera in self._cameras.values())
        return {
            "panoptic_ros": __version__, "input": str(self._recording.path), "input_kind": self._recording.kind,
            "model": model_id, **facts,
            "frames_in": frames_out + sum(self._dropped.values()), "frames_out": frames_out,
            "dropped": {reason: count for reason, count in sorted(self._dropped.items()) if count},
            "fps": round(frames_out / seconds, 2) if seconds > 0 else 0.0,
            "latency_ms": {stage: latency_percentiles(values) for stage, values in self._latency_ms.items()},
            "tracks": sum(len(camera.tracks) for camera in self._cameras.values()),
            "segments_per_frame": round(self._segments / max(1, frames_out), 2),
            "cameras": {stream.camera: {"source": stream.topic, **self._cameras[stream.camera].summary()}
                        for stream in self._recording.streams},
            "warnings": {text: count for text, count in sorted(self._warnings.items()) if count},
            "notices": list(self._recording.notices), "problems": self._problems, "interrupted": interrupted,
        }

    def _tell(self, reason: str, text: str) -> None:
        told = sum(problem.startswith(f"{reason}: ") for problem in self._problems)
        if told < _TOLD:
            self._problems.append(f"{reason}: {text}")
            tqdm.write(f"{reason}: {text}" + (" (more of these are only counted)" if told == _TOLD - 1 else ""),
                       file=sys.stderr)


class _CameraAccount:
    """What has come out for one camera so far."""

    def __init__(self) -> None:
        self.frames = 0
        self.tracks: set[int] = set()
        self._size: tuple[int, int] | None = None
        self._stamp_ns: int | None = None

    def add(self, frame: PanopticFrame) -> list[str]:
        """Count a frame; returns what is odd about it in comparison with the one before."""
        image, warnings = frame.image, []
        size = (image.height, image.width)
        if self._size not in (None, size):
            warnings.append("image size changed")
        if image.stamp_ns is None:
            warnings.append("no stamp, not followed")
        elif self._stamp_ns is not None and image.stamp_ns <= self._stamp_ns:
            warnings.append("stamp repeated, not followed" if image.stamp_ns == self._stamp_ns else "stamp went back")
        self._size = size
        if image.stamp_ns is not None:
            self._stamp_ns = image.stamp_ns
        self.frames += 1
        self.tracks.update(frame.segments.track_id[frame.segments.track_id > 0].tolist())
        return warnings

    def summary(self) -> dict[str, Any]:
        """Frames, tracks and the size of the last image (height, width)."""
        return {"frames_out": self.frames, "tracks": len(self.tracks), "size": self._size}
