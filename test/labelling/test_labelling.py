"""`panoptic-ros label`: key frames, doubts, and a dataset that can be checked and trained on."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest

from panoptic_ros.bags.read import open_recording
from panoptic_ros.classes import VOID
from panoptic_ros.cli import main
from panoptic_ros.datasets import open_dataset
from panoptic_ros.datasets.check import check_dataset
from panoptic_ros.errors import InputError
from panoptic_ros.labelling.doubts import Doubt, classes_of_tracks, doubts_of
from panoptic_ros.labelling.key_frames import select_key_frames
from panoptic_ros.labelling.label_recording import LabelSettings, label_recording
from panoptic_ros.labelling.motion import carried_over, motion_between, small_grey, thumbnail
from panoptic_ros.labelling.predictions import Prediction
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception


def texture(shift: int = 0, size: tuple[int, int] = (120, 200)) -> np.ndarray:
    """A smooth random picture, moved to the right by so many pixels."""
    random = np.random.default_rng(0).integers(0, 256, (20, 60, 3)).astype(np.uint8)
    wide = cv2.resize(random, (600, size[0]), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(wide[:, 200 - shift:200 - shift + size[1]])


def prediction(number: int = 0, motion: float = 0.0, look: tuple[float, ...] = (1.0, 0.0),
               **columns: Any) -> Prediction:
    given = {"class_id": np.array([0, 13]), "is_thing": np.array([False, True]), "score": np.array([0.9, 0.9]),
             "track_id": np.array([0, 4]), **columns}
    return Prediction(number, number, "camera", number, motion, np.array(look, np.float32), **given)


def test_motion_is_a_share_of_the_width() -> None:
    grey, moved = small_grey(texture()), small_grey(texture(10))
    assert motion_between(grey, moved) == pytest.approx(10 / 200, rel=0.15)
    assert motion_between(grey, grey) < 0.002


def test_thumbnails_of_one_place_are_alike_whatever_the_light() -> None:
    one, brighter = thumbnail(small_grey(texture())), thumbnail(small_grey(texture() // 2 + 100))
    other = thumbnail(small_grey(texture()[::-1]))
    assert one @ brighter > 0.98
    assert one @ other < 0.9
    assert not thumbnail(np.full((40, 320), 7, np.uint8)).any()


def test_classes_are_carried_over_by_the_flow_and_void_where_it_does_not_return() -> None:
    here, there = texture(), texture(10)
    classes = np.zeros((120, 200), np.uint8)
    classes[:, 110:160] = 13  # in the moved picture; here it is 10 pixels to the left
    carried = carried_over(classes, small_grey(here), small_grey(there), VOID)
    known = carried[:, 20:180] != VOID
    assert known.mean() > 0.8
    expected = np.zeros((120, 200), np.uint8)
    expected[:, 100:150] = 13
    assert (carried == expected)[:, 20:180][known].mean() > 0.97


def test_key_frames_have_moved_and_show_something_new() -> None:
    rows = [prediction(0), prediction(1, 0.1, (1.0, 0.0)), prediction(2, 0.02, (0.0, 1.0)),
            prediction(3, 0.1, (0.0, 1.0)), prediction(4, 0.1, (0.0, 1.0)), prediction(5, 0.1, (-1.0, 0.0))]
    # 1 looks like 0; at 2 the motions of 1 and 2 together are enough; 3 and 4 look like 2; 5 is new.
    assert select_key_frames(rows, 0.11, 0.05) == [0, 2, 5]
    assert select_key_frames(rows, 0.0, 0.0) == [0, 1, 2, 3, 4, 5]
    assert select_key_frames(rows, 0.0, 0.0, 3) == [0, 2, 5]


def doubt_map(one: Prediction, neighbours: tuple[np.ndarray, ...] = (), **changes: Any) -> np.ndarray:
    """Of an image with void, road and a car: columns 0, 1-4 and 5-9."""
    segment_map = np.repeat(np.array([[0, 1, 1, 1, 1, 2, 2, 2, 2, 2]], np.uint16), 2, 0)
    semantics = changes.pop("semantics", np.where(segment_map == 2, 13, 0).astype(np.uint8))
    settings = {"track_class": {("camera", 4): 13}, "min_score": 0.5, "min_left": 0.5, **changes}
    return doubts_of(one, segment_map, semantics, neighbours, **settings)


def test_what_is_sure_is_without_doubt_and_what_no_segment_has_is_unsegmented() -> None:
    assert doubt_map(prediction())[0].tolist() == [Doubt.UNSEGMENTED, *[Doubt.NONE] * 9]


@pytest.mark.parametrize(("columns", "changes", "reason"), [
    ({"score": np.array([0.9, 0.4])}, {}, Doubt.SCORE),
    ({"track_id": np.array([0, 0])}, {}, Doubt.UNTRACKED),
    ({}, {"track_class": {("camera", 4): 14}}, Doubt.CLASS),
])
def test_a_segment_in_doubt_is_void_as_a_whole(columns: dict[str, Any], changes: dict[str, Any],
                                               reason: Doubt) -> None:
    found = doubt_map(prediction(**columns), **changes)
    assert found[0].tolist() == [Doubt.UNSEGMENTED, *[Doubt.NONE] * 4, *[reason] * 5]


def test_pixels_that_an_image_before_or_after_contradicts_are_void() -> None:
    before = np.full((2, 10), VOID, np.uint8)  # void contradicts nothing
    after = np.repeat(np.array([[0, 0, 0, 0, 13, 13, 13, 13, 13, 13]], np.uint8), 2, 0)
    found = doubt_map(prediction(), (before, after))
    assert found[0].tolist() == [Doubt.UNSEGMENTED, *[Doubt.NONE] * 3, Doubt.TIME, *[Doubt.NONE] * 5]


def test_a_segment_of_which_little_is_sure_is_void() -> None:
    semantics = np.repeat(np.array([[0, 0, 0, 0, 0, 14, 14, 14, 13, 13]], np.uint8), 2, 0)
    found = doubt_map(prediction(), semantics=semantics)
    assert found[0, 5:].tolist() == [*[Doubt.CLASS] * 3, *[Doubt.REMNANT] * 2]


def test_a_track_has_the_class_of_most_of_its_images() -> None:
    rows = [prediction(k, class_id=np.array([0, 13 if k else 14])) for k in range(3)]
    assert classes_of_tracks(rows) == {("camera", 4): 13}


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Twelve images of a picture that moves."""
    folder = tmp_path / "drive"
    folder.mkdir()
    for k in range(12):
        cv2.imwrite(str(folder / f"{k:03d}.png"), texture(8 * k))
    return folder


