"""Test-time augmentation of an engine: its outputs averaged over mirrored and resized copies of the image.

How outputs are averaged is the method's, see `panoptic_ros.methods.AugmentedNetwork`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from panoptic_ros.engines import Engine
from panoptic_ros.errors import InputError
from panoptic_ros.methods import METHODS

LARGEST_SCALE = 4.0


@dataclass(frozen=True)
class TestTime:
    """Settings of test-time augmentation: the image at each of the `scales`, and with `flip` its mirror images too.

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


class AugmentedEngine:
    """An engine (see `panoptic_ros.engines.Engine`) that averages another one's outputs for copies of the image."""

    def __init__(self, engine: Engine, method: str, settings: TestTime, stride: int) -> None:
        """stride: of the network. Raises InputError for a method without test-time augmentation."""
        ways = {name: way for name, row in METHODS.items() if (way := row.test_time_augmentation)}
        if method not in ways:
            raise InputError(f"test-time augmentation is not made for '{method}', but for: "
                             f"{', '.join(sorted(ways))}")
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self._engine, self._augmented, self._settings = engine, ways[method], settings
        self._stride = stride

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """The outputs for an image (B, 3, H, W), as the engine gives them for this size, averaged over the copies.

        Raises InputError for scales that the method cannot average.
        """
        return self._augmented(self._engine, image, self._settings.scales, self._settings.flip, self._stride)
