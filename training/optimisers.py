"""Which parameters learn how fast: groups for the optimiser, decay by layer, frozen and synchronised BatchNorm."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import nn

from training.recipe import Optimiser

# Parts of a timm encoder that hold its layers one by one.
_STACKS = ("blocks", "stages", "layers", "features")


def make_optimiser(settings: Optimiser, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser, with a group of parameters for each rate and decay; a group's `rate` multiplies the schedule's.

    Vectors and scalars (biases, normalisations) and the parameters of an embedding space, which the network lists in
    `undecayed`, are not decayed.
    """
    layers = backbone_layers(network)
    depth = max(layers.values(), default=0)
    undecayed = set(getattr(network, "undecayed", ()))
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = 1.0
            if name in layers:
                rate = settings.backbone_rate * settings.layer_decay ** (depth + 1 - layers[name])
            decays = parameter.ndim > 1 and name not in undecayed
            groups[rate, settings.weight_decay if decays else 0.0].append(parameter)
    rows: list[dict[str, Any]] = [{"params": parameters, "weight_decay": decay, "rate": rate,
                                   "lr": settings.learning_rate * rate}
                                  for (rate, decay), parameters in groups.items()]
    if settings.name == "sgd":
        return torch.optim.SGD(rows, momentum=settings.momentum, nesterov=settings.momentum > 0)
    return torch.optim.AdamW(rows)


def backbone_layers(network: nn.Module) -> dict[str, int]:
    """The layer of each parameter of `network.backbone`, counted from 0 at the image.

    A layer is a block or stage of timm's encoders, or what stands before the first of them.
    """
    numbers: dict[str, int] = {}
    layers = {}
    for name, _ in network.named_parameters():
        if name.startswith("backbone."):
            parts = name.removeprefix("backbone.").removeprefix("encoder.").split(".")
            layer = ".".join(parts[:2]) if parts[0] in _STACKS else parts[0]
            # The stem's convolution and normalisation are one layer.
            is_stem = not (parts[0].startswith(("layer", "stages", "blocks", "features")))
            layer = "stem" if is_stem and len(numbers) <= 1 else layer
            layers[name] = numbers.setdefault(layer, len(numbers))
    return layers


def freeze_batch_norm(network: nn.Module) -> None:
    """Statistics, scales and shifts of the backbone's BatchNorm stay as they are; to be called after any `.train()`."""
    for module in network.get_submodule("backbone").modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad_(False)