def test_a_recording_becomes_a_dataset_that_the_check_passes(drive: Path, model_folder: Path, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "labels"
    arguments = ["label", str(drive), "--model", str(model_folder), "--out", str(out), "--min-score", "0.05",
                 "--min-left", "0", "--motion", "0.05", "--novelty", "0.01", "--engine", "torch"]
    assert main(arguments) == 0
    assert "images labelled" in capsys.readouterr().out
    check = check_dataset(str(out))
    assert check.findings.total() == 0, check.text()
    report = json.loads((out / "labelling.json").read_text())
    assert report["images"] == 12
    assert 2 <= report["labelled"] < 12
    assert report["labelled_share"] + sum(report["void"].values()) == pytest.approx(1)
    dataset = open_dataset(str(out))
    assert len(dataset) == report["labelled"]
    assert dataset.image(0).shape == (120, 200, 3)
    assert (out / "contact_sheet.jpg").is_file()
    assert not (out / "predictions").exists()
    assert main(arguments) == 2  # it has a dataset already


def test_an_interrupted_run_goes_on_to_the_same_labels(drive: Path, model_folder: Path, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panoptic_ros.labelling.predictions.CHECKPOINT_EVERY", 4)
    model, settings = load_model(model_folder), LabelSettings(motion=0, novelty=0, min_score=0.05, min_left=0)
    recording = open_recording(drive)
    whole = label_recording(recording, model, tmp_path / "whole", settings, Event(), "torch", "cpu", "single")
    stop, calls = Event(), []
    segment = Perception.__call__

    def counted(self: Perception, image: Any) -> Any:
        calls.append(image)
        if len(calls) == 6:
            stop.set()
        return segment(self, image)

    monkeypatch.setattr(Perception, "__call__", counted)
    out = tmp_path / "parts"
    assert label_recording(recording, model, out, settings, stop, "torch", "cpu", "single") is None
    assert not (out / "panoptic.json").exists()
    with pytest.raises(InputError, match="of another recording, model or setting"):
        label_recording(recording, model, out, LabelSettings(flip=False), Event(), "torch", "cpu", "single")
    stop.clear()
    calls.extend([None] * 100)
    again = label_recording(recording, model, out, settings, stop, "torch", "cpu", "single")
    assert len(calls) == 106 + 8  # the four up to the checkpoint are not done again
    assert again == whole
    assert (out / "panoptic.json").read_text() == (tmp_path / "whole/panoptic.json").read_text()


def test_a_run_that_ended_while_it_wrote_labels_leaves_nothing_of_them(drive: Path, model_folder: Path,
                                                                       tmp_path: Path) -> None:
    out, stop = tmp_path / "labels", Event()
    settings = LabelSettings(motion=0, novelty=0, min_score=0.05, min_left=0, flip=False)
    arguments = (open_recording(drive), load_model(model_folder), out, settings)
    stop.set()
    assert label_recording(*arguments, stop, "torch", "cpu", "single") is None
    (out / "panoptic/camera").mkdir(parents=True)
    (out / "panoptic/camera/stale.png").write_bytes(b"")
    stop.clear()
    assert label_recording(*arguments, stop, "torch", "cpu", "single") is not None
    assert check_dataset(str(out)).findings.total() == 0
    with pytest.raises(InputError, match="has files that are not of unfinished labels"):
        label_recording(*arguments, stop, "torch", "cpu", "single")


@pytest.mark.parametrize("settings", [{"motion": -1}, {"min_score": 2}, {"count": -3}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must lie between|number of images"):
        LabelSettings(**settings)
