"""A few real steps of training on the synthetic city."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from panoptic_ros.errors import InputError
from panoptic_ros.methods import hle
from panoptic_ros.model import load_model
from training.objectives.hle import Weights
from training.sampling import CitySamples
from training.train import Recipe, learning_rate, load_recipe, train, train_step

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
TINY = Recipe(hle.Hyperparameters("mobilenetv2_050", output_stride=32, atrous_rates=(1,), decoder_channels=16),
              input_size=(64, 128), crop=(64, 96), batch_size=2, steps=4, warm_up=1, precision="float32")


def test_every_recipe_in_the_repository_can_be_read() -> None:
    recipes = sorted(RECIPES.glob("*/*.yaml"))
    assert recipes
    for recipe in recipes:
        assert isinstance(load_recipe(recipe), Recipe)


def test_a_recipe_overrides_defaults_and_keeps_the_others(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("hyperparameters: {backbone: resnet50}\ncrop: [64, 64]\nweights: {seed: 3}\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.hyperparameters == hle.Hyperparameters("resnet50")
    assert recipe.crop == (64, 64)
    assert recipe.weights == Weights(seed=3)


@pytest.mark.parametrize("text", ["stepz: 4", "hyperparameters: {stepz: 4}", "weights: {stepz: 4}"])
def test_an_unknown_key_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError, match="unknown stepz; known are"):
        load_recipe(tmp_path / "r.yaml")


def test_the_learning_rate_rises_and_falls() -> None:
    recipe = dataclasses.replace(TINY, learning_rate=1.0, warm_up=10, steps=100, power=1.0)
    assert learning_rate(recipe, 4) == pytest.approx(0.5 * 0.96)
    assert learning_rate(recipe, 50) == pytest.approx(0.5)
    assert learning_rate(recipe, 99) == pytest.approx(0.01)


def test_samples_are_crops_with_truth_and_the_same_each_time() -> None:
    samples = CitySamples((64, 96), (64, 128), (1.0, 1.5), 0.5)
    first = samples[5]
    assert first["image"].shape == (3, 64, 96)
    assert first["class_map"].shape == first["instance_map"].shape == (64, 96)
    things = first["class_map"][first["instance_map"] > 0]
    assert ((things >= 11) & (things <= 18)).all()
    samples[9]
    again = samples[5]
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["image"], samples[6]["image"])


def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    train(TINY, tmp_path / "whole", 0, cpu)

    def interrupted_at_step_2(*arguments: Any) -> dict[str, float]:
        if arguments[-1] == 2:
            raise KeyboardInterrupt
        return train_step(*arguments)

    monkeypatch.setattr("training.train.train_step", interrupted_at_step_2)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path / "parts", 0, cpu, checkpoint_minutes=0)
    monkeypatch.undo()
    train(TINY, tmp_path / "parts", 0, cpu)
    whole, parts = (load_model(tmp_path / run / "model") for run in ("whole", "parts"))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, parts.network.state_dict()[name]), name
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_a_loss_that_is_not_finite_stops_with_what_to_do(tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, weights=Weights(seed=float("nan")))
    with pytest.raises(InputError, match="not finite at step 0.*learning_rate"):
        train(recipe, tmp_path, 0, torch.device("cpu"))
