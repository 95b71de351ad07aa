"""What tests of several metrics share: labels drawn with letters, a sequence that was scored by others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from panoptic_ros.labels import PanopticLabel


@pytest.fixture
def draw() -> Callable[..., PanopticLabel]:
    """draw("aab .cc", a=(class, object id), c=(class, object id, is crowd)): a space ends a row, the rest is void."""
    def draw(text: str, **segments: tuple[int, ...]) -> PanopticLabel:
        pixels = np.array([list(row) for row in text.split()])
        names = [name for name in segments if (pixels == name).any()]
        segment_map = np.zeros(pixels.shape, np.int32)
        for k, name in enumerate(names):
            segment_map[pixels == name] = k + 1
        return PanopticLabel.of(segment_map, [segments[n][0] for n in names], [segments[n][1] for n in names],
                                [len(segments[n]) > 2 and bool(segments[n][2]) for n in names])
    return draw


@pytest.fixture
def totals(request: pytest.FixtureRequest) -> Callable[[Iterable[Sequence[PanopticLabel]]], Any]:
    """totals([(prediction, truth), ...]): those of a sequence, by the METRIC of the test's module."""
    def totals(pairs: Iterable[Sequence[PanopticLabel]]) -> Any:
        metric = request.module.METRIC(request.module.IS_THING)
        for predicted, truth in pairs:
            metric.add(predicted, truth)
        return metric.totals()
    return totals


@pytest.fixture
def score(request: pytest.FixtureRequest, draw: Callable[..., PanopticLabel],
          totals: Callable[..., Any]) -> Callable[..., dict[str, float]]:
    """score(("aab", "abb"), ...): the result of images (prediction, truth) drawn with the NAMES of the module."""
    return lambda *images: totals([[draw(text, **request.module.NAMES) for text in image] for image in images]).result()


@pytest.fixture
def crossing() -> list[tuple[PanopticLabel, PanopticLabel]]:
    """14 images (prediction, truth) of 7 tracks of classes 0 and 1 that cross, with all kinds of errors.

    By arithmetic alone, so that it is the same everywhere: trackeval 1.3.0 and mots_tools have scored it.
    """
    sequence = []
    for t in range(14):
        truth, predicted = np.zeros((2, 34, 54), np.int64)
        predicted[2:9, 36:44] = 109 + t // 5  # in parts on ignored pixels
        for k in range(7):
            y, x = 3 * k + (t * (k - 3)) // 4, 4 + 5 * k + (t * (3 - k)) // 2
            kind, height, width = k % 2, 9 + k % 3, 10 + (k * 2) % 5
            if t < 10 + k and not (k == 4 and t in (5, 6)):
                truth[max(y, 0):y + height, max(x, 0):x + width] = 100 * kind + k + 1
            if (t * 5 + k * 3) % 11 > 1:
                shift_y, shift_x = (t * k) % 3 - 1, (t + k) % 2
                track = 20 + k if k in (1, 2, 5) and t > 6 else 2 if k == 4 and t % 6 == 5 else k + 1
                kind = 1 - kind if (t + k) % 13 == 7 else kind
                predicted[max(y + shift_y, 0):y + shift_y + height, max(x + shift_x, 0):x + shift_x + width] = (
                    100 * kind + track)
        void = np.zeros(truth.shape, bool)
        void[:12, 30:41] = truth[:12, 30:41] == 0
        sequence.append((_of_numbers(predicted, np.zeros(truth.shape, bool)), _of_numbers(truth, void)))
    return sequence


def _of_numbers(numbers: np.ndarray, void: np.ndarray) -> PanopticLabel:
    """Pixels are 100 x class + object id, 0 = background of no class."""
    values, index = np.unique(numbers, return_inverse=True)
    segment_map = np.where(void, 0, index.reshape(numbers.shape) + 1)
    return PanopticLabel.of(segment_map, np.where(values == 0, -1, values // 100), values % 100)
