"""The kernel between frames and the assignment, on numbers worked by hand and against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from panoptic_ros.association.affinity import (
    Cues,
    assign,
    box_iou,
    log_affinity,
    place_of_boxes,
)
from panoptic_ros.association.settings import TrackerSettings

SETTINGS = TrackerSettings(sigma_embedding=0.5, sigma_overlap=0.5, sigma_position=0.1, sigma_speed=0.0, sigma_size=1.0,
                           class_change=0.1)
NOW = np.zeros(1, np.float32)


def cue(box: list[int], embedding: list[float] | None = None, class_id: int = 13) -> Cues:
    row = None if embedding is None else np.array([embedding], np.float32)
    return Cues(np.array([class_id]), place_of_boxes(np.array([box]), 100), row)


def test_a_box_becomes_its_centre_and_log_size_in_image_heights() -> None:
    place = place_of_boxes(np.array([[10, 20, 60, 40]]), 100)
    assert place == pytest.approx(np.array([[0.35, 0.30, np.log(0.5), np.log(0.2)]]), abs=1e-6)


def test_the_same_thing_at_the_same_place_has_affinity_one() -> None:
    same = cue([10, 10, 30, 30], [1, 0])
    assert log_affinity(same, same, NOW, 0, SETTINGS) == pytest.approx(np.zeros((1, 1)), abs=1e-6)


def test_an_embedding_at_a_right_angle_costs_one_over_two_sigma_squared() -> None:
    # d_cos = 1, sigma = 0.5: -1 / 0.5 = -2
    phi = log_affinity(cue([10, 10, 30, 30], [1, 0]), cue([10, 10, 30, 30], [0, 1]), NOW, 0, SETTINGS)
    assert phi[0, 0] == pytest.approx(-2)


def test_a_step_of_one_sigma_to_the_side_and_two_down_costs_two_and_a_half() -> None:
    # 10 and 20 of 100 pixels, sigma 0.1: -(1 + 4) / 2
    phi = log_affinity(cue([10, 10, 30, 30], [1, 0]), cue([20, 30, 40, 50], [1, 0]), NOW, 0, SETTINGS)
    assert phi[0, 0] == pytest.approx(-2.5, abs=1e-5)


def test_twice_the_size_costs_the_logarithm_of_two_squared() -> None:
    # width and height both double, sigma 1: -(ln 2^2 + ln 2^2) / 2
    phi = log_affinity(cue([20, 20, 40, 40], [1, 0]), cue([10, 10, 50, 50], [1, 0]), NOW, 0, SETTINGS)
    assert phi[0, 0] == pytest.approx(-np.log(2) ** 2, abs=1e-5)


def test_without_embeddings_the_overlap_of_the_boxes_stands_in() -> None:
    # one sigma to the side: -0.5; boxes of 20 x 20 share 10 x 20: IoU 200 / 600, -(2 / 3) / (2 * 0.25) = -4 / 3
    phi = log_affinity(cue([10, 10, 30, 30]), cue([20, 10, 40, 30]), NOW, 0, SETTINGS)
    assert phi[0, 0] == pytest.approx(-0.5 - 4 / 3, abs=1e-5)


def test_another_class_costs_its_factor_and_zero_forbids_it() -> None:
    car, truck = cue([10, 10, 30, 30], [1, 0]), cue([10, 10, 30, 30], [1, 0], class_id=14)
    assert log_affinity(car, truck, NOW, 0, SETTINGS)[0, 0] == pytest.approx(np.log(0.1), abs=1e-5)
    assert log_affinity(car, truck, NOW, 0, TrackerSettings(class_change=0.0))[0, 0] == -np.inf


def test_a_track_out_of_sight_may_be_further_away_but_does_not_outbid_one_that_is_expected_here() -> None:
    settings = TrackerSettings(sigma_position=0.1, sigma_speed=0.1)
    track, here, away = (cue([x, 10, x + 20, 30], [1, 0]) for x in (10, 10, 50))
    just_now, long_ago = np.zeros(1, np.float32), np.full(1, 3, np.float32)
    # sigma^2 = 0.01 + 0.09 = 0.1 against 0.01: ln 10, and 40 pixels cost 0.16 / 0.2 rather than 0.16 / 0.02
    assert log_affinity(track, away, long_ago, 0, settings)[0, 0] == pytest.approx(-np.log(10) - 0.8, abs=1e-4)
    assert log_affinity(track, away, just_now, 0, settings)[0, 0] == pytest.approx(-8, abs=1e-4)
    assert log_affinity(track, here, long_ago, 3, settings)[0, 0] == pytest.approx(0, abs=1e-6)  # no frame between
    assert log_affinity(track, here, long_ago, 0, settings) < log_affinity(track, here, just_now, 0, settings)


def test_box_iou_agrees_with_counting_pixels() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 20, (12, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 15, (12, 2))], axis=1)
    masks = np.zeros((12, 40, 40), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    counted = [[(a & b).sum() / (a | b).sum() for b in masks] for a in masks]
    place = place_of_boxes(boxes, 40)
    assert box_iou(place, place) == pytest.approx(np.array(counted), abs=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_the_assignment_is_the_best_of_all_assignments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 5, 2)
    log_phi = rng.uniform(-6, 0, shape)
    rows, columns = assign(log_phi, np.exp(-3))

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
    assert [len(part) for part in assign(np.full((2, 3), -np.inf), 0.1)] == [0, 0]
    assert [len(part) for part in assign(np.full((2, 3), np.nan), 0.1)] == [0, 0]
    assert [len(part) for part in assign(np.zeros((0, 3)), 0.1)] == [0, 0]
