"""A run's network as a model, with what it was trained on and what it scored."""

from __future__ import annotations

from typing import Any

from panoptic_ros.classes import ClassTable
from panoptic_ros.methods import METHODS
from panoptic_ros.model import Model

from .recipe import Recipe


def trained_model(network: Any, recipe: Recipe, classes: ClassTable, mean: tuple[float, float, float],
                  std: tuple[float, float, float], data: str, step: int, processes: int) -> Model:
    """The model after so many steps, with the recipe's thresholds.

    data: name of the training data. mean, std: input normalisation, RGB from 0 to 1.
    """
    seen = step * recipe.batch_size * recipe.grad_accum_steps * processes
    height, width = recipe.augmentation.crop
    training: dict[str, Any] = {"data": f"{data}, {seen} crops of {height} x {width}", "steps": step,
                                "recipe": recipe.plain()}
    if recipe.test_time:
        training["test_time"] = recipe.test_time
    return Model(recipe.method, recipe.hyperparameters, network, classes, recipe.input_size, mean, std,
                 recipe.thresholds or METHODS[recipe.method].thresholds(), "", training)


def with_scores(training: dict[str, Any], scores: dict[str, float], data: str, images: int) -> dict[str, Any]:
    """A model's `training` entry with what a validation gave."""
    return {**training, "score": {**{name: round(value, 4) for name, value in scores.items()},
                                  "on": f"{data}, {images} images, the recipe's thresholds"}}
