"""Assignment against brute force, its stages, and the estimate of camera motion."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from panoptic_ros.tracking.matching import assign, assign_in_stages


def none(count: int) -> np.ndarray:
    return np.zeros(count)


@pytest.mark.parametrize("seed", range(20))
def test_the_assignment_is_the_best_of_all_assignments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 5, 2)
    log_phi = rng.uniform(-6, 0, shape)
    rows, columns = assign(log_phi, np.exp(-3), none(shape[0]))

    def worth(pairs: list[tuple[int, int]]) -> float:
        return sum(log_phi[pair] + 3 for pair in pairs)

    best = 0.0
    for count in range(1, min(shape) + 1):
        for some_rows in itertools.combinations(range(shape[0]), count):
            for some_columns in itertools.permutations(range(shape[1]), count):
                best = max(best, worth(list(zip(some_rows, some_columns, strict=True))))
    found = list(zip(rows.tolist(), columns.tolist(), strict=True))
    assert worth(found) == pytest.approx(best)
    assert all(log_phi[pair] > -3 for pair in found)


def test_nothing_is_assigned_where_nothing_is_near_or_a_value_is_not_a_number() -> None:
    assert [len(part) for part in assign(np.full((2, 3), -np.inf), 0.1, none(2))] == [0, 0]
    assert [len(part) for part in assign(np.full((2, 3), np.nan), 0.1, none(2))] == [0, 0]
    assert [len(part) for part in assign(np.zeros((0, 3)), 0.1, none(0))] == [0, 0]


def test_a_track_that_may_be_anywhere_must_fit_better_than_one_that_is_expected_here() -> None:
    lost, near, nowhere = [-0.5], [-1.0], [-9.0]
    for spread, others, expected in ((1.0, near, [1]), (1.0, nowhere, [0]), (0.0, near, [0]), (2.0, nowhere, [])):
        rows, _ = assign(np.array([lost, others]), np.exp(-2), np.array([spread, 0.0]))
        assert rows.tolist() == expected


def test_a_low_score_segment_takes_no_track_from_a_high_score_one_and_brings_none_back() -> None:
    log_phi = np.array([[-0.1, -1.0], [-9.0, -0.1]])
    # The low-score segment 0 fits track 0 better than the high-score segment 1, which fits track 1.
    rows, columns = assign_in_stages(log_phi, np.exp(-2), none(2), np.array([False, True]), np.array([True, True]))
    assert sorted(zip(columns.tolist(), rows.tolist(), strict=True)) == [(0, 0), (1, 1)]
    # Track 0 is lost: the low-score one does not get it.
    rows, columns = assign_in_stages(log_phi, np.exp(-2), none(2), np.array([False, True]), np.array([False, True]))
    assert list(zip(columns.tolist(), rows.tolist(), strict=True)) == [(1, 1)]
    # Both want track 0: the high-score one has it, though it fits worse.
    rows, columns = assign_in_stages(np.array([[-0.1, -1.0]]), np.exp(-2), none(1), np.array([False, True]),
                                     np.array([True]))
    assert columns.tolist() == [1]
