"""Recipes: what a YAML file and the command line make of the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from panoptic_ros.errors import InputError
from panoptic_ros.methods import hle
from training.objectives.hle import Settings
from training.recipe import Recipe, load_recipe

FOLDER = Path(__file__).parents[2] / "training" / "recipes"
RECIPES = sorted(FOLDER.rglob("*.yaml"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_every_recipe_in_the_repository_can_be_read_and_written(file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(file)
    assert isinstance(recipe, Recipe)
    assert recipe.method == file.relative_to(FOLDER).parts[0]
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(recipe.plain()))
    assert load_recipe(tmp_path / "again.yaml") == recipe


def written(folder: Path, text: str) -> Path:
    (folder / "r.yaml").write_text("data: {train: city}\n" + text)
    return folder / "r.yaml"


def test_a_recipe_overrides_defaults_and_the_command_line_overrides_the_recipe(tmp_path: Path) -> None:
    file = written(tmp_path, "hyperparameters: {backbone: resnet50}\nobjective: {seed: 3}\nsteps: 7\n")
    recipe = load_recipe(file, ["--steps", "9", "--optimiser.learning_rate=0.5", "--augmentation.crop", "[64, 96]"])
    assert recipe.hyperparameters == hle.Hyperparameters("resnet50")
    assert recipe.objective == Settings(seed=3)
    assert recipe.steps == 9
    assert recipe.optimiser.learning_rate == 0.5
    assert recipe.augmentation.crop == (64, 96)


@pytest.mark.parametrize(("text", "named"), [
    ("stepz: 4", "unknown stepz; the nearest known one is steps"),
    ("hyperparameters: {backbon: x}", "unknown hyperparameters.backbon; the nearest known one is "
                                      "hyperparameters.backbone"),
    ("objective: {gama: 4}", "unknown objective.gama; the nearest known one is objective.gamma"),
    ("learning_rate: 4", "unknown learning_rate; the nearest known one is optimiser.learning_rate"),
])
def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        load_recipe(written(tmp_path, text))


@pytest.mark.parametrize(("text", "named"), [
    ("steps: many", "steps"),
    ("schedule: {name: cubic}", "schedule.name"),
    ("augmentation: {crop: [100, 96]}", "multiples of 32"),
    ("method: nothing", "'nothing' is not one of .*hle"),
    ("pretrained: true\ninitial_model: city", "names pretrained and initial_model"),
    ("steps: 0", "at least 1"),
    ("batch_size: 4\nclip_length: 3", "batch_size is 4; it must be a multiple of clip_length, 3"),
    ("steps: [", "is not YAML"),
])
def test_a_wrong_value_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        load_recipe(written(tmp_path, text))
    assert "r.yaml" in str(caught.value)


def test_a_recipe_changes_some_keys_of_its_base(tmp_path: Path) -> None:
    written(tmp_path, "objective: {seed: 3, gamma: 4}\nsteps: 7\n").rename(tmp_path / "first.yaml")
    (tmp_path / "second.yaml").write_text("base: first.yaml\nobjective: {seed: 5}\n")
    recipe = load_recipe(tmp_path / "second.yaml")
    assert recipe.objective == Settings(seed=5, gamma=4)
    assert recipe.steps == 7


def test_training_data_must_be_named(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("steps: 3\n")
    with pytest.raises(InputError, match="data.train"):
        load_recipe(tmp_path / "r.yaml")
