"""Objective: base class of the modules that hold a network, make its targets and compute its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from panoptic_ros.classes import ClassTable


class Objective(nn.Module):
    """Base of a method's objective: it holds the network, makes the targets, runs the network and returns the loss.

    Fabric wraps it as a whole, so that autocast and several processes need no special case; the network itself never
    sees the truth. A one-stage method overrides `loss`; one whose network needs targets on its way (proposals sampled
    with the truth) overrides `forward`.

    settings_type: frozen dataclass of weights and choices, the paper's as defaults.
    uses_clips: whether an object in several images of a clip is one instance to the loss (a recipe's `clip_length`).
    uses_depth: whether batches must have `depth` and `focal_length`.
    """

    settings_type: ClassVar[type]
    uses_clips: ClassVar[bool] = False
    uses_depth: bool = False

    def __init__(self, network: nn.Module, settings: Any, classes: ClassTable) -> None:
        super().__init__()
        self.network: Any = network
        self.settings, self.classes = settings, classes
        self.register_buffer("is_thing", torch.as_tensor(classes.thing_mask), persistent=False)
        self.is_thing: Tensor
        # Of the image and the network's outputs: the weighted term `distillation`, where there is a teacher.
        self.soft_loss: Callable[[Tensor, dict[str, Tensor]], Tensor] | None = None

    def initialise(self, seed: int) -> None:
        """Initialise parameters as the loss needs it, where the network has random weights."""

    def forward(self, image: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The terms of the loss as scalars by name, their weighted sum as `total`.

        image: (B, 3, h, w) float, normalised. batch: see `training.batches`.
        """
        outputs = self.network_outputs(image)
        # What follows the network is in single precision, whatever the network is trained in.
        with torch.autocast(image.device.type, enabled=False):
            outputs = {name: output.float() for name, output in outputs.items()}
            terms = self.loss(outputs, batch)
            if self.soft_loss is not None:
                soft = self.soft_loss(image, outputs)
                terms = {**terms, "total": terms["total"] + soft, "distillation": soft}
            return terms

    def network_outputs(self, image: Tensor) -> dict[str, Tensor]:
        """What `loss` takes: the network's outputs, and what a method needs in training alone."""
        outputs: dict[str, Tensor] = self.network(image)
        return outputs

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """The terms for what the network returned."""
        raise NotImplementedError


def weighted_total(terms: dict[str, Tensor], weights: dict[str, float]) -> dict[str, Tensor]:
    """The terms with their weighted sum `total`; a term without a weight has 1."""
    total = torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()
    return {"total": total, **terms}
