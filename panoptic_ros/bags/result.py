"""What a replay leaves behind, in process and live alike: result.mcap, overlay.mp4 and summary.json."""

from __future__ import annotations

import json
import sys
from array import array
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from tqdm import tqdm

from panoptic_ros import __version__
from panoptic_ros.bags.recording import BrokenFrame, Recording
from panoptic_ros.bags.types import bag_typestore
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.frame import CameraImage, PanopticFrame
from panoptic_ros.messages import (
    EMBEDDINGS,
    IMAGE,
    SEGMENTS,
    embeddings_message,
    panoptic_image_message,
    read_segments,
    segments_message,
)
from panoptic_ros.viewing.overlay import draw_overlay
from panoptic_ros.viewing.video import VideoWriter

# The topics of a frame's results below `/` or `/<camera>/`, as the node has them, with their types.
RESULT_TOPICS = {"panoptic/image": IMAGE, "panoptic/segments": SEGMENTS, "panoptic/embeddings": EMBEDDINGS}
# Of problems of one kind, so many are told in words; all are counted.
_TOLD = 5


def check_output(out: Path, overwrite: bool) -> None:
    """Make the folder, and make sure before any work is done that results can be written to it.

    Raises InputError when it holds results already and they are not to be overwritten, or may not be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        there = _earlier_results(out)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(f"results cannot be written to {out}: {error.strerror}") from error
    if there and not overwrite:
        raise InputError(f"{out} has results already ({', '.join(file.name for file in there)}): choose another folder "
                         "with --out, or allow --overwrite")


class ResultWriter:
    """Takes the results of a replay frame by frame and writes its files.

    Every frame of the recording is given either to `add` (or `add_received`) or to `drop`; `finish` completes the
    files, after an interruption as well. Earlier results in the folder are replaced; ask `check_output` before.
    """

    def __init__(self, out: Path, recording: Recording, classes: ClassTable, model_id: str,
                 with_overlay: bool = True) -> None:
        self._out, self._recording, self._classes, self._model_id = out, recording, classes, model_id
        self._with_overlay = with_overlay
        for file in _earlier_results(out):
            file.unlink()
        self._bag = BagWriter(out / "result.mcap", compress=True)
        self._overlays: dict[str, VideoWriter] = {}
        self._cameras = {stream.camera: _CameraResults() for stream in recording.streams}
        self._latency_ms: dict[str, array[float]] = {}
        self._segments = 0
        self._time_ns = 0
        self._dropped: Counter[str] = Counter()
        self._warnings: Counter[str] = Counter()
        self._problems: list[str] = []

    def add(self, frame: PanopticFrame, latency_ms: Mapping[str, float]) -> None:
        """Write the results of a frame; latency_ms: milliseconds per stage, `end_to_end` among them."""
        messages = (panoptic_image_message(frame, self._bag.types),
                    segments_message(frame, self._classes, self._model_id, self._bag.types),
                    embeddings_message(frame, self._model_id, self._bag.types))
        time_ns = self._next_time(frame.image.stamp_ns)
        for topic, message in zip(RESULT_TOPICS, messages, strict=True):
            self._bag.write(self._topic(frame.image.camera, topic), message, time_ns)
        self._account(frame, latency_ms)

    def add_received(self, image: CameraImage, cdr: Mapping[str, bytes], latency_ms: Mapping[str, float]) -> None:
        """Write what a node published for an image: topic of RESULT_TOPICS -> serialized message, byte for byte."""
        time_ns = self._next_time(image.stamp_ns)
        for topic, message_type in RESULT_TOPICS.items():
            self._bag.write_serialized(self._topic(image.camera, topic), message_type, cdr[topic], time_ns)
        received = [bag_typestore().deserialize_cdr(cdr[topic], kind) for topic, kind in RESULT_TOPICS.items()]
        self._account(PanopticFrame(image, *read_segments(*received)), latency_ms)

    def drop(self, broken: BrokenFrame) -> None:
        """Count frames that have no result, and say why."""
        self._dropped[broken.reason] += broken.frames
        self._warnings[broken.reason] += broken.frames == 0
        self._tell(broken.reason, f"{broken.camera or self._recording.path}: {broken.detail}")

    def finish(self, seconds: float, facts: Mapping[str, Any], interrupted: bool = False) -> dict[str, Any]:
        """Complete the files and return the summary.

        seconds: the time that `fps` refers to.
        facts: what the caller knows besides: mode, engine, device, precision.
        """
        self._bag.close()
        for video in self._overlays.values():
            video.close()
        frames_out = sum(camera.frames for camera in self._cameras.values())
        summary = {
            "panoptic_ros": __version__, "input": str(self._recording.path), "input_kind": self._recording.kind,
            "model": self._model_id, **facts,
            "frames_in": frames_out + sum(self._dropped.values()), "frames_out": frames_out,
            "dropped": {reason: count for reason, count in sorted(self._dropped.items()) if count},
            "fps": round(frames_out / seconds, 2) if seconds > 0 else 0.0,
            "latency_ms": {stage: _percentiles(values) for stage, values in self._latency_ms.items()},
            "tracks": sum(len(camera.tracks) for camera in self._cameras.values()),
            "segments_per_frame": round(self._segments / max(1, frames_out), 2),
            "cameras": {stream.camera: {"source": stream.topic, **self._cameras[stream.camera].summary()}
                        for stream in self._recording.streams},
            "warnings": {text: count for text, count in sorted(self._warnings.items()) if count},
            "notices": list(self._recording.notices), "problems": self._problems, "interrupted": interrupted,
            "files": sorted({"summary.json"} | {file.name for file in self._out.iterdir()
                                                if file.suffix in (".mcap", ".mp4")}),
        }
        (self._out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        return summary

    def _account(self, frame: PanopticFrame, latency_ms: Mapping[str, float]) -> None:
        for warning in self._cameras[frame.image.camera].account(frame):
            self._warnings[warning] += 1
            self._tell(warning, f"{frame.image.camera} at {frame.image.stamp_ns} ns: {warning}")
        self._segments += len(frame.segments)
        for stage, value in latency_ms.items():
            self._latency_ms.setdefault(stage, array("d")).append(value)
        if self._with_overlay:
            self._overlay(frame.image.camera).write(draw_overlay(frame, self._classes))

    def _overlay(self, camera: str) -> VideoWriter:
        if camera not in self._overlays:
            rate = next(stream.frame_rate for stream in self._recording.streams if stream.camera == camera)
            name = "overlay.mp4" if len(self._cameras) == 1 else f"overlay_{camera}.mp4"
            self._overlays[camera] = VideoWriter(self._out / name, rate)
        return self._overlays[camera]

    def _topic(self, camera: str, topic: str) -> str:
        return f"/{topic}" if len(self._cameras) == 1 else f"/{camera}/{topic}"

    def _next_time(self, stamp_ns: int) -> int:
        # Readers sort by the time of recording: it must not go back where stamps do.
        self._time_ns = max(self._time_ns, stamp_ns)
        return self._time_ns

    def _tell(self, reason: str, text: str) -> None:
        told = sum(problem.startswith(f"{reason}: ") for problem in self._problems)
        if told < _TOLD:
            self._problems.append(f"{reason}: {text}")
            tqdm.write(f"{reason}: {text}" + (" (more of these are only counted)" if told == _TOLD - 1 else ""),
                       file=sys.stderr)


def _earlier_results(out: Path) -> list[Path]:
    return [file for file in sorted(out.iterdir()) if file.name in ("result.mcap", "summary.json")
            or (file.name.startswith("overlay") and file.suffix == ".mp4")]


class _CameraResults:
    """What has come out for one camera so far."""

    def __init__(self) -> None:
        self.frames = 0
        self.tracks: set[int] = set()
        self._size: tuple[int, int] | None = None
        self._stamp_ns: int | None = None

    def account(self, frame: PanopticFrame) -> list[str]:
        """Count a frame; returns what is odd about it in comparison with the one before."""
        image, warnings = frame.image, []
        size = (image.height, image.width)
        if self._size not in (None, size):
            warnings.append("image size changed")
        if self._stamp_ns is not None and image.stamp_ns <= self._stamp_ns:
            warnings.append("stamp repeated" if image.stamp_ns == self._stamp_ns else "stamp went back")
        self._size, self._stamp_ns = size, image.stamp_ns
        self.frames += 1
        self.tracks.update(frame.segments.track_id[frame.segments.track_id > 0].tolist())
        return warnings

    def summary(self) -> dict[str, Any]:
        """Frames, tracks and the size of the last image (height, width)."""
        return {"frames_out": self.frames, "tracks": len(self.tracks), "size": self._size}


def _percentiles(values: array[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(np.frombuffer(values), (50, 95, 99)).tolist()
    return {"p50": round(p50, 3), "p95": round(p95, 3), "p99": round(p99, 3)}
