"""A recording through the real node: nothing is lost, nothing is mixed up, and everything is accounted for."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.types import bag_types, bag_typestore
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.messages import (
    camera_image_message,
    depth_image_message,
    embeddings_message,
    panoptic_image_message,
    segments_message,
)
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception
from panoptic_ros.replay.result import ResultWriter, received_frame
from panoptic_ros.ros import live_replay
from panoptic_ros.ros.live_replay import replay_live
from panoptic_ros.segments import Segments

FRAMES = 12


@pytest.fixture
def depth_frame() -> PanopticFrame:
    """2 x 3 pixels: a road and a car with track 7, with depth."""
    segments = Segments(np.array([0, 13], np.int32), np.array([False, True]), np.array([0.5, 0.75], np.float32),
                        np.array([4, 2], np.int32), np.array([[0, 0, 3, 2], [1, 0, 2, 2]], np.int32),
                        np.array([[1, 0], [0.6, 0.8]], np.float32), np.array([0, 7], np.int32),
                        np.array([0, 3], np.int32))
    image = CameraImage(np.zeros((2, 3, 3), np.uint8), "bgr8", 1_700_000_000_123_456_789, "camera")
    return PanopticFrame(image, np.array([[1, 2, 1], [1, 2, 1]], np.uint16), segments, load_class_table("cityscapes"),
                         np.arange(6, dtype=np.float32).reshape(2, 3))


@pytest.fixture
def recording(tmp_path: Path) -> Any:
    """Twelve images of blocks at ten per second, of odd stamps, the fifth of them damaged."""
    folder = tmp_path / "drive"
    folder.mkdir()
    for k in range(FRAMES):
        blocks = np.random.default_rng(k // 4).integers(0, 255, (8, 16, 3), np.uint8)
        cv2.imwrite(str(folder / f"{k:03d}.png"), blocks.repeat(16, axis=0).repeat(16, axis=1))
    (folder / "004.png").write_bytes(b"no image")
    (folder / "timestamps.txt").write_text("".join(f"{1_700_000_000_123_456_789 + 100_000_001 * k}\n"
                                                   for k in range(FRAMES)))
    return open_recording(folder)


def replay(recording: Any, out: Path, model: Path, rate: float) -> dict[str, Any]:
    out.mkdir()
    loaded = load_model(model)
    return replay_live(recording, ResultWriter(out, recording, loaded.classes, loaded.model_id), Event(),
                       model=str(model), engine="torch", device="auto", precision="auto", rate=rate)


def test_at_a_low_rate_no_image_is_lost_and_headers_come_back_bit_for_bit(recording: Any, tmp_path: Path,
                                                                         model_folder: Path) -> None:
    # Images go to the node best effort: how low a rate is low enough depends on what else the machine does.
    for rate in (0.5, 0.2, 0.05):
        out = tmp_path / f"at {rate}"
        summary = replay(recording, out, model_folder, rate)
        if summary["frames_out"] == FRAMES - 1:
            break
    assert (summary["frames_in"], summary["frames_out"]) == (FRAMES, FRAMES - 1)
    assert sum(summary["dropped"].values()) == 1
    assert (out / "overlay.mp4").is_file()
    assert {"wait", "preprocess", "network", "decode", "track", "publish", "end_to_end"} <= set(
        summary["latency_ms"])
    assert summary["fps"] < 1.15 * 10 * rate  # no faster than they were asked for
    wanted = [1_700_000_000_123_456_789 + 100_000_001 * k for k in range(FRAMES) if k != 4]
    with AnyReader([out / "result.mcap"], default_typestore=bag_typestore()) as reader:
        stamps: dict[str, list[int]] = {}
        for connection, _, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            stamp = message.header.stamp
            stamps.setdefault(connection.topic, []).append(stamp.sec * 1_000_000_000 + stamp.nanosec)
    assert stamps == dict.fromkeys(("/panoptic/image", "/panoptic/segments", "/panoptic/embeddings"), wanted)


def test_at_a_high_rate_images_are_dropped_and_the_sums_agree(recording: Any, tmp_path: Path,
                                                              model_folder: Path) -> None:
    summary = replay(recording, tmp_path / "out", model_folder, rate=1000)
    assert summary["frames_in"] == FRAMES
    assert summary["frames_out"] + sum(summary["dropped"].values()) == FRAMES
    assert 1 <= summary["frames_out"] < FRAMES - 1
    assert summary["dropped"].get("not finished by the node", 0) == 0


def test_a_node_that_cannot_be_configured_is_reported_and_ended(recording: Any, tmp_path: Path,
                                                                model_folder: Path) -> None:
    (tmp_path / "out").mkdir()
    loaded = load_model(model_folder)
    result = ResultWriter(tmp_path / "out", recording, loaded.classes, loaded.model_id)
    with pytest.raises(InputError, match="refused to configure"):
        replay_live(recording, result, Event(), model=str(tmp_path / "nowhere"), engine="torch", device="auto",
                    precision="auto", rate=1)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["frames_out"] == 0


def test_where_results_cannot_be_kept_until_the_end_it_is_told_where_to_make_room(
        recording: Any, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullFile(BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(live_replay, "TemporaryFile", FullFile)
    with pytest.raises(InputError, match="cannot be kept in .*: No space left on device; .* TMPDIR"):
        replay(recording, tmp_path / "out", model_folder, rate=1)


def test_a_stopped_replay_completes_its_files(recording: Any, tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "out").mkdir()
    loaded = load_model(model_folder)
    result = ResultWriter(tmp_path / "out", recording, loaded.classes, loaded.model_id)
    stop = Event()
    stop.set()
    summary = replay_live(recording, result, stop, model=str(model_folder), engine="torch", device="auto",
                    precision="auto", rate=1)
    assert summary["interrupted"]
    assert (tmp_path / "out" / "result.mcap").is_file()


def test_images_whose_time_is_not_known_are_sent_at_the_recordings_rate(
        recording: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_replay, "perf_counter", lambda: 100.0)
    schedule = live_replay._Schedule(recording, rate=0.5)
    stamps = [None, None, 10**9, None, 2 * 10**9, 2 * 10**9 + 3 * 10**8]
    pixels = np.zeros((4, 4, 3), np.uint8)
    due = [schedule.seconds_until(CameraImage(pixels, stamp_ns=stamp)) for stamp in stamps]
    # 10 images per second at half the speed; the last has a stamp 0.3 s after that of the one before.
    assert due == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.4])


@pytest.mark.parametrize("frame_id", ["", "cam", "front_optical", "ü", "x" * 30])
def test_what_tells_images_of_one_header_apart_is_taken_back_byte_for_byte(
        frame_id: str, depth_frame: PanopticFrame) -> None:
    store, types = bag_typestore(), bag_types()
    for make in (panoptic_image_message, lambda *of: segments_message(of[0], "model", of[1]),
                 lambda *of: embeddings_message(of[0], "model", of[1]), depth_image_message):
        frames = [replace(depth_frame, image=replace(depth_frame.image, frame_id=name))
                  for name in (frame_id, f"{frame_id}\x1f00000ab")]
        plain, tagged = (bytes(store.serialize_cdr(message, message.__msgtype__))
                         for message in (make(frame, types) for frame in frames))
        assert plain != tagged
        assert live_replay._without_tag(tagged, frames[1].image.frame_id) == plain
        assert live_replay._without_tag(plain, frame_id) == plain


def test_of_images_without_stamps_each_gets_its_own_result_where_others_are_dropped(
        tmp_path: Path, model_folder: Path, write_bag: Any) -> None:
    rng = np.random.default_rng(0)
    images = [CameraImage(rng.integers(0, 255, (4, 8, 3), np.uint8).repeat(16, axis=0).repeat(16, axis=1), "bgr8", 0,
                          "cam", "optical") for _ in range(FRAMES)]
    bag = write_bag(tmp_path / "drive", [("/cam/image", camera_image_message(image, bag_types())) for image in images])
    recording, classes = open_recording(bag), load_model(model_folder).classes
    frames: list[PanopticFrame] = []

    class Sink(ResultWriter):
        def add_received(self, image: CameraImage, cdr: Any, latency_ms: Any) -> None:
            frames.append(received_frame(image, cdr, classes))

    (tmp_path / "out").mkdir()
    replay_live(recording, Sink(tmp_path / "out", recording, classes, "tiny"), Event(), model=str(model_folder),
                engine="torch", device="cpu", precision="single", rate=4)
    assert frames
    perception = Perception(load_model(model_folder), "torch", "cpu", "single")
    for frame in frames:
        assert np.mean(frame.segment_map == perception(frame.image).segment_map) > 0.9
