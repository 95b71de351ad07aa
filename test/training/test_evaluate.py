"""A model scored on a dataset, by the command."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.datasets import Dataset, Entry, Truth, open_dataset
from panoptic_ros.datasets.coco_panoptic import CocoPanopticWriter
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.scorer import Scorer
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception
from training.evaluate import evaluate, main
from training.reading import UNKNOWN_INTERVAL_NS, read_ahead

CITY = "city:600-601x3@64x128"


def evaluation(out: Path, model: Path, data: str, *options: str) -> dict[str, Any]:
    """What the command writes, without what differs from run to run."""
    assert main(["--model", str(model), "--data", data, "--engine", "torch", "--device", "cpu", "--workers", "0",
                 "--out", str(out), *options]) == 0
    result: dict[str, Any] = json.loads((out / "evaluation.json").read_text())
    assert result.pop("latency_ms").keys() == {"preprocess", "network", "decode", "track"}
    return result


@pytest.fixture(scope="module")
def city_result(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return evaluation(tmp_path_factory.mktemp("city"), model_folder, CITY)


@pytest.fixture(scope="module")
def coco_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of a drive as others write a dataset: ids of images and categories are their own, no video."""
    folder, city = tmp_path_factory.mktemp("coco"), open_dataset("city:602x4@64x128")
    writer = CocoPanopticWriter(folder, city.classes, category_ids=[100 - 3 * k for k in range(len(city.classes))])
    (folder / "images").mkdir()
    for k in range(len(city)):
        writer.add(f"images/shot{k}.png", city.label(k), image_id=1000 - k)
        cv2.imwrite(str(folder / "images" / f"shot{k}.png"), city.image(k)[..., ::-1])
    writer.close()
    return folder


def test_numbers_are_those_of_a_perception_that_is_scored_image_by_image(
        model_folder: Path, city_result: dict[str, Any]) -> None:
    dataset, model = open_dataset(CITY), load_model(model_folder)
    scorer = Scorer(dataset.classes, dataset.truth)
    for sequence, rows in dataset.sequences():
        # A new one: what was seen in another drive is not known here.
        perception = Perception(model, "torch", "cpu", with_semantics=True)
        for row in rows:
            image = CameraImage(dataset.image(row), "rgb8", dataset.entries[row].stamp_ns)
            scorer.add(PanopticLabel.of_frame(perception(image)), dataset.label(row), sequence)
    expected = json.loads(json.dumps(scorer.result()), parse_float=lambda text: pytest.approx(float(text), abs=1e-8))
    assert {"panoptic", "pq_dagger", "parsing_covering", "miou", "mask_ap", "stq", "vpq", "mots", "flicker"} <= set(
        expected)
    assert {key: city_result[key] for key in expected} == expected


