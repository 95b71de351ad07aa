"""`panoptic-ros score` on folders and text files as any system may write them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from panoptic_ros.classes import load_class_table
from panoptic_ros.cli import main
from panoptic_ros.datasets.coco_panoptic import CocoPanopticWriter
from panoptic_ros.datasets.kitti_mots import MotsWriter
from panoptic_ros.labels import NO_CLASS, PanopticLabel

CITY = load_class_table("cityscapes")
ROAD, SKY, CAR = (CITY.names.index(name) for name in ("road", "sky", "car"))


def street(frame: int, track: int = 7, score: float = 0.9) -> PanopticLabel:
    """Sky above a road, on which a car drives to the right; 12 x 24 pixels."""
    segment_map = np.repeat([1, 2], 6)[:, None].repeat(24, 1)
    segment_map[5:9, 2 + frame:10 + frame] = 3
    return PanopticLabel.of(segment_map, [SKY, ROAD, CAR], [0, 0, track], score=np.full(3, score))


def write_coco(folder: Path, labels: dict[str, PanopticLabel], sequence: str | None = None) -> Path:
    writer = CocoPanopticWriter(folder, CITY, scores=True)
    for number, (name, label) in enumerate(labels.items()):
        writer.add(f"images/{name}.png", label, sequence, number if sequence else -1)
    writer.close()
    return folder


def write_mots(file: Path, tracks: dict[int, int], frames: int = 4) -> Path:
    """A car in each frame but those whose track is 0; tracks: frame -> track, 7 where it is not named."""
    writer = MotsWriter(file)
    for k in range(frames):
        if track := tracks.get(k, 7):
            segment_map = np.where(street(k).segment_map == 3, 2, 1)
            writer.add(k, PanopticLabel.of(segment_map, np.array([NO_CLASS, 0]), np.array([0, track])))
    writer.close()
    return file


def score(tmp_path: Path, *arguments: Any) -> dict[str, Any]:
    file = tmp_path / "result.json"
    assert main(["score", *map(str, arguments), "--json", str(file)]) == 0
    return json.loads(file.read_text())


def test_a_folder_against_itself_is_perfect(tmp_path: Path) -> None:
    truth = write_coco(tmp_path / "truth", {f"{k:06d}": street(k) for k in range(6)}, "drive")
    result = score(tmp_path, truth, truth)
    assert [result["panoptic"][group]["pq"] for group in ("all", "things", "stuff")] == [1, 1, 1]
    assert result["mask_ap"]["ap"] == result["stq"]["stq"] == result["vpq"]["5"] == result["mots"]["hota"] == 1
    assert result["flicker"] == 0
    assert result["frames"] == {"scored": 6, "predictions_without_truth": 0}


def test_tracks_count_with_video_alone(tmp_path: Path) -> None:
    names = [f"{k:06d}" for k in range(6)]
    truth = write_coco(tmp_path / "truth", {name: street(k) for k, name in enumerate(names)}, "drive")
    swapped = write_coco(tmp_path / "pred", {name: street(k, 7 + (k > 2)) for k, name in enumerate(names)}, "drive")
    video = score(tmp_path, swapped, truth)
    assert video["panoptic"]["all"]["pq"] == 1
    assert video["mots"]["id_switches"] == 1
    assert video["stq"]["aq"] == pytest.approx(0.5)  # two halves of the track: 2 * (1/2 * 1/2)
    images = score(tmp_path, swapped, truth, "--no-video")
    assert images["panoptic"]["all"]["pq"] == 1
    assert not {"mots", "stq", "vpq", "flicker"} & set(images)


def test_video_makes_sequences_of_folders_that_do_not_say_so(tmp_path: Path) -> None:
    truth = write_coco(tmp_path / "truth", {f"{k:06d}": street(k) for k in range(3)})
    assert "stq" not in score(tmp_path, truth, truth)
    assert score(tmp_path, truth, truth, "--video")["stq"]["sq"] == 1


def test_the_result_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    truth, pred = tmp_path / "truth", tmp_path / "pred"
    for folder, shift in ((truth, 0), (pred, 1)):
        writer = CocoPanopticWriter(folder, CITY, scores=True)
        for sequence in range(3):
            for k in range(3):
                label = street(k + sequence, score=(k + 1) / 7)
                writer.add(f"images/{sequence}_{k}.png", replace(
                    label, segment_map=np.roll(label.segment_map, (shift, shift * (k + sequence)), (0, 1))),
                    str(sequence), k)
        writer.close()
    for arguments in ((), ("--no-video",)):
        texts = []
        for workers in (1, 2):
            file = tmp_path / f"{workers}.json"
            assert main(["score", str(pred), str(truth), "--json", str(file), "--workers", str(workers),
                         *arguments]) == 0
            texts.append(file.read_text())
        assert texts[0] == texts[1]
        assert 0 < json.loads(texts[0])["panoptic"]["all"]["pq"] < 1


def test_kitti_mots_text_files_are_scored(tmp_path: Path) -> None:
    truth = write_mots(tmp_path / "truth.txt", {})
    assert score(tmp_path, truth, truth)["mots"]["hota"] == 1
    # Another name, a track that changes, and a frame that is not named because nothing was found in it.
    found = score(tmp_path, write_mots(tmp_path / "mine.txt", {1: 9, 2: 9, 3: 0}), truth)
    assert found["matched_by"] == "frame number"
    assert found["mots"]["id_switches"] == 1
    assert found["mots"]["false_negatives"] == 1
    assert found["mots"]["motsa"] == (3 - 1) / 4
    assert set(found["mots"]["classes"]) == {"car"}


def test_folders_of_text_files_are_matched_by_sequence(tmp_path: Path) -> None:
    for folder in ("truth", "pred"):
        write_mots(tmp_path / folder / "0002.txt", {})
        write_mots(tmp_path / folder / "0006.txt", {} if folder == "truth" else {0: 0, 1: 0, 2: 0})
    found = score(tmp_path, tmp_path / "pred", tmp_path / "truth")
    assert (found["images"], found["sequences"]) == (8, 2)
    assert (found["mots"]["true_positives"], found["mots"]["false_negatives"]) == (5, 3)
    (tmp_path / "pred" / "0006.txt").unlink()
    assert main(["score", str(tmp_path / "pred"), str(tmp_path / "truth")]) == 2


def test_the_official_form_of_predictions_has_annotations_alone(tmp_path: Path) -> None:
    truth = write_coco(tmp_path / "truth", {"a": street(0), "b": street(1)})
    pred = write_coco(tmp_path / "pred", {"a": street(0), "b": street(1)})
    content = json.loads((pred / "panoptic.json").read_text())
    (pred / "panoptic.json").write_text(json.dumps({"annotations": content["annotations"]}))
    assert score(tmp_path, pred, truth)["panoptic"]["all"]["pq"] == 1


def test_categories_are_matched_by_name_whatever_their_ids(tmp_path: Path) -> None:
    truth = write_coco(tmp_path / "truth", {"a": street(0)})
    pred = tmp_path / "pred"
    writer = CocoPanopticWriter(pred, CITY, category_ids=[100 + 2 * k for k in range(len(CITY))])
    writer.add("a.png", street(0))
    writer.close()
    assert score(tmp_path, pred, truth)["panoptic"]["all"]["pq"] == 1


def test_missing_predictions_are_an_error_that_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_coco(tmp_path / "truth", {f"{k:06d}": street(0) for k in range(9)})
    pred = write_coco(tmp_path / "pred", {f"{k:06d}": street(0) for k in range(2)})
    assert main(["score", str(pred), str(truth)]) == 2
    text = capsys.readouterr().err
    assert "7 of 9 images of truth have no prediction in pred: 000002, 000003, 000004, 000005, 000006 ..." in text


def test_predictions_without_a_truth_are_counted_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_coco(tmp_path / "truth", {"a": street(0)})
    pred = write_coco(tmp_path / "pred", {"a": street(0), "b": street(0), "c": street(0)})
    result = score(tmp_path, pred, truth)
    assert result["frames"] == {"scored": 1, "predictions_without_truth": 2}
    assert result["unmatched"] == {"predictions_without_truth": ["b", "c"]}
    assert "2 predictions without a truth: b, c" in capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    assert main(["score", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_what_cannot_be_scored_is_refused_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_coco(tmp_path / "truth", {"a": street(0)})
    small = write_coco(tmp_path / "small", {"a": replace(street(0), segment_map=np.ones((6, 6), int))})
    void = write_coco(tmp_path / "void", {"a": PanopticLabel.of(np.zeros((12, 24), int), [])})
    mots = write_mots(tmp_path / "mots.txt", {})
    assert "a: the prediction has 6 x 6 pixels, the truth 12 x 24" in refused(capsys, small, truth)
    assert "the truth is empty" in refused(capsys, truth, void)
    assert "cannot be judged by mots" in refused(capsys, mots, mots, "--no-video")
    assert "there is no" in refused(capsys, tmp_path / "absent", truth)
    assert "--workers is 0" in refused(capsys, truth, truth, "--workers", 0)
    assert "--tolerance goes with --compare" in refused(capsys, truth, truth, "--tolerance", 0.1)


def test_an_error_in_another_process_is_the_same_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_coco(tmp_path / "truth", {"a": street(0), "b": street(0)})
    small = write_coco(tmp_path / "small", {"a": street(0), "b": replace(street(0), segment_map=np.ones((6, 6), int))})
    assert "error: b: the prediction has 6 x 6 pixels" in refused(capsys, small, truth, "--workers", 2)


def test_a_score_that_is_nan_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_coco(tmp_path / "truth", {"a": street(0)})
    pred = write_coco(tmp_path / "pred", {"a": street(0)})
    (pred / "panoptic.json").write_text((pred / "panoptic.json").read_text().replace("0.9", "NaN"))
    assert "a score is no number: a.png: segment 11: nan" in refused(capsys, pred, truth)


def test_a_worse_result_ends_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_coco(tmp_path / "truth", {"a": street(0), "b": street(1)})
    worse = write_coco(tmp_path / "worse", {"a": street(0), "b": street(3)})
    score(tmp_path, truth, truth)
    before = str(tmp_path / "result.json")
    assert main(["score", str(truth), str(truth), "--compare", before]) == 0
    capsys.readouterr()
    assert main(["score", str(worse), str(truth), "--compare", before]) == 1
    assert "panoptic.all.pq" in capsys.readouterr().out
    assert main(["score", str(worse), str(truth), "--compare", before, "--tolerance", "1"]) == 0
