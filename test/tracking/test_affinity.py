"""The kernel between frames on numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from panoptic_ros.tracking.affinity import (
    Cues,
    box_iou,
    box_states,
    log_gate_area,
    position_log_affinity,
    visible_box_states,
    yaw_invariant_log_affinity,
)
from panoptic_ros.tracking.settings import TrackerSettings

SETTINGS = TrackerSettings(sigma_embedding=0.5, embedding_noise_size=0.0, embedding_drift_time=1.0, sigma_iou=0.5,
                           sigma_position=0.1, sigma_position_relative=0.0, sigma_velocity_x=0.0, sigma_velocity_y=0.0,
                           sigma_size=1.0, sigma_size_rate=0.0, class_mismatch_factor=0.1, lost_half_life=1.0)


def cue(box: list[int], embedding: list[float] | None = None, class_share: tuple[float, ...] = (1, 0)) -> Cues:
    row = None if embedding is None else np.array([embedding], np.float32)
    return Cues(np.array([class_share], np.float32), box_states(np.array([box]), 100), row)


def affinity(track: Cues, segment: Cues, elapsed: float = 0.0, missed: float = 0.0, iou: float = 1.0,
             settings: TrackerSettings = SETTINGS, log_gate: float = 0.0) -> float:
    seconds = np.array([elapsed])
    table = yaw_invariant_log_affinity(track, segment, seconds, np.array([missed]), settings)
    table += position_log_affinity(track, segment, seconds, np.array([[iou]]), np.array([log_gate]), settings)
    assert table.shape == (1, 1)
    return float(table[0, 0])


def test_of_a_box_that_leaves_the_image_the_part_inside_is_visible() -> None:
    boxes = [[-20, 40, 10, 90], [150, 60, 260, 140], [-30, 10, -10, 20], [50, 10, 60, 20]]
    seen = [[0, 40, 10, 90], [150, 60, 200, 100], [-30, 10, -10, 20], [50, 10, 60, 20]]
    predicted, visible = (box_states(np.array(some), 100) for some in (boxes, seen))
    np.testing.assert_allclose(visible_box_states(predicted, 2.0), visible, atol=1e-6)


def test_a_box_becomes_its_centre_and_log_size_in_image_heights() -> None:
    box_state = box_states(np.array([[10, 20, 60, 40]]), 100)
    assert box_state == pytest.approx(np.array([[0.35, 0.30, np.log(0.5), np.log(0.2)]]), abs=1e-6)


def test_the_same_thing_at_the_same_place_has_affinity_one() -> None:
    same = cue([10, 10, 30, 30], [1, 0])
    assert affinity(same, same) == pytest.approx(0, abs=1e-6)


def test_an_embedding_at_a_right_angle_costs_one_over_two_sigma_squared() -> None:
    # d_cos = 1, sigma = 0.5: -1 / 0.5 = -2
    assert affinity(cue([10, 10, 30, 30], [1, 0]), cue([10, 10, 30, 30], [0, 1])) == pytest.approx(-2)


def test_an_embedding_may_differ_more_after_a_while() -> None:
    # sigma^2 is twice as large after embedding_drift_time, so the cost is half of the 2 above.
    assert affinity(cue([10, 10, 30, 30], [1, 0]), cue([10, 10, 30, 30], [0, 1]), elapsed=1) == pytest.approx(-1)


def test_the_embedding_of_what_is_small_may_differ_more() -> None:
    # At embedding_noise_size the variance is twice as large, and it is the smaller box of both that counts.
    settings = replace(SETTINGS, embedding_noise_size=0.2, sigma_size=5.0)
    small, large = cue([10, 10, 30, 30], [1, 0]), cue([0, 0, 40, 40], [0, 1])
    sizes = -2 * np.log(2)**2 / 50
    assert affinity(small, large, settings=settings) == pytest.approx(-1 + sizes)
    tiny = cue([15, 15, 25, 25], [0, 1])
    assert affinity(small, tiny, settings=settings) == pytest.approx(-2 / 5 + sizes)


def test_a_step_of_one_sigma_to_the_side_and_two_down_costs_two_and_a_half() -> None:
    # 10 and 20 of 100 pixels, sigma 0.1: -(1 + 4) / 2
    assert affinity(cue([10, 10, 30, 30], [1, 0]), cue([20, 30, 40, 50], [1, 0])) == pytest.approx(-2.5, abs=1e-5)


def test_what_is_large_may_jump_further() -> None:
    settings = TrackerSettings(sigma_position=0.1, sigma_position_relative=0.5, sigma_velocity_x=0, sigma_velocity_y=0,
                               sigma_size_rate=0)
    # sigma^2 = 0.01 + (0.5 * 0.6)^2 = 0.1 sideways, 0.01 + (0.5 * 0.2)^2 = 0.02 up and down: 20 pixels either way
    track = cue([20, 40, 80, 60], [1, 0])
    assert affinity(track, cue([40, 40, 100, 60], [1, 0]), settings=settings) == pytest.approx(-0.2, abs=1e-4)
    assert affinity(track, cue([20, 60, 80, 80], [1, 0]), settings=settings) == pytest.approx(-1.0, abs=1e-4)


def test_with_time_a_track_may_be_further_to_the_side_than_up_or_down() -> None:
    settings = TrackerSettings(sigma_position=0.1, sigma_position_relative=0.0, sigma_velocity_x=0.1,
                               sigma_velocity_y=0.0, sigma_size_rate=0)
    track, beside, below = (cue(box, [1, 0]) for box in ([10, 10, 30, 30], [50, 10, 70, 30], [10, 50, 30, 70]))
    # after 3 s sideways: sigma^2 = 0.01 + 0.09, so 40 pixels cost 0.16 / 0.2; up and down it is 0.01: 0.16 / 0.02
    assert affinity(track, beside, 3, settings=settings) == pytest.approx(-0.8, abs=1e-4)
    assert affinity(track, below, 3, settings=settings) == pytest.approx(-8, abs=1e-4)


def test_twice_the_size_costs_the_logarithm_of_two_squared() -> None:
    # width and height both double, sigma 1: -(ln 2^2 + ln 2^2) / 2
    phi = affinity(cue([20, 20, 40, 40], [1, 0]), cue([10, 10, 50, 50], [1, 0]))
    assert phi == pytest.approx(-np.log(2) ** 2, abs=1e-5)


def test_masks_that_do_not_overlap_cost_one_over_two_sigma_squared_with_and_without_an_embedding() -> None:
    # sigma 0.5: 1 / 0.5 for none of it, half of that for IoU 0.5
    for embedding in ([1.0, 0.0], None):
        same = cue([10, 10, 30, 30], embedding)
        assert affinity(same, same, iou=0.0) == pytest.approx(-2, abs=1e-5)
        assert affinity(same, same, iou=0.5) == pytest.approx(-1, abs=1e-5)


def test_masks_say_less_of_a_track_that_may_be_anywhere() -> None:
    # In a place five times as large a mask that is not there costs a fifth of the 2 above.
    same = cue([10, 10, 30, 30])
    assert affinity(same, same, iou=0.0, log_gate=np.log(5)) == pytest.approx(-0.4, abs=1e-5)


def test_another_class_costs_its_class_share_or_the_factor_and_zero_forbids_it() -> None:
    box, appearance = [10, 10, 30, 30], [1.0, 0.0]
    truck = cue(box, appearance, (0, 1))
    assert affinity(cue(box, appearance, (0.7, 0.3)), truck) == pytest.approx(np.log(0.3), abs=1e-5)
    assert affinity(cue(box, appearance, (1, 0)), truck) == pytest.approx(np.log(0.1), abs=1e-5)
    assert affinity(cue(box, appearance, (1, 0)), truck, settings=TrackerSettings(class_mismatch_factor=0.0)) == -np.inf


def test_a_lost_track_has_half_the_affinity_after_its_half_life() -> None:
    same = cue([10, 10, 30, 30], [1, 0])
    assert affinity(same, same, missed=1.0) == pytest.approx(-np.log(2), abs=1e-5)
    assert affinity(same, same, missed=3.0) == pytest.approx(-np.log(4), abs=1e-5)


def test_the_gate_of_a_lost_track_is_larger_than_that_of_a_track_just_seen() -> None:
    settings = TrackerSettings(sigma_position=0.1, sigma_position_relative=0.0, sigma_velocity_x=0.1,
                               sigma_velocity_y=0.0)
    # sideways sqrt(0.01 + 0.09) against 0.1: ln sqrt 10; nothing where no frame lies between
    box_state, seconds = cue([10, 10, 30, 30]).box_state, np.array([3.0])
    assert log_gate_area(box_state, seconds, 0.0, settings) == pytest.approx([np.log(10) / 2], abs=1e-5)
    assert log_gate_area(box_state, seconds, 3.0, settings) == pytest.approx([0], abs=1e-5)


def test_box_iou_agrees_with_counting_pixels() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(0, 20, (12, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 15, (12, 2))], axis=1)
    masks = np.zeros((12, 40, 40), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    counted = [[(a & b).sum() / (a | b).sum() for b in masks] for a in masks]
    box_state = box_states(boxes, 40)
    assert box_iou(box_state, box_state) == pytest.approx(np.array(counted), abs=1e-4)
