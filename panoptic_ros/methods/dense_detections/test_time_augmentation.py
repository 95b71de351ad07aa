"""Test-time augmentation of dense detections: outputs averaged over an image and its mirror image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from panoptic_ros.errors import InputError
from panoptic_ros.networks.feature_pyramid import STRIDES, level_sizes
from panoptic_ros.networks.test_time_augmentation import AugmentedOutputs, augmented

MAPS = ("semantic_logits", "levelness", "appearance")  # the other outputs are lists of the locations of all levels


def test_time_augmentation(network: Callable[[Tensor], dict[str, Tensor]], image: Tensor, scales: Sequence[float],
                           flip: bool, stride: int) -> dict[str, Tensor]:
    """See `panoptic_ros.methods.AugmentedNetwork`.

    Raises InputError for scales: at another scale an object is detected at another pyramid level, so that outputs of
    several scales cannot be averaged level by level.
    """
    if tuple(scales) != (1.0,):
        raise InputError(f"scales are {list(scales)}, but dense detections find objects of another size at another "
                         "level of the pyramid: they take flip alone")
    plain, *mirrored = augmented(network, image, scales, flip, stride, STRIDES[-1])
    return _mean(plain.outputs, mirrored[0]) if mirrored else plain.outputs


def _mean(plain: dict[str, Tensor], mirrored: AugmentedOutputs) -> dict[str, Tensor]:
    """The mean over both of each map, and of each list over the locations of all levels."""
    means = {}
    for name, output in plain.items():
        if name in MAPS:
            means[name] = (output + mirrored.unmirrored(mirrored.outputs[name], output.shape[3])) / 2
            continue
        parts = []
        for own, other in zip(_level_maps(output, plain), _level_maps(mirrored.outputs[name], mirrored.outputs),
                              strict=True):
            turned = mirrored.unmirrored(other, own.shape[3])
            if name == "offsets":
                turned = turned[:, [2, 1, 0, 3]]  # the side on the left is on the right in the mirror
            parts.append((own + turned).flatten(2) / 2)
        means[name] = torch.cat(parts, 2).view(output.shape)
    return means


def _level_maps(output: Tensor, outputs: dict[str, Tensor]) -> list[Tensor]:
    """Of all `outputs` one (B, L) or (B, D, L) at the locations of all levels -> a map (B, 1 or D, h, w) of each."""
    sizes = level_sizes(*outputs["semantic_logits"].shape[2:])  # they have the first level's size
    output = output.view(len(output), -1, output.shape[-1])
    parts = output.split([rows * columns for rows, columns in sizes], 2)
    return [part.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]
