"""The results of a replay, played to a `WebView`: overlay video, segments of the result bag, latency of the summary."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import cv2
from rosbags.highlevel import AnyReader

from panoptic_ros.bags.read_video import open_video
from panoptic_ros.bags.types import bag_typestore
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import SEGMENTS, stamp_in_ns
from panoptic_ros.viewing.web_view import WebView, segments_fact

JPEG_QUALITY = 85
_TOPIC = "/panoptic/segments"
_LONGEST_PAUSE = 1.0  # seconds between two images


class Playback:
    """A folder that `panoptic-ros replay` wrote. Raises InputError where it has no result or no video."""

    def __init__(self, folder: Path) -> None:
        self._bag, summary = folder / "result.mcap", folder / "summary.json"
        if not self._bag.is_file():
            raise InputError(f"{folder} has no result.mcap: give the folder that `panoptic-ros replay` wrote")
        self._videos = {file.stem.removeprefix("overlay").removeprefix("_"): file
                        for file in sorted(folder.glob("overlay*.mp4"))}
        if not self._videos:
            raise InputError(f"{folder} has no overlay.mp4: replay without --no-overlay")
        latency = json.loads(summary.read_text()).get("latency_ms", {}) if summary.is_file() else {}
        self._latency_ms = {stage: percentiles["p50"] for stage, percentiles in latency.items()}

    def run(self, view: WebView, stop: Event, rate: float = 1.0) -> None:
        """Show the images at the speed of their stamps times `rate`, again and again, until `stop` is set."""
        while not stop.is_set():
            before = None
            for camera, picture, segments in self._frames():
                stamp_ns = stamp_in_ns(segments.header)
                step = 0.0 if before is None else min(max(stamp_ns - before, 0) * 1e-9, _LONGEST_PAUSE)
                before = stamp_ns
                if stop.wait(step / rate):
                    return
                view.show(camera, picture, **segments_fact(segments), latency_ms=self._latency_ms,
                          latency_of="median of all images")
            if before is None:
                raise InputError(f"{self._bag} has no results")
            stop.wait(_LONGEST_PAUSE)

    def _frames(self) -> Iterator[tuple[str, bytes, Any]]:
        """Camera, overlay as JPEG and segments of each image; the n-th image of a video belongs to the n-th message."""
        pictures = {camera: (item for item in open_video(file).frames() if isinstance(item, CameraImage))
                    for camera, file in self._videos.items()}
        with AnyReader([self._bag]) as reader:
            connections = [row for row in reader.connections if row.msgtype == SEGMENTS and row.topic.endswith(_TOPIC)]
            for connection, _, cdr in reader.messages(connections):
                camera = connection.topic.removesuffix(_TOPIC).lstrip("/")
                if camera not in pictures or (picture := next(pictures[camera], None)) is None:
                    continue  # a video that was cut
                _, jpeg = cv2.imencode(".jpg", picture.rgb()[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
                yield camera, jpeg.tobytes(), bag_typestore().deserialize_cdr(cdr, connection.msgtype)
