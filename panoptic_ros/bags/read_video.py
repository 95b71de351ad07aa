"""A video file as a recording of one camera."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2

from panoptic_ros.bags.recording import BrokenFrame, Recording, Stream
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError

VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv"}
_FALLBACK_FRAME_RATE = 25.0


def open_video(path: Path) -> Recording:
    """A video that OpenCV can decode; frame k has the time k / frame rate, from 0.

    A video that ends before as many frames as its header promises ends with a BrokenFrame that counts the rest.
    Raises InputError when it cannot be opened.
    """
    video = _open(path)
    rate, promised = video.get(cv2.CAP_PROP_FPS), int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    rate_known = math.isfinite(rate) and 0 < rate <= 1000
    frame_rate = rate if rate_known else _FALLBACK_FRAME_RATE
    notices = () if rate_known else (f"the video does not say its frame rate: {frame_rate:g} frames/s assumed",)

    def frames() -> Iterator[CameraImage | BrokenFrame]:
        video, count = _open(path), 0
        try:
            taken, pixels = video.read()
            while taken:
                yield CameraImage(pixels, "bgr8", round(count * 1e9 / frame_rate), "camera", "camera")
                count += 1
                taken, pixels = video.read()
        finally:
            video.release()
        if count < promised:
            yield BrokenFrame("camera", "video ends early", f"{path} promises {promised} frames; {count} could be read",
                              promised - count)

    stream = Stream("camera", str(path), "video", promised if promised > 0 else None, frame_rate)
    return Recording(path, "video", (stream,), frames, notices)


def _open(path: Path) -> cv2.VideoCapture:
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not video.isOpened():
        raise InputError(f"{path} cannot be decoded as a video: it is damaged (an .mp4 that was cut off while it was "
                         "recorded has no index), or of a codec that OpenCV does not have; `ffmpeg -i` tells which")
    return video
