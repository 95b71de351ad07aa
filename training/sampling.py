"""Sampling policies (uniform, CUS, ISUS): the image of a sample, and the class or instance that the crop contains."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from panoptic_ros.errors import InputError

from .augmentation import Augmentation, Focus
from .statistics import ImageStatistics

# A box of this side (pixels, square root of its area) is between the levels 1 and 2 of a feature pyramid whose level l
# takes sides of 224 x [2^(l - 2), 2^(l - 1)): Lin et al. 2017, Eq. 1, with levels counted from 0.
CANONICAL_SIDE = 224.0


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampling policy.

    policy: `uniform`: every image once an epoch. `class_uniform` (CUS; Rota Bulò et al. 2018): a class, each as likely
        as any other, an image that shows it, a crop that contains it. `instance_scale_uniform` (ISUS; Porzi et al.
        2021, section 2.1): the same, but for a thing class an instance and a level of the feature pyramid are drawn,
        and the image is resized so that the instance belongs to that level.
    levels: of the pyramid, for ISUS.
    thing_scale: the range to which ISUS clamps the factor that it resizes by (r_th); for stuff, and for the other
        policies, it is the augmentation's `scale` (r_st).
    """

    policy: Literal["uniform", "class_uniform", "instance_scale_uniform"] = "uniform"
    levels: int = 4
    thing_scale: tuple[float, float] = (0.25, 4.0)

    def __post_init__(self) -> None:
        if self.levels < 1 or not 0 < self.thing_scale[0] <= self.thing_scale[1]:
            raise InputError(f"sampling: levels is {self.levels}, at least 1; thing_scale is {list(self.thing_scale)}, "
                             "two positive numbers that rise")


class Draw(NamedTuple):
    """A drawn sample: `entry`, the first image of its clip; `focus`, and `focus_entry`, the image that shows it."""

    entry: int
    focus_entry: int
    focus: Focus | None


class Policy(Protocol):
    """Draws the clip of sample `index`; the same for the same index, whatever was drawn before."""

    def draw(self, index: int) -> Draw: ...


def make_policy(settings: Sampling, augmentation: Augmentation, starts: Sequence[int], clip_length: int,
                is_thing: np.ndarray, seed: int, statistics: Callable[[], ImageStatistics]) -> Policy:
    """The policy of a recipe.

    starts: entries that a clip may begin with, in order. is_thing: (C,) bool. statistics: makes or reads them; called
    where the policy needs them. Raises InputError for a dataset in which no class is seen.
    """
    if settings.policy == "uniform":
        return _Uniform(starts, seed)
    return _ClassUniform(settings, augmentation, starts, clip_length, is_thing, seed, statistics())


class _Uniform:
    """Every clip once an epoch, in another order each time."""

    def __init__(self, starts: Sequence[int], seed: int) -> None:
        self._starts, self._seed = starts, seed
        self._order: tuple[int, np.ndarray] | None = None

    def draw(self, index: int) -> Draw:
        epoch, position = divmod(index, len(self._starts))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self._seed, epoch)).permutation(self._starts)
        entry = int(self._order[1][position])
        return Draw(entry, entry, None)


class _ClassUniform:
    """CUS, and ISUS where the settings say so."""

    def __init__(self, settings: Sampling, augmentation: Augmentation, starts: Sequence[int], clip_length: int,
                 is_thing: np.ndarray, seed: int, statistics: ImageStatistics) -> None:
        self._settings, self._augmentation, self._seed, self._starts = settings, augmentation, seed, starts
        self._by_instance = settings.policy == "instance_scale_uniform"
        self._statistics = statistics
        images = len(statistics.pixels)
        start_of = np.array([starts[max(bisect_right(starts, entry) - 1, 0)] for entry in range(images)])
        covered = (start_of <= np.arange(images)) & (np.arange(images) < start_of + clip_length)
        shown = (statistics.pixels > 0) & covered[:, None]
        has_instance = np.zeros_like(shown)
        has_instance[statistics.entry, statistics.class_id] = True
        # A thing class whose objects are all crowds has no instance to be drawn.
        shown &= ~is_thing | has_instance if self._by_instance else True
        self._images_of = {k: np.flatnonzero(shown[:, k]) for k in np.flatnonzero(shown.any(0)).tolist()}
        if not self._images_of:
            raise InputError("no image shows a class to be sampled: is the truth void, or of another class table?")
        self._start_of, self._is_thing = start_of, is_thing
        self._first = np.searchsorted(statistics.entry, np.arange(images + 1))  # rows of each image's instances

    def draw(self, index: int) -> Draw:
        random = np.random.default_rng((self._seed, index))
        class_id = int(random.choice(list(self._images_of)))
        entry = int(random.choice(self._images_of[class_id]))
        focus = Focus(class_id)
        if self._by_instance and self._is_thing[class_id]:
            rows = np.arange(self._first[entry], self._first[entry + 1])
            row = int(random.choice(rows[self._statistics.class_id[rows] == class_id]))
            focus = Focus(class_id, int(self._statistics.number[row]), self._scale(row, random))
        return Draw(int(self._start_of[entry]), entry, focus)

    def _scale(self, row: int, random: np.random.Generator) -> float:
        """The factor that puts an instance into a random level, anywhere in its range."""
        x0, y0, x1, y1 = self._statistics.box[row].tolist()
        side = np.sqrt((x1 - x0) * (y1 - y0)) * self._augmentation.base_scale(
            *self._statistics.size[self._statistics.entry[row]].tolist())
        level = random.integers(self._settings.levels)
        target = CANONICAL_SIDE * 2 ** (level - 2 + random.random())
        return float(np.clip(target / side, *self._settings.thing_scale))
