"""A replay in process: what it writes, that it repeats itself, and that nothing broken stops it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
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
from panoptic_ros.cli import main
from panoptic_ros.interruption import stop_on_interrupt
from panoptic_ros.messages import camera_image_message, read_depth, read_segments
from panoptic_ros.viewing.depth import draw_depth

RESULTS = ["overlay.mp4", "result.mcap", "summary.json"]


@pytest.fixture
def replay(model_folder: Path) -> Callable[..., int]:
    def run(source: Path, out: Path, *options: str) -> int:
        return main(["replay", str(source), "--out", str(out), "--model", str(model_folder), "--engine", "torch",
                     "--device", "cpu", *options])

    return run


@pytest.fixture
def picture_bag(write_bag: Callable[..., Path]) -> Callable[..., Path]:
    """A bag of random pictures, one for each stamp in tenths of a second; others than 64 x 128 by their place."""

    def write(path: Path, stamps: list[int], sizes: dict[int, tuple[int, int]] | None = None,
              topics: tuple[str, ...] = ("/front/image",)) -> Path:
        rng, messages = np.random.default_rng(0), []
        for k, stamp in enumerate(stamps):
            for topic in topics:
                small = rng.integers(0, 255, (8, 16, 3), np.uint8)
                pixels = cv2.resize(small, (sizes or {}).get(k, (64, 128))[::-1])
                image = CameraImage(pixels, "rgb8", 10**18 + stamp * 10**8 + k, frame_id="front_optical")
                messages.append((topic, camera_image_message(image, bag_types())))
        return write_bag(path, messages)

    return write


def summary_of(out: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return summary


def results_of(out: Path) -> dict[str, list[Any]]:
    messages: dict[str, list[Any]] = {}
    with AnyReader([out / "result.mcap"]) as reader:
        for connection, _, cdr in reader.messages():
            messages.setdefault(connection.topic, []).append(
                bag_typestore().deserialize_cdr(cdr, connection.msgtype))
    return messages


def test_a_replay_writes_its_three_files_and_they_agree(
        replay: Callable[..., int], picture_bag: Callable[..., Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    bag, out = picture_bag(tmp_path / "bag", [0, 1, 2, 3, 4]), tmp_path / "out"
    assert replay(bag, out) == 0
    assert "5 of 5 frames segmented (dropped: none)" in capsys.readouterr().out
    assert sorted(file.name for file in out.iterdir()) == RESULTS
    summary, results = summary_of(out), results_of(out)
    assert (summary["frames_in"], summary["frames_out"], summary["dropped"]) == (5, 5, {})
    assert (summary["engine"], summary["device"], summary["mode"], summary["files"]) == (
        "torch", "cpu", "in process", RESULTS)
    assert summary["model"].startswith("tiny@")
    assert summary["fps"] > 0
    assert list(summary["latency_ms"]) == ["preprocess", "network", "decode", "track", "end_to_end"]
    end_to_end = summary["latency_ms"]["end_to_end"]
    assert 0 < end_to_end["p50"] <= end_to_end["p95"] <= end_to_end["p99"]
    assert {topic: len(messages) for topic, messages in results.items()} == {
        "/panoptic/image": 5, "/panoptic/segments": 5, "/panoptic/embeddings": 5}
    tracks = {segment.track_id for message in results["/panoptic/segments"] for segment in message.segments} - {0}
    assert summary["tracks"] == len(tracks)
    frames = list(zip(*results.values(), strict=True))
    for image, segments, embeddings in frames:
        segment_map, rows = read_segments(image, segments, embeddings)
        areas = np.bincount(segment_map.reshape(-1), minlength=len(rows) + 1)[1:]
        assert segment_map.shape == (64, 128)
        assert rows.area.tolist() == areas.tolist()
    assert any(len(segments.segments) for _, segments, _ in frames)
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10, rel=0.01)


def test_where_the_model_predicts_depth_it_is_in_the_bag_and_a_video(
        picture_bag: Callable[..., Path], depth_model: Path, predicted_depth: Callable[..., np.ndarray],
        tmp_path: Path) -> None:
    bag, out = picture_bag(tmp_path / "bag", [0, 1, 2]), tmp_path / "out"
    options = ("--model", str(depth_model), "--engine", "torch", "--device", "cpu", "--overwrite")
    assert main(["replay", str(bag), "--out", str(out), *options]) == 0
    assert summary_of(out)["files"] == ["depth.mp4", *RESULTS] == sorted(file.name for file in out.iterdir())
    results = results_of(out)
    assert {topic: len(messages) for topic, messages in results.items()} == dict.fromkeys(
        ("/panoptic/image", "/panoptic/segments", "/panoptic/embeddings", "/depth/image"), 3)
    with AnyReader([bag]) as reader:
        images = [reader.deserialize(cdr, connection.msgtype) for connection, _, cdr in reader.messages()]
    expected = [predicted_depth(image.data.reshape(64, 128, 3), "rgb8") for image in images]
    for depth, image, metres in zip(results["/depth/image"], images, expected, strict=True):
        assert str(depth.header) == str(image.header)
        np.testing.assert_allclose(read_depth(depth), metres, rtol=1e-3)
    video = cv2.VideoCapture(str(out / "depth.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    shown, painted = video.read()[1].astype(int), draw_depth(expected[0]).astype(int)
    assert np.abs(shown - painted).mean() < 20  # the video is compressed
    # What is no longer so is no longer there.
    assert main(["replay", str(bag), "--out", str(out), "--no-overlay", *options]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["result.mcap", "summary.json"]


def test_all_results_of_an_image_carry_its_header(
        replay: Callable[..., int], picture_bag: Callable[..., Path], tmp_path: Path) -> None:
    bag = picture_bag(tmp_path / "bag", [0, 1, 2])
    assert replay(bag, tmp_path / "out", "--no-overlay") == 0
    with AnyReader([bag]) as reader:
        given = [reader.deserialize(cdr, connection.msgtype).header for connection, _, cdr in reader.messages()]
    for messages in results_of(tmp_path / "out").values():
        assert [(message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id)
                for message in messages] == [(h.stamp.sec, h.stamp.nanosec, h.frame_id) for h in given]
    assert not (tmp_path / "out" / "overlay.mp4").exists()


def test_two_replays_give_the_same_bytes(
        replay: Callable[..., int], picture_bag: Callable[..., Path], tmp_path: Path) -> None:
    bag = picture_bag(tmp_path / "bag", list(range(8)))
    for out in ("one", "two"):
        assert replay(bag, tmp_path / out, "--no-overlay") == 0
    first, second = ((tmp_path / out / "result.mcap").read_bytes() for out in ("one", "two"))
    assert first == second


def test_broken_frames_are_counted_and_all_others_segmented(
        replay: Callable[..., int], write_bag: Callable[..., Path], numbered_image: Callable[..., CameraImage],
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messages = [("/image", camera_image_message(numbered_image(k), bag_types())) for k in range(6)]
    messages[1][1].encoding = "xyz"
    messages[3][1].step = 1
    messages[4][1].step = 2
    assert replay(write_bag(tmp_path / "bag", messages), tmp_path / "out") == 0
    summary = summary_of(tmp_path / "out")
    assert (summary["frames_in"], summary["frames_out"]) == (6, 3)
    assert summary["dropped"] == {"step does not match": 2, "unknown encoding": 1}
    assert "xyz" in summary["problems"][0]
    assert "unknown encoding: " in capsys.readouterr().err
    stamps = [message.header.stamp.nanosec for message in results_of(tmp_path / "out")["/panoptic/segments"]]
    assert stamps == [0, 200_000_000, 500_000_000]


def test_odd_stamps_and_sizes_are_told_and_each_frame_keeps_its_place(
        replay: Callable[..., int], picture_bag: Callable[..., Path], tmp_path: Path) -> None:
    bag = picture_bag(tmp_path / "bag", [0, 10, 20, 5, 6], {4: (32, 48)})
    assert replay(bag, tmp_path / "out") == 0
    summary = summary_of(tmp_path / "out")
    assert (summary["frames_out"], summary["warnings"]) == (5, {"image size changed": 1, "stamp went back": 1})
    images = results_of(tmp_path / "out")["/panoptic/image"]
    assert [image.header.stamp.nanosec // 10**8 + 10 * (image.header.stamp.sec % 10) for image in images] == [
        0, 10, 20, 5, 6]
    assert [(image.height, image.width) for image in images][-2:] == [(64, 128), (32, 48)]


def test_repeated_stamps_are_told(
        replay: Callable[..., int], write_bag: Callable[..., Path], numbered_image: Callable[..., CameraImage],
        tmp_path: Path) -> None:
    messages = [("/image", camera_image_message(numbered_image(k), bag_types())) for k in (1, 1, 1, 2)]
    assert replay(write_bag(tmp_path / "bag", messages), tmp_path / "out") == 0
    assert summary_of(tmp_path / "out")["warnings"] == {"stamp repeated, not followed": 2}


def test_images_without_a_stamp_are_told_and_not_followed(
        replay: Callable[..., int], write_bag: Callable[..., Path], numbered_image: Callable[..., CameraImage],
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [replace(numbered_image(k), stamp_ns=0) for k in range(3)]
    bag = write_bag(tmp_path / "bag", [("/image", camera_image_message(image, bag_types())) for image in images])
    assert replay(bag, tmp_path / "out") == 0
    summary, results = summary_of(tmp_path / "out"), results_of(tmp_path / "out")
    assert (summary["frames_out"], summary["tracks"]) == (3, 0)
    assert summary["warnings"] == {"no stamp, not followed": 3}
    assert "no stamp, not followed: camera without a stamp" in capsys.readouterr().err
    things = [s for message in results["/panoptic/segments"] for s in message.segments if s.is_thing]
    assert {s.track_id for s in things} == {0}
    for messages in results.values():
        assert [(m.header.stamp.sec, m.header.stamp.nanosec, m.header.frame_id) for m in messages] == [
            (0, 0, "front_optical")] * 3


def test_several_cameras_have_topics_and_overlays_of_their_own(
        replay: Callable[..., int], picture_bag: Callable[..., Path], tmp_path: Path) -> None:
    topics = ("/left/image_raw", "/right/image_raw")
    bag = picture_bag(tmp_path / "bag", [0, 1, 2], topics=topics)
    assert replay(bag, tmp_path / "out", "--topic", topics[0], "--topic", topics[1]) == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "overlay_left.mp4", "overlay_right.mp4", "result.mcap", "summary.json"]
    summary, results = summary_of(tmp_path / "out"), results_of(tmp_path / "out")
    assert {camera: row["frames_out"] for camera, row in summary["cameras"].items()} == {"left": 3, "right": 3}
    assert len(results["/left/panoptic/image"]) == len(results["/right/panoptic/segments"]) == 3


def test_results_of_cameras_whose_topics_give_one_name_are_kept_apart(
        replay: Callable[..., int], picture_bag: Callable[..., Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    topics = ("/front/left/image", "/front_left/image")
    bag, out = picture_bag(tmp_path / "bag", [0, 1, 2], topics=topics), tmp_path / "out"
    assert replay(bag, out, "--topic", topics[0], "--topic", topics[1]) == 0
    assert "note: the camera of /front_left/image is called front_left_2" in capsys.readouterr().err
    assert sorted(file.name for file in out.glob("*.mp4")) == ["overlay_front_left.mp4", "overlay_front_left_2.mp4"]
    summary, results = summary_of(out), results_of(out)
    tracks = []
    for camera, topic in zip(("front_left", "front_left_2"), topics, strict=True):
        assert (summary["cameras"][camera]["source"], summary["cameras"][camera]["frames_out"]) == (topic, 3)
        tracks.append({segment.track_id for message in results[f"/{camera}/panoptic/segments"]
                       for segment in message.segments} - {0})
    assert all(tracks)
    assert not tracks[0] & tracks[1]


def test_of_a_bag_that_was_cut_off_the_rest_is_replayed(
        replay: Callable[..., int], picture_bag: Callable[..., Path], tmp_path: Path) -> None:
    bag = picture_bag(tmp_path / "bag", list(range(6)))
    content = (bag / "bag.mcap").read_bytes()
    (bag / "bag.mcap").write_bytes(content[:len(content) // 2])
    assert replay(bag, tmp_path / "out") == 0
    summary = summary_of(tmp_path / "out")
    assert 2 <= summary["frames_out"] <= 3
    assert summary["frames_in"] == 6
    assert summary["dropped"] == {"missing from the bag": 6 - summary["frames_out"]}
    assert summary["warnings"] == {"bag damaged": 1}


def test_results_that_are_there_are_kept_unless_told_otherwise(
        replay: Callable[..., int], picture_bag: Callable[..., Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    bag, out = picture_bag(tmp_path / "bag", [0]), tmp_path / "out"
    out.mkdir()
    (out / "result.mcap").write_text("precious")
    assert replay(bag, out) == 2
    assert "allow --overwrite" in capsys.readouterr().err
    assert main(["replay", str(bag), "--out", str(out), "--model", str(tmp_path / "nowhere"), "--overwrite"]) == 2
    assert (out / "result.mcap").read_text() == "precious"
    assert replay(bag, out, "--overwrite") == 0
    assert summary_of(out)["frames_out"] == 1


def test_a_folder_that_cannot_be_written_is_refused_before_the_model_is_loaded(
        picture_bag: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["replay", str(picture_bag(tmp_path / "bag", [0])), "--out", str(tmp_path / "file" / "out"),
                 "--model", str(tmp_path / "nowhere")]) == 2
    assert "results cannot be written to" in capsys.readouterr().err


def test_a_recording_without_one_good_frame_ends_with_status_1(
        replay: Callable[..., int], write_bag: Callable[..., Path], numbered_image: Callable[..., CameraImage],
        tmp_path: Path) -> None:
    message = camera_image_message(numbered_image(0), bag_types())
    message.step = 5
    assert replay(write_bag(tmp_path / "bag", [("/image", message)]), tmp_path / "out") == 1
    assert summary_of(tmp_path / "out")["frames_out"] == 0


@pytest.mark.parametrize(("options", "told"), [
    (("--rate", "2"), "--rate goes with --live"), (("--live", "--rate", "0"), "between 0.001 and 1000"),
    (("--engine", "warp"), "engine 'warp' is not known"), (("--topic", "/no"), "no images on /no")])
def test_options_that_make_no_sense_are_refused(
        replay: Callable[..., int], picture_bag: Callable[..., Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str], options: tuple[str, ...], told: str) -> None:
    assert replay(picture_bag(tmp_path / "bag", [0]), tmp_path / "out", *options) == 2
    assert told in capsys.readouterr().err


def test_a_stop_between_two_frames_leaves_complete_files(
        picture_bag: Callable[..., Path], model_folder: Path, tmp_path: Path) -> None:

    from panoptic_ros.model import load_model
    from panoptic_ros.perception import Perception
    from panoptic_ros.replay.in_process import replay as replay_in_process
    from panoptic_ros.replay.result import ResultWriter

    stop, recording = Event(), open_recording(picture_bag(tmp_path / "bag", list(range(8))))

    def stopped_after_three() -> Any:
        for k, image in enumerate(recording.frames()):
            if k == 3:
                stop.set()
            yield image

    model = load_model(model_folder)
    result = ResultWriter(tmp_path, replace(recording, frames=stopped_after_three), model.classes, model.model_id)
    summary = replay_in_process(recording=replace(recording, frames=stopped_after_three), result=result, stop=stop,
                                perception=Perception(model, "torch", "cpu"))
    assert (summary["frames_out"], summary["interrupted"]) == (3, True)
    assert len(results_of(tmp_path)["/panoptic/image"]) == 3


def test_ctrl_c_ends_a_replay_with_complete_files(
        picture_bag: Callable[..., Path], model_folder: Path, tmp_path: Path) -> None:
    bag, out = picture_bag(tmp_path / "bag", list(range(2000))), tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "panoptic_ros.cli", "replay", str(bag), "--out", str(out), "--model", str(model_folder),
         "--engine", "torch", "--device", "cpu"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 60
        while not list(out.glob("overlay.mp4")):  # it begins with the first frame that is done
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "files are being completed" in told
    summary = summary_of(out)
    assert summary["interrupted"]
    assert 1 <= summary["frames_out"] < 2000
    assert sorted(file.name for file in out.iterdir()) == RESULTS
    assert len(results_of(out)["/panoptic/segments"]) == summary["frames_out"]


def test_a_second_ctrl_c_leaves_at_once_and_handlers_are_given_back(request: pytest.FixtureRequest) -> None:
    # Where tests run in the background of a script, the shell has SIGINT ignored.
    original = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, original))
    before = signal.getsignal(signal.SIGINT)
    with stop_on_interrupt() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_input_and_output_may_have_any_name_of_a_file(
        write_bag: Callable[..., Path], tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = os.fsdecode(b"a b#?%41:1\xff\xfe")
    write_bag(tmp_path / "drive.mcap").rename(tmp_path / f"{text}.mcap")
    monkeypatch.chdir(tmp_path)
    # A strict terminal, as where the locale is not C.
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    for command in (["replay"], ["evaluate", "--truth", "none"]):
        assert main([*command, f"{text}.mcap", "--model", str(model_folder), "--out", f"{text}{command[0]}"]) == 0
    assert (tmp_path / f"{text}evaluate" / "report.html").is_file()
    assert (tmp_path / f"{text}replay" / "overlay.mp4").stat().st_size
