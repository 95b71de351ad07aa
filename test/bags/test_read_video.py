"""Videos are read to their end, and an end that comes early is reported."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.recording import BrokenFrame
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """30 frames of noise at 20 frames/s."""
    path = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(30):
        writer.write(rng.integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    return path


def test_each_frame_comes_at_its_time(video: Path) -> None:
    recording = open_recording(video)
    (stream,) = recording.streams
    assert (recording.kind, recording.frame_count, stream.frame_rate) == ("video", 30, pytest.approx(20))
    items = list(recording.frames())
    assert [item.stamp_ns for item in items if isinstance(item, CameraImage)] == [k * 50_000_000 for k in range(30)]
    assert isinstance(items[0], CameraImage)
    assert (items[0].pixels.shape, items[0].encoding) == ((48, 64, 3), "bgr8")


def test_a_video_that_ends_early_gives_what_it_has_and_counts_the_rest(video: Path) -> None:
    content = video.read_bytes()
    video.write_bytes(content[:len(content) // 2])
    *images, last = open_recording(video).frames()
    assert 10 <= len(images) <= 15
    assert isinstance(last, BrokenFrame)
    assert (last.reason, last.frames) == ("video ends early", 30 - len(images))


def test_a_video_has_no_topics_to_choose(video: Path) -> None:
    with pytest.raises(InputError, match="is a video: it has no topics"):
        open_recording(video, ["/image"])
