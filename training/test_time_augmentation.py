"""Test-time augmentation: a network's outputs averaged over mirrored and resized views of the image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.engines import Engine
from panoptic_ros.errors import InputError
from panoptic_ros.networks.feature_pyramid import STRIDES, level_sizes

# Networks take multiples of this (see `Model.input_shape`).
MULTIPLE = 32
LARGEST_SCALE = 4.0


@dataclass(frozen=True)
class TestTime:
    """Which views of an image are averaged: those at each of the `scales`, and with `flip` their mirror images too.

    A recipe, and with it a model's `training` entry, names it `test_time`.
    """

    __test__ = False  # not a test, whatever its name begins with

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale <= LARGEST_SCALE for scale in self.scales):
            raise InputError(f"scales are {list(self.scales)}; at least one is needed, above 0 and up to "
                             f"{LARGEST_SCALE:g}")

    def __bool__(self) -> bool:
        """Whether there is anything to average or to resize."""
        return self.flip or self.scales != (1.0,)

    @staticmethod
    def of_training(training: dict[str, Any]) -> TestTime:
        """What the recipe that a model was trained with asks for; training: the entry of model.yaml."""
        asked = training.get("test_time") or {}
        try:
            if unknown := sorted(asked.keys() - {"flip", "scales"}):
                raise TypeError(f"unknown {', '.join(unknown)}")
            return TestTime(bool(asked.get("flip", False)), tuple(float(s) for s in asked.get("scales", (1.0,))))
        except (AttributeError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"model.yaml: test_time is {asked}; it has flip (true or false) and scales "
                             f"(a list of numbers); {error}") from error


def mean(total: Tensor, views: int) -> Tensor:
    """What is linear in the evidence, such as probabilities, logits and logarithms of deviations."""
    return total / views


def direction(total: Tensor, _: int) -> Tensor:
    """Vectors of unit length: the direction of their sum, (B, D, h, w)."""
    return F.normalize(total, dim=1)


# For each method, how each of its output maps (B, ., h, w) is averaged.
AVERAGES: dict[str, dict[str, Callable[[Tensor, int], Tensor]]] = {
    "hle": {"embedding": direction, "class_embedding": direction, "class_logits": mean, "log_sigma": mean,
            "seed": mean, "spatial_log_sigma": mean},
}
# Logarithms of lengths in pixels: where a view is larger, so are they.
LOGARITHMS_OF_LENGTHS = {"spatial_log_sigma"}
# Methods with outputs (B, [.,] L) at the locations of a pyramid's levels. Objects are found at the level of their size:
# what several scales say does not belong together, and these methods are averaged over mirror images alone.
WITH_LEVELS = {"dense_detections"}


class AveragedViews:
    """An engine that is called like another one (see `panoptic_ros.engines.Engine`) and asks it about several views."""

    def __init__(self, engine: Engine, method: str, views: TestTime) -> None:
        """Raises InputError for a method whose outputs nobody has said how to average, or not over scales."""
        if method not in (known := AVERAGES.keys() | WITH_LEVELS):
            raise InputError(f"test-time augmentation is not made for '{method}', but for: {', '.join(sorted(known))}")
        if method in WITH_LEVELS and views.scales != (1.0,):
            raise InputError(f"scales are {list(views.scales)}, but '{method}' finds objects of another size at "
                             "another level of its pyramid: it takes flip alone")
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self._engine, self._method, self._views = engine, method, views

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """The outputs for an image (B, 3, H, W), as the engine gives them for this size.

        Maps are brought back to the grid that H x W has without scaling, summed over the views and averaged;
        parameters of the network among the outputs, which do not depend on the image, are taken from the first view.
        Raises InputError for a map that AVERAGES does not have.
        """
        if self._method in WITH_LEVELS:
            return _mean_with_mirrored_levels(self._engine, image)
        averages = AVERAGES[self._method]
        totals: dict[str, Tensor] = {}
        count = 0
        for view, mirrored in self._views_of(image):
            for name, output in self._engine(view).items():
                if name in averages and output.dim() == 4:
                    if name in LOGARITHMS_OF_LENGTHS:
                        output = output - math.log(view.shape[2] / image.shape[2])
                    output = _brought_back(output, view, image, mirrored)
                    totals[name] = totals[name] + output if name in totals else output
                elif output.dim() < 4:
                    totals.setdefault(name, output)
                else:
                    raise InputError(f"test-time augmentation does not know how to average the map '{name}'")
            count += 1
        return {name: averages[name](total, count) if total.dim() == 4 else total
                for name, total in totals.items()}

    def _views_of(self, image: Tensor) -> Iterator[tuple[Tensor, bool]]:
        for scale in self._views.scales:
            size = tuple(MULTIPLE * max(1, round(side * scale / MULTIPLE)) for side in image.shape[2:])
            view = image if size == tuple(image.shape[2:]) else F.interpolate(
                image, size, mode="bilinear", align_corners=False, antialias=scale < 1)
            yield view, False
            if self._views.flip:
                yield view.flip(3), True


def _brought_back(output: Tensor, view: Tensor, image: Tensor, mirrored: bool) -> Tensor:
    """The map of a view on the grid, and the right way round, that the map of the image itself has."""
    if mirrored:
        output = output.flip(3)
    rows, columns = (side // places for side, places in zip(view.shape[2:], output.shape[2:], strict=True))
    grid = (image.shape[2] // rows, image.shape[3] // columns)
    if tuple(output.shape[2:]) == grid:
        return output
    return F.interpolate(output, grid, mode="bilinear", align_corners=False)


def _mean_with_mirrored_levels(engine: Engine, image: Tensor) -> dict[str, Tensor]:
    """The mean over an image and its mirror image, of maps and of what there is at the locations of all levels.

    The mirror image is continued to the left up to a multiple of the largest stride: so the locations in it are the
    mirrored ones, also of levels that the image's width does not fill.
    """
    mirror = F.pad(image.flip(3), (-image.shape[3] % STRIDES[-1], 0, 0, 0), mode="replicate")
    plain, mirrored = engine(image), engine(mirror)
    means = {}
    for name, output in plain.items():
        if output.dim() == 4:
            means[name] = (output + _unmirrored(mirrored[name], output.shape[3])) / 2
            continue
        parts = []
        for own, other in zip(_level_maps(output, plain), _level_maps(mirrored[name], mirrored), strict=True):
            turned = _unmirrored(other, own.shape[3])
            if name == "offsets":
                turned = turned[:, [2, 1, 0, 3]]  # the side on the left is on the right in the mirror
            parts.append((own + turned).flatten(2) / 2)
        means[name] = torch.cat(parts, 2).view(output.shape)
    return means


def _unmirrored(output: Tensor, columns: int) -> Tensor:
    """A map (B, ., h, w) of the mirror image the right way round, without the columns that continue the image."""
    return output.flip(3)[..., :columns]


def _level_maps(output: Tensor, outputs: dict[str, Tensor]) -> list[Tensor]:
    """Of all `outputs` one (B, L) or (B, D, L) at the locations of all levels -> a map (B, 1 or D, h, w) of each."""
    sizes = level_sizes(*outputs["semantic_logits"].shape[2:])  # they are at the places of the first level
    output = output.view(len(output), -1, output.shape[-1])
    parts = output.split([rows * columns for rows, columns in sizes], 2)
    return [part.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]
