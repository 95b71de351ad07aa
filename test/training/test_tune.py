"""Tuning the decode on images that no training sees."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from panoptic_ros.datasets import Truth, open_dataset
from panoptic_ros.errors import InputError
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception
from training import evaluate
from training.tune import main, quality, search, tuning_images

CITY = "city:500x2@64x128"


@torch.inference_mode()
def test_the_search_finds_thresholds_that_explain_the_truth(model_folder: Path) -> None:
    perception = Perception(load_model(model_folder), "torch", "cpu")
    model = perception.model
    images = tuning_images(perception, open_dataset(CITY), 1, 0)
    [example] = images.examples
    # The truth is what this network says with some thresholds; the search begins at others, where all is void.
    decoded = model.decode(example.outputs, model.thresholds, (64, 128))
    truth = PanopticLabel.of(decoded.segment_map[0].numpy(), decoded.segments[0].class_id.numpy())
    images = dataclasses.replace(images, examples=[dataclasses.replace(example, truth=truth)])
    lost = dataclasses.replace(model, thresholds=dataclasses.replace(model.thresholds, seed=0.99, stuff=0.99))
    assert quality(model, model.thresholds, images) == 1
    assert quality(lost, lost.thresholds, images) == 0
    best = search(lost, images, trials=40)
    assert quality(model, best, images) > 0.2
    assert best.max_instances == lost.thresholds.max_instances  # not among what is searched


@torch.inference_mode()
def test_things_that_are_mostly_wrong_cost_what_precision_they_lack(model_folder: Path) -> None:
    perception = Perception(load_model(model_folder), "torch", "cpu")
    model = perception.model
    images = tuning_images(perception, open_dataset(CITY), 2, 0, follow=False)
    # A network without training finds things, and none of them is right.
    found = dataclasses.replace(model.thresholds, seed=0.01, stuff=0.99)
    nothing = dataclasses.replace(model.thresholds, seed=0.99, stuff=0.99)
    assert any(bool(model.decode(example.outputs, found, (64, 128)).segments[0].is_thing.any())
               for example in images.examples)
    assert quality(model, found, images, 0.6) == pytest.approx(quality(model, found, images) - 0.6)
    assert quality(model, nothing, images, 0.6) == quality(model, nothing, images)


@torch.inference_mode()
def test_where_the_truth_is_of_classes_alone_mean_iou_is_what_counts(model_folder: Path) -> None:
    perception = Perception(load_model(model_folder), "torch", "cpu")
    model = perception.model
    images = dataclasses.replace(tuning_images(perception, open_dataset(CITY), 1, 0),
                                 truth=frozenset({Truth.SEMANTIC}))
    [example] = images.examples
    decoded = model.decode(example.outputs, model.thresholds, (64, 128))
    found = PanopticLabel.of(decoded.segment_map[0].numpy(), decoded.segments[0].class_id.numpy())
    # Every instance is its own segment in one and all of a class are one in the other: no difference to classes.
    merged = dataclasses.replace(example, truth=PanopticLabel.of_maps(found.class_map()))
    assert quality(model, model.thresholds, dataclasses.replace(images, examples=[merged])) == 1


def test_a_precision_that_is_no_share_is_refused(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(model_folder), "--min_precision", "75"]) == 2
    assert "--min_precision is 75.0, a share from 0 to 1" in capsys.readouterr().err


def test_images_are_spread_over_the_dataset(model_folder: Path) -> None:
    dataset = open_dataset("city:500-501x4@64x128")
    perception = Perception(load_model(model_folder), "torch", "cpu")
    spread = tuning_images(perception, dataset, 4, 0, follow=False)
    for example, row in zip(spread.examples, (0, 2, 4, 6), strict=True):
        assert (example.truth.segment_map == dataset.label(row).segment_map).all()
    assert not spread.has_clips
    too_short = tuning_images(perception, open_dataset("city:500-501x3@64x128"), 4, 0)
    assert (len(too_short.examples), too_short.has_clips) == (4, False)


def test_where_objects_can_be_followed_images_are_consecutive(model_folder: Path) -> None:
    dataset = open_dataset("city:500-502x9@64x128")  # two clips of four in each, one image left
    clips = tuning_images(Perception(load_model(model_folder), "torch", "cpu"), dataset, 11, 0)
    assert clips.has_clips
    assert [example.clip for example in clips.examples] == ["clip 0"] * 4 + ["clip 1"] * 4
    rows = [0, 1, 2, 3, 13, 14, 15, 16]
    for example, row in zip(clips.examples, rows, strict=True):
        assert (example.truth.segment_map == dataset.label(row).segment_map).all()
        assert example.stamp_ns == dataset.entries[row].stamp_ns


@torch.inference_mode()
def test_following_objects_counts_as_much_as_finding_them(model_folder: Path) -> None:
    perception = Perception(load_model(model_folder), "torch", "cpu")
    model = perception.model
    images = tuning_images(perception, open_dataset(CITY.replace("x2", "x4")), 4, 0)
    first = images.examples[0]
    decoded = model.decode(first.outputs, model.thresholds, (64, 128))
    class_id, is_thing = decoded.segments[0].class_id.numpy(), decoded.segments[0].is_thing.numpy()
    assert is_thing.any()
    # A street that stands still: what this network says, four times, each thing with an id of its own.
    object_id = np.cumsum(is_thing) * is_thing
    truth = PanopticLabel.of(decoded.segment_map[0].numpy(), class_id, object_id)
    still = dataclasses.replace(images, examples=[
        dataclasses.replace(first, truth=truth, stamp_ns=example.stamp_ns) for example in images.examples])
    assert quality(model, model.thresholds, still) == 1
    other = [np.roll(object_id[is_thing], k) for k in range(4)]
    swapped = dataclasses.replace(still, examples=[
        dataclasses.replace(example, truth=dataclasses.replace(truth, object_id=_placed(ids, is_thing)))
        for example, ids in zip(still.examples, other, strict=True)])
    assert quality(model, model.thresholds, swapped) < 1
    assert quality(model, model.thresholds, dataclasses.replace(swapped, truth=frozenset({Truth.PANOPTIC}))) == 1


def _placed(ids: np.ndarray, is_thing: np.ndarray) -> np.ndarray:
    placed = np.zeros(len(is_thing), np.int64)
    placed[is_thing] = ids
    return placed


def test_the_command_writes_thresholds_and_what_the_evaluation_prints_into_the_model(
        model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    scored = "city:600x2@64x128"
    assert main(["--model", str(folder), "--data", CITY, "--images", "1", "--trials", "2", "--score", scored,
                 "--workers", "0"]) == 0
    table = capsys.readouterr().out.strip()
    text = yaml.safe_load((folder / "model.yaml").read_text())
    assert load_model(folder).training == text["training"]
    score = text["training"]["score"]
    assert score.pop("on") == f"{scored}, 2 images"
    assert evaluate.main(["--model", str(folder), "--data", scored, "--out", str(tmp_path), "--workers", "0"]) == 0
    assert capsys.readouterr().out.strip() == table
    result = json.loads((tmp_path / "evaluation.json").read_text())
    expected = {"pq": result["panoptic"]["all"]["pq"], "pq_things": result["panoptic"]["things"]["pq"],
                "pq_stuff": result["panoptic"]["stuff"]["pq"], "miou": result["miou"], "stq": result["stq"]["stq"]}
    assert score == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(("options", "words"), [
    (["--model", "nowhere"], "no model folder 'nowhere'"), (["--data", "nowhere"], "there is no 'nowhere'"),
    (["--score", "nowhere"], "there is no 'nowhere'")])
def test_what_is_not_there_is_an_error_in_words(
        model_folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    assert main(["--model", str(model_folder), *options]) == 2
    assert words in capsys.readouterr().err


def test_a_truth_of_objects_alone_is_refused(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "0000.txt").write_text("")
    perception = Perception(load_model(model_folder), "torch", "cpu")
    with pytest.raises(InputError, match="a class for every pixel"):
        tuning_images(perception, open_dataset(str(tmp_path / "0000.txt")), 1, 0)
