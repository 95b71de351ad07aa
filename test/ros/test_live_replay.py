"""A recording through the real node: nothing is lost, nothing is mixed up, and everything is accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.types import bag_typestore
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.model import load_model
from panoptic_ros.replay.result import ResultWriter
from panoptic_ros.ros import live_replay
from panoptic_ros.ros.live_replay import replay_live

FRAMES = 12


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
                       model=str(model), engine="auto", device="auto", precision="auto", rate=rate)


def test_at_a_low_rate_no_image_is_lost_and_headers_come_back_bit_for_bit(recording: Any, tmp_path: Path,
                                                                         model_folder: Path) -> None:
    summary = replay(recording, tmp_path / "out", model_folder, rate=0.5)
    assert (summary["frames_in"], summary["frames_out"]) == (FRAMES, FRAMES - 1)
    assert sum(summary["dropped"].values()) == 1
    assert (tmp_path / "out" / "overlay.mp4").is_file()
    assert {"wait", "preprocess", "network", "decode", "track", "publish", "end_to_end"} <= set(
        summary["latency_ms"])
    # 11 images over 1.1 s of drive at half speed.
    assert summary["fps"] == pytest.approx(5, rel=0.15)
    wanted = [1_700_000_000_123_456_789 + 100_000_001 * k for k in range(FRAMES) if k != 4]
    with AnyReader([tmp_path / "out" / "result.mcap"], default_typestore=bag_typestore()) as reader:
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
        replay_live(recording, result, Event(), model=str(tmp_path / "nowhere"), engine="auto", device="auto",
                    precision="auto", rate=1)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["frames_out"] == 0


def test_a_stopped_replay_completes_its_files(recording: Any, tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "out").mkdir()
    loaded = load_model(model_folder)
    result = ResultWriter(tmp_path / "out", recording, loaded.classes, loaded.model_id)
    stop = Event()
    stop.set()
    summary = replay_live(recording, result, stop, model=str(model_folder), engine="auto", device="auto",
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
