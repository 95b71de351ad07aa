"""Videos are read to their end, and an end that comes early is reported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
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


def grey(k: int) -> np.ndarray:
    return np.full((48, 64, 3), 10 * k % 250, np.uint8)


def write_video(path: Path, times: list[float], codec: str = "libx264", sound: float = 0.0,
                picture: Callable[[int], np.ndarray] = grey, **options: str) -> None:
    """Picture k is shown at times[k], seconds; then seconds of sound."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        noise = container.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=8000) if sound else None
        for k, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(k), format="bgr24")
            frame.pts, frame.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if noise is not None:
            samples = av.AudioFrame.from_ndarray(np.zeros((1, round(8000 * sound)), np.int16), "s16", "mono")
            samples.sample_rate, samples.pts = 8000, 0
            container.mux(noise.encode(samples))
            container.mux(noise.encode(None))


def read(path: Path) -> tuple[list[CameraImage], list[BrokenFrame]]:
    items = list(open_recording(path).frames())
    return ([item for item in items if isinstance(item, CameraImage)],
            [item for item in items if isinstance(item, BrokenFrame)])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_frames_that_are_not_evenly_spaced_have_the_times_of_the_file(tmp_path: Path, name: str) -> None:
    times = [0.0, 0.1, 0.2, 0.3, 0.8, 1.3, 1.4]
    write_video(tmp_path / name, times)
    images, broken = read(tmp_path / name)
    assert [image.stamp_ns for image in images] == [round(1e9 * time) for time in times]
    assert [round(float(image.pixels.mean()) / 10) for image in images] == list(range(7))
    assert not broken


def test_sound_that_is_longer_than_the_pictures_is_no_loss_of_pictures(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", [k / 10 for k in range(10)], sound=3.0)
    images, broken = read(tmp_path / "a.mkv")
    assert (len(images), broken) == (10, [])


def test_av1_is_decoded(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [k / 10 for k in range(5)], "libsvtav1", preset="12", **{"svtav1-params": "lp=1"})
    images, broken = read(tmp_path / "a.mp4")
    assert (len(images), broken) == (5, [])


def test_behind_a_damaged_place_the_video_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, [k / 10 for k in range(30)], g="5", bf="0", tune="zerolatency")
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    start, size = places[12]
    content[start:start + size] = b"\xff" * size
    path.write_bytes(content)
    images, broken = read(path)
    assert [item.frames for item in broken] == [1]
    assert images[-1].stamp_ns == 2_900_000_000
    assert len(images) + len(broken) == 30


@pytest.mark.parametrize(("degrees", "corner"), [(90, (0, 0)), (180, (-1, 0)), (-90, (-1, -1))])
def test_a_video_is_turned_as_players_show_it(tmp_path: Path, degrees: int, corner: tuple[int, int]) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, 32:] = 200  # the upper right quarter
    write_video(tmp_path / "upright.mp4", [0.0, 0.1], picture=lambda k: pixels)
    with av.open(str(tmp_path / "upright.mp4")) as source, av.open(str(tmp_path / "a.mp4"), "w") as target:
        (stream,) = source.streams.video
        copy = target.add_stream_from_template(stream)
        copy.set_display_rotation(degrees)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    images, _ = read(tmp_path / "a.mp4")
    assert images[0].pixels[corner][0] > 150


@pytest.mark.parametrize("name", ["2026-11-14T10:20:30.mp4", "file:a.mp4", "a b#?%41.mp4", b"\xff\xfe.mp4"])
def test_any_name_that_a_file_may_have_is_read(
        tmp_path: Path, name: str | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", [0.0, 0.1])
    path = Path(os.fsdecode(name))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").rename(path)
    assert len(read(path)[0]) == 2


def test_a_file_of_sound_alone_is_said_to_have_no_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no pictures"):
        open_recording(tmp_path / "a.mp4")


def test_without_pyav_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4", [0.0, 0.1])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match="pip install av"):
        open_recording(tmp_path / "a.mp4")
