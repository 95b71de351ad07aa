"""Initialisation of a run's network: random, ImageNet's backbone, another model's backbone, or a whole model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.methods import METHODS
from panoptic_ros.model import Model, load_model

from .objectives import OBJECTIVES, Objective
from .pretrained import pretrained_weights, unavailable
from .recipe import Recipe


@dataclass(frozen=True)
class InitialState:
    """The objective that a run starts from, with the network in it, and the input normalisation of its weights.

    mean, std: RGB, 0 to 1.
    new_layers: parameters of the head that initial_model did not have, which are random.
    """

    objective: Objective
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    new_layers: tuple[str, ...] = ()


def initial_state(recipe: Recipe, classes: ClassTable, initial_model: str = "") -> InitialState:
    """Make a recipe's objective with initialised weights.

    initial_model: to initialise from in place of what the recipe says: the model of the stage before.
    Raises InputError where the model to initialise from does not fit, or weights cannot be had.
    """
    torch.manual_seed(recipe.seed)
    objective = OBJECTIVES[recipe.method](_network(recipe, classes, bool(initial_model)), recipe.objective, classes)
    objective.initialise(recipe.seed)
    network = objective.network
    if path := initial_model or recipe.initial_model:
        initial = load_model(path)
        return InitialState(objective, initial.mean, initial.std, _take_model(network, initial, recipe, path))
    if recipe.initial_backbone:
        initial = load_model(recipe.initial_backbone)
        try:
            network.backbone.load_state_dict(initial.network.backbone.state_dict())
        except RuntimeError as error:
            raise InputError(f"initial_backbone {recipe.initial_backbone} has another backbone than the recipe's: "
                             f"{error}") from error
        return InitialState(objective, initial.mean, initial.std)
    return InitialState(objective, network.mean, network.std)


def _network(recipe: Recipe, classes: ClassTable, has_weights: bool) -> Any:
    method = METHODS[recipe.method]
    if not recipe.pretrained or has_weights:
        return method.network(recipe.hyperparameters, classes.is_thing)
    backbone = getattr(recipe.hyperparameters, "backbone", None)
    if backbone is None:
        return method.network(recipe.hyperparameters, classes.is_thing, True)  # which says what to do instead
    weights = pretrained_weights(backbone)
    try:
        return method.network(recipe.hyperparameters, classes.is_thing, weights)
    except InputError:
        raise
    except Exception as error:  # whatever the hub's client raises
        raise unavailable(backbone, error) from error


def _take_model(network: Any, initial: Model, recipe: Recipe, path: str) -> tuple[str, ...]:
    """Load a model's weights into the network; returns the names of the parameters that the model does not have."""
    theirs, ours = initial.network.state_dict(), network.state_dict()
    wrong = next((name for name in theirs.keys() & ours.keys() if theirs[name].shape != ours[name].shape), None)
    missing = sorted(name for name in ours.keys() - theirs.keys() if not name.endswith("num_batches_tracked"))
    backbones = [{name for name in names if name.startswith("backbone.")} for names in (theirs, ours)]
    if initial.method != recipe.method or wrong or backbones[0] != backbones[1]:
        why = (f"it is of the method {initial.method}" if initial.method != recipe.method else
               f"its backbone is {getattr(initial.hyperparameters, 'backbone', 'another')}"
               if backbones[0] != backbones[1] else f"{wrong} is {tuple(theirs[wrong or ''].shape)}, here "
               f"{tuple(ours[wrong or ''].shape)}: other hyper-parameters or another number of classes")
        raise InputError(f"initial_model {path} does not fit the recipe: {why}; start from its backbone alone "
                         "(initial_backbone), or give the recipe the model's hyper-parameters and classes")
    network.load_state_dict(theirs, strict=False)
    return tuple(missing)
