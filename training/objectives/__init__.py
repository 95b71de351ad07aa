"""Targets and loss of each method: a module for each, and the table that names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.objectives import dense_detections, hle


@dataclass(frozen=True)
class Objective:
    """What the training loop needs to know of a method's loss.

    settings: frozen dataclass of weights and choices, the paper's as defaults.
    initialise: `initialise(network, settings, seed)` sets what the loss wants of a network that begins at random.
    loss: `loss(network, outputs, batch, is_thing (C,) bool, settings)` returns the terms as scalars by name, their
        weighted sum as `total`; batch holds class_map (B, H, W) with 255 = void, instance_map (B, H, W), 0 = none, and
        clip (B,): images of the same clip, which follow each other, have the same number for the same object.
    """

    settings: type
    initialise: Callable[..., None]
    loss: Callable[..., Any]


OBJECTIVES: dict[str, Objective] = {
    "dense_detections": Objective(dense_detections.Settings, dense_detections.initialise, dense_detections.loss),
    "hle": Objective(hle.Settings, hle.initialise, hle.loss),
}
