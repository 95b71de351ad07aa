"""Test-time augmentation: a network's outputs averaged over mirrored and resized views of the image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.engines import Engine
from panoptic_ros.errors import InputError

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


# For each method, how each of its output maps (B, ., h, w) is averaged. Maps that change with the view by more than
# their place (offsets, which a mirror turns round and a scale stretches) would have to say here how.
AVERAGES: dict[str, dict[str, Callable[[Tensor, int], Tensor]]] = {
    "hle": {"embedding": direction, "class_embedding": direction, "class_logits": mean, "log_sigma": mean,
            "seed": mean, "spatial_log_sigma": mean},
}
# Logarithms of lengths in pixels: where a view is larger, so are they.
LOGARITHMS_OF_LENGTHS = {"spatial_log_sigma"}


class AveragedViews:
    """An engine that is called like another one (see `panoptic_ros.engines.Engine`) and asks it about several views."""

    def __init__(self, engine: Engine, method: str, views: TestTime) -> None:
        """Raises InputError for a method whose outputs nobody has said how to average."""
        if method not in AVERAGES:
            raise InputError(f"test-time augmentation is not made for '{method}', but for: {', '.join(AVERAGES)}")
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self._engine, self._averages, self._views = engine, AVERAGES[method], views

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """The outputs for an image (B, 3, H, W), as the engine gives them for this size.

        Maps are brought back to the grid that H x W has without scaling, summed over the views and averaged;
        parameters of the network among the outputs, which do not depend on the image, are taken from the first view.
        Raises InputError for a map that AVERAGES does not have.
        """
        totals: dict[str, Tensor] = {}
        count = 0
        for view, mirrored in self._views_of(image):
            for name, output in self._engine(view).items():
                if name in self._averages and output.dim() == 4:
                    if name in LOGARITHMS_OF_LENGTHS:
                        output = output - math.log(view.shape[2] / image.shape[2])
                    output = _brought_back(output, view, image, mirrored)
                    totals[name] = totals[name] + output if name in totals else output
                elif output.dim() < 4:
                    totals.setdefault(name, output)
                else:
                    raise InputError(f"test-time augmentation does not know how to average the map '{name}'")
            count += 1
        return {name: self._averages[name](total, count) if total.dim() == 4 else total
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
