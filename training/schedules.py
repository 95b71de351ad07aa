"""Learning-rate schedules: the factor of the base learning rate at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from panoptic_ros.errors import InputError


@dataclass(frozen=True)
class Schedule:
    """Settings of a learning-rate schedule; all begin with a linear warm-up over `warm_up` steps.

    polynomial: (1 - t)^power, t from 0 to 1 over the run (HLE).
    steps: multi-step, times `factor` at each of `milestones`, fractions of the run (dense detections, all scales).
    cosine: half a cosine from 1 to `final` (centroid embedding).
    warm_restarts: such a cosine over a first period of `period` steps, then over one `period_factor` times as long,
        and so on (EINet; Loshchilov and Hutter 2017).
    linear: from 1 to `final`.
    """

    name: Literal["polynomial", "steps", "cosine", "warm_restarts", "linear"] = "polynomial"
    warm_up: int = 200
    power: float = 0.9
    milestones: tuple[float, ...] = (0.75, 0.92)
    factor: float = 0.1
    period: int = 1000
    period_factor: float = 2.0
    final: float = 0.0

    def __post_init__(self) -> None:
        if self.period < 1 or self.period_factor < 1:
            raise InputError("a schedule's period must be at least one step, and its period_factor at least 1")


def rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """Factor of the learning rate at step 0 .. steps - 1 of a run of so many steps."""
    t = step / steps
    if schedule.name == "polynomial":
        factor = (1 - t) ** schedule.power
    elif schedule.name == "steps":
        factor = schedule.factor ** sum(t >= milestone for milestone in schedule.milestones)
    elif schedule.name == "cosine":
        factor = _cosine(t, schedule.final)
    elif schedule.name == "warm_restarts":
        start, period = 0.0, float(schedule.period)
        while step >= start + period:
            start, period = start + period, period * schedule.period_factor
        factor = _cosine((step - start) / period, schedule.final)
    else:
        factor = 1 - t * (1 - schedule.final)
    return factor * min(1.0, (step + 1) / max(1, schedule.warm_up))


def _cosine(t: float, final: float) -> float:
    return final + (1 - final) * (1 + math.cos(math.pi * t)) / 2
