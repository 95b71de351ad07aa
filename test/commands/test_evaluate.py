"""`panoptic-ros evaluate` on small bags: what a replay found is its own perfect truth, and bad truth is told."""

from __future__ import annotations

import json
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
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.cli import main
from panoptic_ros.evaluation.truth_sources import open_truth
from panoptic_ros.messages import SEGMENTS, camera_image_message, header, image_message

START_NS = 10**18
FRAMES = 6
TRUTH = {"/panoptic/image": "/front/truth/panoptic/image", "/panoptic/segments": "/front/truth/segments"}


def images() -> list[CameraImage]:
    """A picture of blocks that moves to the right by two pixels per frame."""
    blocks = cv2.resize(np.random.default_rng(0).integers(0, 255, (8, 20, 3), np.uint8), (160, 64))
    return [CameraImage(np.ascontiguousarray(blocks[:, 2 * k:2 * k + 128]), "rgb8", START_NS + k * 10**8, "front",
                        "front_optical") for k in range(FRAMES)]


def write_images(bag: BagWriter, topic: str = "/front/image") -> None:
    for image in images():
        bag.write(topic, camera_image_message(image, bag_types()), image.stamp_ns)


@pytest.fixture(scope="module")
def plain_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag of images alone."""
    path = tmp_path_factory.mktemp("bags") / "plain"
    with BagWriter(path) as bag:
        write_images(bag)
    return path


@pytest.fixture(scope="module")
def options(model_folder: Path) -> tuple[str, ...]:
    return ("--model", str(model_folder), "--engine", "torch", "--device", "cpu")


@pytest.fixture(scope="module")
def results(plain_bag: Path, options: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a replay of the plain bag leaves behind."""
    out = tmp_path_factory.mktemp("replayed")
    assert main(["replay", str(plain_bag), "--out", str(out), "--no-overlay", *options]) == 0
    return out