def test_no_track_goes_on_from_one_sequence_to_the_next(model_folder: Path) -> None:
    class TwoStills(Dataset):
        """One image, three times in each of two sequences whose time goes on."""

        name, classes = "stills", open_dataset(CITY).classes
        truth = frozenset({Truth.PANOPTIC, Truth.TRACKS})
        entries = tuple(Entry(f"{k}", "ab"[k // 3], (k + 1) * UNKNOWN_INTERVAL_NS, k) for k in range(6))
        still = open_dataset(CITY)

        def image(self, index: int) -> np.ndarray:
            return self.still.image(0)

        def label(self, index: int) -> PanopticLabel:
            return self.still.label(0)

    class Seeing(Perception):
        def __call__(self, images: Any) -> Any:
            frame = super().__call__(images)
            tracks.append(set(frame.segments.track_id.tolist()) - {0})
            return frame

    tracks: list[set[int]] = []
    evaluate(Seeing(load_model(model_folder), "torch", "cpu"), TwoStills(), 6, 0)
    assert tracks[1] & tracks[2]
    assert tracks[4] & tracks[5]
    assert not set.union(*tracks[:3]) & set.union(*tracks[3:])


@pytest.mark.parametrize("workers", [0, 1])
def test_depth_is_scored_where_the_dataset_and_the_model_have_it(
        model_folder: Path, depth_model: Path, predicted_depth: Any, workers: int) -> None:
    class Measured(Dataset):
        """Two frames of the city; the true depth of frame k is k + 2 times what the model predicts."""

        name, city = "measured", open_dataset("city:600x2@64x128")
        classes, truth, entries = city.classes, city.truth, city.entries

        def image(self, index: int) -> np.ndarray:
            return self.city.image(index)

        def label(self, index: int) -> PanopticLabel:
            return self.city.label(index)

        def depth(self, index: int) -> np.ndarray:
            return predicted_depth(self.city.image(index), "rgb8") * (index + 2)

    def result(model: Path) -> dict[str, Any]:
        return evaluate(Perception(load_model(model), "torch", "cpu"), Measured(), 2, workers)

    assert result(depth_model)["depth"]["abs_rel"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert "depth" not in result(model_folder)


def test_a_sequence_that_cannot_be_scored_ends_the_evaluation(
        model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = Scorer.finish

    def fail_at_the_first(scorer: Scorer, sequence: str) -> None:
        finish(scorer, sequence)
        if sequence == "0600":
            raise InputError("drive 0600 cannot be scored")

    monkeypatch.setattr(Scorer, "finish", fail_at_the_first)
    with pytest.raises(InputError, match="drive 0600 cannot be scored"):
        evaluate(Perception(load_model(model_folder), "torch", "cpu"), open_dataset(CITY), 6, 0)


def test_the_result_says_what_was_scored_and_how(model_folder: Path, city_result: dict[str, Any]) -> None:
    assert city_result["input"] == CITY
    assert city_result["frames"] == {"in": 6, "scored": 6}
    assert city_result["model"] == load_model(model_folder).model_id
    assert len(city_result["model_hash"]) == len(city_result["settings_hash"]) == 64
    assert city_result["settings"]["thresholds"]["seed"] == 0.05
    assert city_result["settings"]["test_time"] == {"flip": False, "scales": [1.0]}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_processes_that_read_ahead_change_nothing(
        model_folder: Path, tmp_path: Path, city_result: dict[str, Any], workers: str) -> None:
    assert evaluation(tmp_path, model_folder, CITY, "--workers", workers) == city_result


def test_the_table_is_printed(model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = evaluation(tmp_path, model_folder, CITY, "--limit", "2")
    assert result["frames"]["scored"] == result["images"] == 2
    assert f"mIoU {100 * result['miou']:5.1f}" in capsys.readouterr().out


def test_views_are_averaged_where_the_recipe_or_the_command_asks(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    text = yaml.safe_load((folder / "model.yaml").read_text())
    text["training"] = {"test_time": {"flip": True, "scales": [0.5, 1.0]}}
    (folder / "model.yaml").write_text(yaml.safe_dump(text))
    options = ("--limit", "1")
    plain = evaluation(tmp_path / "plain", folder, CITY, *options, "--no-flip", "--scales", "1")
    recipe = evaluation(tmp_path / "recipe", folder, CITY, *options)
    asked = evaluation(tmp_path / "asked", model_folder, CITY, *options, "--flip", "--scales", "0.5", "1")
    assert recipe["settings"] == asked["settings"] != plain["settings"]
    assert recipe["panoptic"] == asked["panoptic"] != plain["panoptic"]


def test_predictions_have_the_ids_of_the_truth_and_score_the_same_when_they_are_read_again(
        model_folder: Path, coco_folder: Path, tmp_path: Path) -> None:
    result = evaluation(tmp_path, model_folder, str(coco_folder), "--predictions")
    truth_json, json_file = (json.loads((folder / "panoptic.json").read_text())
                             for folder in (coco_folder, tmp_path / "predictions"))
    assert json_file["categories"] == truth_json["categories"]
    assert [a["image_id"] for a in json_file["annotations"]] == [1000, 999, 998, 997]
    segments = [s for a in json_file["annotations"] for s in a["segments_info"]]
    assert segments
    assert all(0 <= s["score"] <= 1 and s["category_id"] in range(100, 42, -3) for s in segments)
    truth, predicted = open_dataset(str(coco_folder)), open_dataset(str(tmp_path / "predictions"))
    scorer = Scorer(truth.classes, truth.truth)
    for k in range(4):
        scorer.add(predicted.label(k), truth.label(k))
    again = scorer.result()
    assert again["panoptic"]["all"] == pytest.approx(result["panoptic"]["all"])
    assert again["mask_ap"] == pytest.approx(result["mask_ap"], abs=1e-3)


def test_earlier_predictions_are_not_mixed_with_new_ones(
        model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "predictions").mkdir()
    assert main(["--model", str(model_folder), "--data", CITY, "--out", str(tmp_path), "--predictions"]) == 2
    assert "has predictions already" in capsys.readouterr().err


def test_images_without_a_time_follow_each_other_at_10_hz(coco_folder: Path) -> None:
    examples = list(read_ahead(open_dataset(str(coco_folder), video=True), range(4), 0))
    assert [e.stamp_ns for e in examples] == [k * UNKNOWN_INTERVAL_NS for k in range(4)]
    assert [e.starts_sequence for e in examples] == [True, False, False, False]


def test_images_alone_all_begin_anew(coco_folder: Path) -> None:
    assert all(e.starts_sequence for e in read_ahead(open_dataset(str(coco_folder)), range(4), 0))


@pytest.mark.parametrize("workers", [0, 1])
def test_images_are_read_in_the_order_that_was_asked_for(coco_folder: Path, workers: int) -> None:
    dataset = open_dataset(str(coco_folder))
    examples = list(read_ahead(dataset, [3, 1], workers))
    assert [e.row for e in examples] == [3, 1]
    for example in examples:
        assert np.array_equal(example.image, dataset.image(example.row))
        assert np.array_equal(example.truth.segment_map, dataset.label(example.row).segment_map)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_image_that_cannot_be_read_ends_with_its_name(
        model_folder: Path, coco_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        workers: str) -> None:
    folder = shutil.copytree(coco_folder, tmp_path / "data")
    (folder / "images" / "shot2.png").write_bytes(b"no image")
    assert main(["--model", str(model_folder), "--data", str(folder), "--engine", "torch",
                 "--workers", workers]) == 2
    error = capsys.readouterr().err
    assert "shot2.png" in error
    assert "Traceback" not in error


def test_a_worse_result_than_another_is_exit_status_1(
        model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = evaluation(tmp_path, model_folder, CITY, "--limit", "1")
    command = ["--model", str(model_folder), "--data", CITY, "--limit", "1", "--engine", "torch", "--compare"]
    assert main([*command, str(tmp_path / "evaluation.json")]) == 0
    better = tmp_path / "better.json"
    better.write_text(json.dumps({**result, "miou": result["miou"] + 0.02}))
    assert main([*command, str(better)]) == 1
    assert "miou" in capsys.readouterr().out
    assert main([*command, str(better), "--tolerance", "0.05"]) == 0


@pytest.mark.parametrize(("options", "words"), [
    (["--data", "nowhere"], "nowhere"), (["--data", CITY, "--limit", "0"], "--limit is 0"),
    (["--data", CITY, "--predictions"], "--predictions needs --out"),
    (["--data", CITY, "--tolerance", "0.1"], "--tolerance goes with --compare"),
    (["--data", CITY, "--scales", "0"], "scales are"), (["--data", CITY, "--compare", "nowhere.json"], "nowhere.json"),
])
def test_what_cannot_be_done_is_said_in_words(
        model_folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert main(["--model", str(model_folder), *options]) == 2
    assert words in capsys.readouterr().err


def test_mean_iou_is_that_of_the_likeliest_class_of_every_pixel_not_of_the_segments(
        model_folder: Path, city_result: dict[str, Any]) -> None:
    dataset = open_dataset(CITY)
    perception = Perception(load_model(model_folder), "torch", "cpu", with_semantics=True)
    found: list[PanopticLabel] = []
    for k in range(len(dataset)):
        frame = perception(dataset.image(k))
        assert frame.semantics is not None
        found.append(PanopticLabel.of_frame(frame))
    results = []
    for predictions in (found, [dataclasses.replace(one, semantics=None) for one in found],
                        [PanopticLabel.of_maps(one.class_map()) for one in found]):
        scorer = Scorer(dataset.classes, dataset.truth)
        for k, predicted in enumerate(predictions):
            scorer.add(predicted, dataset.label(k))
        results.append(scorer.result()["miou"])
    assert city_result["miou"] == pytest.approx(results[0])
    assert results[0] == pytest.approx(results[2])
    assert results[0] != pytest.approx(results[1])
