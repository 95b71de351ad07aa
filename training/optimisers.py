"""Optimisers: parameter groups by learning rate and weight decay, layer-wise decay, frozen layers and BatchNorm."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import islice
from typing import Any

import torch
from torch import nn

from panoptic_ros.errors import InputError

from .recipe import Optimiser


def make_optimiser(settings: Optimiser, network: Any) -> torch.optim.Optimizer:
    """The optimiser, with a parameter group for each learning rate and weight decay.

    A group's `rate` multiplies the learning rate of the schedule. network: a `panoptic_ros.methods.Network`; its last
    layer, the head, has the full learning rate. Vectors and scalars (biases, normalisations) and what its
    `no_weight_decay` names have no weight decay.
    """
    layers = list(network.layers().values())
    rates = {name: settings.backbone_multiplier * settings.layer_decay ** (len(layers) - 1 - i)
             for i, names in enumerate(layers[:-1]) for name in names}
    no_decay = network.no_weight_decay()
    names = [name for name, _ in network.named_parameters()]
    if unknown := [prefix for prefix in settings.multipliers if not any(name.startswith(prefix) for name in names)]:
        raise InputError(f"optimiser.multipliers names {unknown[0]}, with which no parameter begins; the network has "
                         f"{', '.join(dict.fromkeys(name.split('.')[0] for name in names))}")
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and name not in no_decay
            rate = rates.get(name, 1.0) * math.prod(
                factor for prefix, factor in settings.multipliers.items() if name.startswith(prefix))
            groups[rate, settings.weight_decay if decays else 0.0].append(parameter)
    rows: list[dict[str, Any]] = [{"params": parameters, "weight_decay": decay, "rate": rate,
                                   "lr": settings.learning_rate * rate}
                                  for (rate, decay), parameters in groups.items()]
    if settings.name == "sgd":
        return torch.optim.SGD(rows, momentum=settings.momentum, nesterov=settings.momentum > 0)
    return torch.optim.AdamW(rows)


def freeze_layers(network: Any, count: int) -> None:
    """Freeze the first `count` layers of the network: no gradient, and BatchNorm as in evaluation.

    To be called after any `.train()`. Raises InputError where there are not so many below the head.
    """
    layers = network.layers()
    if count >= len(layers):
        raise InputError(f"freeze is {count}, but there are {len(layers) - 1} layers below the head: "
                         f"{', '.join(list(layers)[:-1])}")
    frozen = {name for names in islice(layers.values(), count) for name in names}
    for name, module in network.named_modules():
        own = {f"{name}.{leaf}" for leaf, _ in module.named_parameters(recurse=False)}
        if own and own <= frozen:
            module.eval()
    for name, parameter in network.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)


def freeze_batch_norm(network: Any) -> None:
    """Freeze the statistics and parameters of the backbone's BatchNorm; to be called after any `.train()`."""
    for module in network.backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad_(False)