@pytest.fixture(scope="module")
def write_truth(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A bag of the images with what the replay found as their truth, each message changed by `change(topic, message)`
    and left out where that returns None."""

    def write(change: Callable[[str, Any], Any] = lambda topic, message: message, repeat: int = 1) -> Path:
        path = tmp_path_factory.mktemp("bags") / "truth"
        with BagWriter(path) as bag, AnyReader([results / "result.mcap"]) as reader:
            write_images(bag)
            for connection, time_ns, cdr in reader.messages():
                if connection.topic in TRUTH:
                    message = bag_typestore().deserialize_cdr(cdr, connection.msgtype)
                    if (changed := change(connection.topic, message)) is not None:
                        for _ in range(repeat):
                            bag.write(TRUTH[connection.topic], changed, time_ns)
        return path

    return write


@pytest.fixture(scope="module")
def truth_bag(write_truth: Callable[..., Path]) -> Path:
    return write_truth()


@pytest.fixture
def evaluate(options: tuple[str, ...]) -> Callable[..., int]:
    def run(source: Path, out: Path, *more: str) -> int:
        return main(["evaluate", str(source), "--out", str(out), *options, *more])

    return run


@pytest.fixture(scope="module")
def evaluated(truth_bag: Path, options: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an evaluation of the bag with its own truth leaves behind."""
    out = tmp_path_factory.mktemp("evaluated")
    assert main(["evaluate", str(truth_bag), "--out", str(out), *options]) == 0
    return out


def evaluation_of(out: Path) -> dict[str, Any]:
    evaluation: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    return evaluation


def test_what_a_replay_found_is_its_own_perfect_truth(evaluated: Path) -> None:
    result = evaluation_of(evaluated)
    assert result["frames"] == {"in": FRAMES, "out": FRAMES, "dropped": {}, "scored": FRAMES, "without_truth": 0,
                                "repeated": 0, "truth_without_frame": 0}
    assert {group: result["panoptic"][group]["pq"] for group in ("all", "stuff", "things")} == {
        "all": 1, "stuff": 1, "things": 1}
    assert (result["stq"]["stq"], result["vpq"]["mean"]) == (1, 1)
    # That of the likeliest classes, which within an object may be others than its own.
    assert result["miou"] < 1
    assert result["mots"]["smotsa"] == 1
    assert result["truth"]["match"] == "stamp"
    assert (evaluated / "report.html").stat().st_size > 1000


def test_a_second_run_differs_in_nothing_but_time(
        evaluate: Callable[..., int], truth_bag: Path, evaluated: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(truth_bag, tmp_path) == 0
    assert "6 of 6 frames segmented" in capsys.readouterr().out
    one, two = evaluation_of(evaluated), evaluation_of(tmp_path)
    for timed in ("latency_ms", "fps"):
        del one[timed], two[timed]
    assert json.dumps(one) == json.dumps(two)


def test_truth_of_another_bag_counts_and_hashes_change_with_what_they_are_of(
        evaluate: Callable[..., int], plain_bag: Path, results: Path, evaluated: Path, tmp_path: Path) -> None:
    assert evaluate(plain_bag, tmp_path, "--truth", str(results / "result.mcap"), "--precision", "half") == 0
    one, two = evaluation_of(evaluated), evaluation_of(tmp_path)
    assert two["frames"]["scored"] == FRAMES
    assert two["panoptic"]["all"]["pq"] > 0.5
    assert one["bag_hash"] != two["bag_hash"]
    assert one["model_hash"] == two["model_hash"]
    assert one["settings_hash"] != two["settings_hash"]
    assert one["settings"]["thresholds"]["seed"] == 0.05


def test_truth_may_be_a_named_topic(truth_bag: Path, model_folder: Path) -> None:
    recording, classes = open_recording(truth_bag), load_class_table("cityscapes")
    found = open_truth("/front/truth/panoptic/image", recording, classes)
    assert found is not None
    assert found.source == "/front/truth/panoptic/image"
    assert len(found.dataset) == FRAMES
    image = found.dataset.image(2)
    assert image.tolist() == images()[2].pixels.tolist()


def test_depth_is_scored_where_the_truth_and_the_model_have_it(
        plain_bag: Path, results: Path, model_folder: Path, depth_model: Path,
        predicted_depth: Callable[..., np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = [2 * predicted_depth(image.pixels, image.encoding) for image in images()]
    for depth in measured:
        depth[32:] = np.nan  # nobody knows
    types = bag_types()
    with BagWriter(tmp_path / "bag") as bag, AnyReader([results / "result.mcap"]) as reader:
        write_images(bag)
        for connection, time_ns, cdr in reader.messages():
            if connection.topic in TRUTH:
                bag.write_serialized(TRUTH[connection.topic], connection.msgtype, cdr, time_ns)
        for image, depth in list(zip(images(), measured, strict=True))[1:]:
            bag.write("/front/truth/depth", image_message(depth, "32FC1", header(image, types), types),
                      image.stamp_ns)
    command = ["evaluate", str(tmp_path / "bag"), "--engine", "torch", "--device", "cpu"]
    assert main([*command, "--model", str(depth_model), "--out", str(tmp_path / "depth")]) == 0
    result = evaluation_of(tmp_path / "depth")
    rmse = float(np.sqrt(np.nanmean((np.array(measured[1:]) / 2) ** 2)))
    by_class = result["depth"].pop("classes")
    assert by_class
    assert all(row["abs_rel"] == pytest.approx(0.5, rel=1e-3) for row in by_class.values())
    assert result["depth"] == {"rmse": pytest.approx(rmse, rel=1e-3), "abs_rel": pytest.approx(0.5, rel=1e-3),
                               "delta1": 0, "delta2": 0, "delta3": 0}
    assert "depth" in result["truth"]["judges"]
    assert result["frames"]["scored"] == FRAMES
    assert "AbsRel" in capsys.readouterr().out
    page = (tmp_path / "depth" / "report.html").read_text()
    assert "Depth RMSE" in page
    assert 'alt="predicted depth of frame 3"' in page
    assert 'alt="true depth of frame 3"' in page
    assert "depth errors, from none (blue) to 50% of the depth and more (red)" in page
    assert "Depth AbsRel" in page[page.index("<table"):]

    assert main([*command, "--model", str(model_folder), "--out", str(tmp_path / "none")]) == 0
    without = evaluation_of(tmp_path / "none")
    assert "depth" not in without
    assert without["panoptic"]["all"]["pq"] == 1
    assert "Depth" not in (tmp_path / "none" / "report.html").read_text()


def test_depth_that_a_replay_wrote_is_its_own_perfect_truth(
        plain_bag: Path, depth_model: Path, example_method: dict[str, Any], tmp_path: Path) -> None:
    options = ["--model", str(depth_model), "--engine", "torch", "--device", "cpu", "--out"]
    assert main(["replay", str(plain_bag), "--no-overlay", *options, str(tmp_path / "first")]) == 0
    assert main(["evaluate", str(plain_bag), "--truth", str(tmp_path / "first" / "result.mcap"), *options,
                 str(tmp_path / "second")]) == 0
    found = evaluation_of(tmp_path / "second")["depth"]
    assert all(row == {"rmse": 0, "abs_rel": 0, "delta1": 1} for row in found.pop("classes").values())
    assert found == {"rmse": 0, "abs_rel": 0, "delta1": 1, "delta2": 1, "delta3": 1}


def test_a_bag_without_truth_says_how_to_give_one(
        evaluate: Callable[..., int], plain_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(plain_bag, tmp_path) == 2
    told = capsys.readouterr().err
    assert "has no truth topics" in told
    assert "--truth none" in told
    assert evaluate(plain_bag, tmp_path, "--truth", "/nothing/here") == 2
    assert "no truth on /nothing/here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_truth_speed_tracks_and_class_changes_are_measured_and_nothing_else(
        evaluate: Callable[..., int], plain_bag: Path, tmp_path: Path) -> None:
    assert evaluate(plain_bag, tmp_path, "--truth", "none") == 0
    result = evaluation_of(tmp_path)
    assert result["frames"] == {"in": FRAMES, "out": FRAMES, "dropped": {}}
    assert result["latency_ms"]["end_to_end"]["p50"] > 0
    assert result["tracks"] > 0
    assert 0 < result["class_change"]["predicted_change"] < 1
    assert not result.keys() & {"panoptic", "miou", "stq", "vpq", "mots", "flicker"}


def test_frames_without_truth_and_truths_without_frame_are_counted_and_listed(
        evaluate: Callable[..., int], write_truth: Callable[..., Path], tmp_path: Path) -> None:
    def shift_the_last_and_drop_the_first(topic: str, message: Any) -> Any:
        k = message.header.stamp.nanosec // 10**8
        if k == FRAMES - 1:
            message.header.stamp.nanosec += 1
        return message if k else None

    assert evaluate(write_truth(shift_the_last_and_drop_the_first), tmp_path) == 0
    result = evaluation_of(tmp_path)
    assert result["frames"]["scored"] == FRAMES - 2
    assert (result["frames"]["without_truth"], result["frames"]["truth_without_frame"]) == (2, 1)
    first, last = START_NS, START_NS + (FRAMES - 1) * 10**8
    assert result["unmatched"] == {
        "without_truth": [f"front, frame 0, {first} ns", f"front, frame {FRAMES - 1}, {last} ns"],
        "truth_without_frame": [f"front_{last + 1}"]}
    assert result["panoptic"]["all"]["pq"] == 1


def test_truth_of_which_nothing_fits_is_an_error(
        evaluate: Callable[..., int], write_truth: Callable[..., Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    def later(topic: str, message: Any) -> Any:
        message.header.stamp.nanosec += 1
        return message

    assert evaluate(write_truth(later), tmp_path) == 2
    assert "not one of the 6 segmented images" in capsys.readouterr().err
    assert not (tmp_path / "evaluation.json").exists()


def test_truth_that_is_there_twice_is_an_error(
        evaluate: Callable[..., int], write_truth: Callable[..., Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(write_truth(repeat=2), tmp_path) == 2
    assert f"/front/truth/panoptic/image at {START_NS} ns" in capsys.readouterr().err


def test_label_images_without_their_segments_are_an_error(
        evaluate: Callable[..., int], write_truth: Callable[..., Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    def without_some_segments(topic: str, message: Any) -> Any:
        return None if topic == "/panoptic/segments" and message.header.stamp.nanosec >= 3 * 10**8 else message

    assert evaluate(write_truth(without_some_segments), tmp_path) == 2
    assert f"{START_NS + 3 * 10**8} ns, {START_NS + 4 * 10**8} ns" in capsys.readouterr().err


@pytest.mark.parametrize(("field", "value", "told"), [
    ("class_name", "unicorn", "unicorn ("), ("is_thing", None, "as things and as stuff")])
def test_classes_that_no_table_has_are_an_error(
        evaluate: Callable[..., int], write_truth: Callable[..., Path], tmp_path: Path,
        capsys: pytest.CaptureFixture[str], field: str, value: Any, told: str) -> None:
    def other_class(topic: str, message: Any) -> Any:
        if message.__msgtype__ == SEGMENTS and message.header.stamp.nanosec == 0:
            row = message.segments[0]
            if field == "class_name":
                row.class_id = 99
            setattr(row, field, value if value is not None else not row.is_thing)
        return message

    assert evaluate(write_truth(other_class), tmp_path) == 2
    assert told in capsys.readouterr().err


def test_an_image_that_repeats_a_stamp_is_not_scored_against_the_same_truth_again(
        evaluate: Callable[..., int], truth_bag: Path, plain_bag: Path, tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    with BagWriter(bag) as writer:
        for image in [*images(), replace(images()[-1], pixels=images()[0].pixels)]:
            writer.write("/front/image", camera_image_message(image, bag_types()), image.stamp_ns)
    assert evaluate(bag, tmp_path / "out", "--truth", str(truth_bag)) == 0
    result = evaluation_of(tmp_path / "out")
    assert (result["frames"]["scored"], result["frames"]["repeated"]) == (FRAMES, 1)
    assert result["unmatched"] == {"repeated": [f"front, frame {FRAMES}, {START_NS + (FRAMES - 1) * 10**8} ns"]}
    assert result["panoptic"]["all"]["pq"] == 1


def test_a_stop_leaves_complete_files_that_say_so(
        truth_bag: Path, model_folder: Path, tmp_path: Path) -> None:
    from panoptic_ros.evaluation.replay_evaluation import ReplayEvaluation
    from panoptic_ros.model import load_model
    from panoptic_ros.perception import Perception
    from panoptic_ros.replay.in_process import replay

    model, stop, recording = load_model(model_folder), Event(), open_recording(truth_bag)

    def stopped_after_three() -> Any:
        for k, image in enumerate(recording.frames()):
            if k == 3:
                stop.set()
            yield image

    truth = open_truth(None, replace(recording, frames=stopped_after_three), model.classes)
    assert truth is not None
    followed = truth.matched_recording()
    sink = ReplayEvaluation(tmp_path, followed, model.classes, model.model_id, truth, {}, {})
    result = replay(followed, Perception(model, "torch", "cpu"), sink, stop)
    assert result["interrupted"]
    assert evaluation_of(tmp_path)["frames"] == {"in": 3, "out": 3, "dropped": {}, "scored": 3, "without_truth": 0,
                                                 "repeated": 0}
    assert (tmp_path / "report.html").is_file()


def test_a_comparison_fails_where_something_is_worse_than_the_tolerance(
        evaluate: Callable[..., int], truth_bag: Path, evaluated: Path, tmp_path: Path,
        capsys: pytest.CaptureFixture[str]) -> None:
    better = evaluation_of(evaluated)
    name = sorted(better["panoptic"]["classes"])[0]
    better["panoptic"]["classes"][name]["pq"] = 1.02
    other = tmp_path / "other.json"
    other.write_text(json.dumps(better))
    assert evaluate(truth_bag, tmp_path / "out", "--compare", str(other)) == 1
    assert "1 is worse by more than the tolerance" in capsys.readouterr().out
    assert evaluate(truth_bag, tmp_path / "out", "--overwrite", "--compare", str(other), "--tolerance", "0.05") == 0


@pytest.mark.parametrize(("more", "told"), [
    (("--tolerance", "0.1"), "--tolerance goes with --compare"), (("--rate", "2"), "--rate goes with --live"),
    (("--compare", "nowhere.json"), "nowhere.json"), (("--match", "name"), "--match name goes with a folder"),
    (("--match", "number"), "the same number"), (("--truth", "nowhere"), "there is no 'nowhere'")])
def test_options_that_make_no_sense_are_refused(
        evaluate: Callable[..., int], truth_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        more: tuple[str, ...], told: str) -> None:
    assert evaluate(truth_bag, tmp_path, *more) == 2
    assert told in capsys.readouterr().err


def test_results_that_are_there_are_kept_unless_told_otherwise(
        evaluate: Callable[..., int], truth_bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "evaluation.json").write_text("precious")
    assert evaluate(truth_bag, tmp_path) == 2
    assert "allow --overwrite" in capsys.readouterr().err
    assert (tmp_path / "evaluation.json").read_text() == "precious"
