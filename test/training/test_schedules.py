"""Learning-rate schedules at steps whose rates are worked by hand."""

from __future__ import annotations

import pytest

from panoptic_ros.errors import InputError
from training.schedules import Schedule, rate_factor


@pytest.mark.parametrize(("schedule", "expected"), [
    (Schedule("polynomial", warm_up=0, power=2), {0: 1, 50: 0.25, 90: 0.01}),
    (Schedule("steps", warm_up=0, milestones=(0.5, 0.75), factor=0.1), {49: 1, 50: 0.1, 75: 0.01, 99: 0.01}),
    (Schedule("cosine", warm_up=0), {0: 1, 50: 0.5}),
    (Schedule("cosine", warm_up=0, final=0.2), {0: 1, 50: 0.6}),
    (Schedule("linear", warm_up=0, final=0.5), {0: 1, 50: 0.75}),
    # Periods 0-9, 10-29, 30-69: the middle of each is at half, its first step at the whole rate.
    (Schedule("warm_restarts", warm_up=0, period=10, period_factor=2), {0: 1, 5: 0.5, 10: 1, 20: 0.5, 30: 1, 50: 0.5}),
    (Schedule("linear", warm_up=10), {0: 0.1, 4: 0.5 * 0.96, 9: 0.91, 20: 0.8}),
], ids=lambda value: value.name if isinstance(value, Schedule) else "")
def test_schedules_have_the_rates_worked_by_hand(schedule: Schedule, expected: dict[int, float]) -> None:
    assert {step: rate_factor(schedule, step, 100) for step in expected} == pytest.approx(expected)


def test_a_period_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="at least one step"):
        Schedule("warm_restarts", period=0)
