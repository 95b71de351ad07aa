"""Recipes: what a YAML file and the command line make of the defaults."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from panoptic_ros.errors import InputError
from panoptic_ros.methods import hle
from panoptic_ros.model import load_model
from training.objectives.hle import Settings
from training.recipe import Recipe, load_recipe, load_stages
from training.train import main

FOLDER = Path(__file__).parents[2] / "training" / "recipes"
# Those of methods; beside the folders lie bases that several have in common.
RECIPES = sorted(FOLDER.glob("*/**/*.yaml"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_every_recipe_in_the_repository_can_be_read_and_written(file: Path, tmp_path: Path) -> None:
    for recipe in load_stages(file).values():
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
    ("average: 0.9", "average is ema_decay now"),
    ("accumulate: 2", "accumulate is grad_accum_steps now"),
    ("optimiser: {clip: 5}", "optimiser.clip is optimiser.max_grad_norm now"),
    ("optimiser: {backbone_rate: 0.1}", "optimiser.backbone_rate is optimiser.backbone_multiplier now"),
    ("method: dense_detections\nobjective: {largest: [1, 2, 3, 4]}",
     "objective.largest is objective.regression_ranges now"),
    ("method: dense_detections\nobjective: {prior: 0.1}", "objective.prior is objective.prior_prob now"),
    ("method: dense_detections\nhyperparameters: {depth: 2}",
     "hyperparameters.depth is hyperparameters.tower_depth now"),
])
def test_a_key_of_an_earlier_version_is_named_with_its_new_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InputError, match=f"r.yaml: {named}"):
        load_recipe(written(tmp_path, text))
    with pytest.raises(InputError, match="the command line: optimiser.clip is optimiser.max_grad_norm now"):
        load_recipe(written(tmp_path, ""), ["--optimiser.clip", "5"])


@pytest.mark.parametrize(("text", "named"), [
    ("steps: many", "steps"),
    ("schedule: {name: cubic}", "schedule.name"),
    ("augmentation: {crop: [16, 96]}", "both sides must be at least 32"),
    ("method: nothing", "'nothing' is not one of .*hle"),
    ("pretrained: true\ninitial_model: city", "names pretrained and initial_model"),
    ("steps: 0", "at least 1"),
    ("batch_size: 4\nclip_length: 3", "batch_size is 4; it must be a multiple of clip_length, 3"),
    ("steps: [", "is not YAML"),
    ("method: dense_detections\nclip_length: 2", "the loss of dense_detections does not use clips"),
    ("sampling: {policy: by_luck}", "sampling.policy"),
    ("sampling: {thing_scale: [2, 1]}", "two positive numbers that rise"),
    ("augmentation: {longest_side: 9, shortest_side: 9}", "not by both"),
    ("validation: {metric: luck}", "validation.metric is 'luck'; it must be one of pq,"),
    ("freeze: -1", "freeze is -1, a number of layers"),
    ("stages: [a, b]", "stages are names"),
    ("stages: {a: {stepz: 3}}", "stage a: unknown stepz; the nearest known one is steps"),
    ("stages: {a: {steps: 3}, b: {steps: 4}}", "has the stages a, b; one is expected"),
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


def test_a_stage_has_what_differs_from_the_rest_and_the_command_line_goes_for_all(tmp_path: Path) -> None:
    file = written(tmp_path, "objective: {seed: 3, gamma: 4}\nsteps: 7\nbatch_size: 2\n"
                             "stages: {small: {objective: {seed: 5}}, large: {steps: 9}}\n")
    stages = load_stages(file, ["--batch_size", "1"])
    assert list(stages) == ["small", "large"]
    assert stages["small"].objective == Settings(seed=5, gamma=4)
    assert stages["large"].objective == Settings(seed=3, gamma=4)
    assert [(stage.steps, stage.batch_size) for stage in stages.values()] == [(7, 1), (9, 1)]


def test_a_base_s_stages_can_be_changed_by_name_or_left_out(tmp_path: Path) -> None:
    stages = "steps: 7\nstages: {small: {batch_size: 2}, large: {batch_size: 1}}\n"
    written(tmp_path, stages).rename(tmp_path / "b.yaml")
    (tmp_path / "changed.yaml").write_text("base: b.yaml\nstages: {large: {steps: 3}}\n")
    (tmp_path / "alone.yaml").write_text("base: b.yaml\nstages: null\n")
    assert [stage.steps for stage in load_stages(tmp_path / "changed.yaml").values()] == [7, 3]
    assert load_recipe(tmp_path / "alone.yaml").steps == 7


def test_a_recipe_has_the_thresholds_that_its_model_is_validated_with(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, "thresholds: {seed: 0.7}\noptimiser: {multipliers: {class_mean: 50}}\n"))
    assert recipe.thresholds == hle.Thresholds(seed=0.7)
    assert recipe.optimiser.multipliers == {"class_mean": 50}
    with pytest.raises(InputError, match="unknown thresholds.seeds; the nearest known one is thresholds.seed"):
        load_recipe(written(tmp_path, "thresholds: {seeds: 0.7}\n"))


def test_a_universal_model_is_trained_by_a_recipe(street_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"method: universal\ndata: {{train: {street_folder}, validation: {street_folder}}}\n"
        "hyperparameters: {architecture: eomt, config: {hidden_size: 32, num_hidden_layers: 3, num_blocks: 2, "
        "num_attention_heads: 2, image_size: 64, patch_size: 16, num_queries: 8, train_num_points: 64}}\n"
        "thresholds: {rule: eomt}\ninput_size: [64, 128]\naugmentation: {crop: [64, 96]}\nsteps: 2\nbatch_size: 2\n"
        "validation: {images: 1}\n")
    command = ["--config", str(recipe), "--out", str(tmp_path / "run"), "--workers", "0", "--accelerator", "cpu"]
    assert main([*command, "--optimiser.layer_decay", "0.8"]) == 0
    model = load_model(tmp_path / "run/model")
    assert model.hyperparameters.config["hidden_size"] == 32
    assert model.thresholds.rule == "eomt"
    assert main([*command[:3], str(tmp_path / "other"), *command[4:], "--pretrained", "true"]) == 2
