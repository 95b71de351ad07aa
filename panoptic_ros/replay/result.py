"""Writes the results of a replay, in process or live: result.mcap, overlay.mp4, depth.mp4 and summary.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from panoptic_ros.atomic_write import write_atomically
from panoptic_ros.bags.recording import BrokenFrame, Recording
from panoptic_ros.bags.types import bag_typestore
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.messages import (
    EMBEDDINGS,
    IMAGE,
    SEGMENTS,
    depth_image_message,
    embeddings_message,
    panoptic_image_message,
    read_depth,
    read_segments,
    read_semantics,
    segments_message,
)
from panoptic_ros.replay.accounting import ReplayAccount
from panoptic_ros.viewing.depth import draw_depth
from panoptic_ros.viewing.video import VideoWriter

DEPTH_TOPIC, SEMANTIC_TOPIC = "depth/image", "semantic/image"
# The topics of a frame's results below `/` or `/<camera>/`, as the node has them, with their types. Bags of results
# have all but the semantic image, which evaluations alone ask for.
RESULT_TOPICS = {"panoptic/image": IMAGE, "panoptic/segments": SEGMENTS, "panoptic/embeddings": EMBEDDINGS,
                 DEPTH_TOPIC: IMAGE, SEMANTIC_TOPIC: IMAGE}
_FILES = ("result.mcap", "summary.json", "overlay*.mp4", "depth*.mp4")


def result_topics(with_depth: bool, with_semantics: bool = False) -> dict[str, str]:
    """Those of RESULT_TOPICS that frames have; with_depth: where the model predicts depth; with_semantics: where it
    was asked for the likeliest class of every pixel."""
    absent = {topic for topic, there in ((DEPTH_TOPIC, with_depth), (SEMANTIC_TOPIC, with_semantics)) if not there}
    return {topic: kind for topic, kind in RESULT_TOPICS.items() if topic not in absent}


def check_output(out: Path, overwrite: bool, patterns: Sequence[str] = _FILES) -> None:
    """Make the folder, and make sure before any work is done that results can be written to it.

    patterns: of the names of the files that will be written. Raises InputError when there are such files already and
    they are not to be overwritten, or may not be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        there = _earlier_results(out, patterns)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(f"results cannot be written to {out}: {error.strerror}") from error
    if there and not overwrite:
        raise InputError(f"{out} has results already ({', '.join(file.name for file in there)}): choose another folder "
                         "with --out, or allow --overwrite")


def received_frame(image: CameraImage, cdr: Mapping[str, bytes], classes: ClassTable) -> PanopticFrame:
    """What a node published for an image (each of `result_topics` -> serialized message) as a frame."""
    received = {topic: bag_typestore().deserialize_cdr(message, RESULT_TOPICS[topic]) for topic, message in cdr.items()}
    depth, semantics = (received.pop(topic, None) for topic in (DEPTH_TOPIC, SEMANTIC_TOPIC))
    segment_map, segments = read_segments(*(received[topic] for topic in result_topics(with_depth=False)))
    return PanopticFrame(image, segment_map, segments, classes, None if depth is None else read_depth(depth),
                         semantics=None if semantics is None else read_semantics(semantics))


class ResultWriter:
    """The `ReplaySink` that writes a replay's files; earlier ones are replaced, ask `check_output` before.

    Raises InputError where one cannot be written, as on a full disk; files that are not complete are taken away then.
    """

    def __init__(self, out: Path, recording: Recording, classes: ClassTable, model_id: str,
                 with_overlay: bool = True) -> None:
        self._out, self._recording, self._classes, self._model_id = out, recording, classes, model_id
        self._with_overlay = with_overlay
        for file in _earlier_results(out, _FILES):
            file.unlink()
        self._bag = BagWriter(out / "result.mcap", compress=True)
        self._videos: dict[str, VideoWriter] = {}
        self._account = ReplayAccount(recording)
        self._time_ns = 0
        self._has_failed = False

    def add(self, frame: PanopticFrame, latency_ms: Mapping[str, float]) -> None:
        """Write the results of a frame; latency_ms: milliseconds per stage, `end_to_end` among them."""
        types = self._bag.types
        messages = [panoptic_image_message(frame, types), segments_message(frame, self._model_id, types),
                    embeddings_message(frame, self._model_id, types)]
        if frame.depth is not None:
            messages.append(depth_image_message(frame, types))
        time_ns = self._next_time(frame.image)
        with self._all_or_none():
            for topic, message in zip(result_topics(frame.depth is not None), messages, strict=True):
                self._bag.write(self._topic(frame.image.camera, topic), message, time_ns)
            self._finish_frame(frame, latency_ms)

    def add_received(self, image: CameraImage, cdr: Mapping[str, bytes], latency_ms: Mapping[str, float]) -> None:
        """Write what a node published for an image: each of `result_topics` -> serialized message, byte for byte."""
        time_ns = self._next_time(image)
        with self._all_or_none():
            for topic, message_type in result_topics(DEPTH_TOPIC in cdr).items():
                self._bag.write_serialized(self._topic(image.camera, topic), message_type, cdr[topic], time_ns)
            self._finish_frame(received_frame(image, cdr, self._classes), latency_ms)

    def drop(self, broken: BrokenFrame) -> None:
        """Count frames that have no result, and say why."""
        self._account.drop(broken)

    def finish(self, seconds: float, facts: Mapping[str, Any], interrupted: bool = False) -> dict[str, Any]:
        """Complete the files and return the summary, which is not written where the files could not be."""
        with self._all_or_none():
            self._bag.close()
            for video in self._videos.values():
                video.close()
        summary = {
            **self._account.summary(seconds, self._model_id, facts, interrupted),
            "files": sorted({"summary.json"} | {file.name for file in self._out.iterdir()
                                                if file.suffix in (".mcap", ".mp4")}),
        }
        if not self._has_failed:
            write_atomically(self._out / "summary.json", json.dumps(summary, indent=2) + "\n")
        return summary

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        try:
            yield
        except InputError:
            self._has_failed = True
            self._bag.discard()
            for video in self._videos.values():
                video.discard()
            raise

    def _finish_frame(self, frame: PanopticFrame, latency_ms: Mapping[str, float]) -> None:
        self._account.add(frame, latency_ms)
        if self._with_overlay:
            self._video("overlay", frame.image.camera).write(frame.overlay_bgr())
            if frame.depth is not None:
                self._video("depth", frame.image.camera).write(draw_depth(frame.depth))

    def _video(self, kind: str, camera: str) -> VideoWriter:
        name = f"{kind}.mp4" if len(self._recording.streams) == 1 else f"{kind}_{camera}.mp4"
        if name not in self._videos:
            rate = next(stream.frame_rate for stream in self._recording.streams if stream.camera == camera)
            self._videos[name] = VideoWriter(self._out / name, rate)
        return self._videos[name]

    def _topic(self, camera: str, topic: str) -> str:
        return f"/{topic}" if len(self._recording.streams) == 1 else f"/{camera}/{topic}"

    def _next_time(self, image: CameraImage) -> int:
        # Readers sort by the time of recording: it must not go back where stamps do, or are missing.
        self._time_ns = max(self._time_ns, image.stamp_ns or 0)
        return self._time_ns


def _earlier_results(out: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted(file for pattern in patterns for file in out.glob(pattern))
