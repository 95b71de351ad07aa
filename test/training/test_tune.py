"""Tuning the decode on drives that no training sees."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml

from panoptic_ros.model import load_model
from training.tune import FIRST_TUNING_SEED, city_examples, main, panoptic_quality, score, search


def test_the_search_finds_thresholds_that_explain_the_truth(model_folder: Path) -> None:
    model = load_model(model_folder)
    with torch.inference_mode():
        [example, _] = city_examples(model, FIRST_TUNING_SEED, 1)
        # The truth is what this network says with some thresholds; the search begins at others, where all is void.
        maps, [segments] = model.decode(example.outputs, model.thresholds, example.truth_map.shape)
        example = dataclasses.replace(example, truth_map=maps[0].numpy(), truth_class=segments.class_id.numpy())
        lost = dataclasses.replace(model, thresholds=dataclasses.replace(model.thresholds, seed=0.99, stuff=0.99))
        assert panoptic_quality(score(lost, lost.thresholds, [example])) == 0
        best = search(lost, [example], trials=40)
        assert panoptic_quality(score(model, best, [example])) > 0.2


def test_the_command_writes_thresholds_and_score_into_the_model(
        model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    monkeypatch.setattr(sys, "argv", ["tune", "--model", str(folder), "--drives", "1", "--trials", "2"])
    assert main() == 0
    text = yaml.safe_load((folder / "model.yaml").read_text())
    assert 0 <= text["training"]["score"]["pq"] <= 1
    assert "1 unseen drives" in text["training"]["score"]["on"]
    assert load_model(folder).training == text["training"]
    assert "pq_things" in capsys.readouterr().out


def test_a_model_that_is_not_there_is_an_error_in_words(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["tune", "--model", "nowhere"])
    assert main() == 2
    assert "no model folder 'nowhere'" in capsys.readouterr().err
