"""Camera motion on worked numbers: yaw from all objects, motion forward for those that have not shown their own."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.tracking.affinity import box_states
from panoptic_ros.tracking.camera_motion import estimate_camera_shift, scene_velocity


def test_the_camera_shift_is_that_on_which_most_segments_agree() -> None:
    # Five tracks and their segments, shifted by 0.3, each a little more like its own than like the others.
    x = np.array([0.1, 0.35, 0.8, 1.1, 1.7])
    alike = np.where(np.eye(5, dtype=bool), 0.0, -1.5)
    assert estimate_camera_shift(alike, (x + 0.3)[None] - x[:, None], 0.03) == pytest.approx(0.3, abs=0.005)
    assert estimate_camera_shift(alike, x[None] - x[:, None], 0.03) == 0


def test_one_object_that_moves_is_not_taken_for_camera_motion() -> None:
    x = np.array([0.1, 0.35, 0.8, 1.1, 1.7])
    moved = x + np.array([0, 0, 0.2, 0, 0])
    same = np.where(np.eye(5, dtype=bool), 0.0, -9.0)
    assert estimate_camera_shift(same, moved[None] - x[:, None], 0.03) == 0
    assert estimate_camera_shift(same[2:3, 2:3], np.array([[0.2]]), 0.03) == 0


def boxes_at(seconds: float, yaw: float = 0.0) -> np.ndarray:
    """Box states of five posts, 2 m high and 1 m wide, that stand along a street that a camera drives down at 8 m/s.

    An image height is the focal length; the image is two of them wide, and the camera is 1.2 m above the street.
    """
    x, z = np.array([-3.0, 4.0, -5.0, 6.0, 3.5]), np.array([20.0, 30.0, 45.0, 60.0, 25.0]) - 8 * seconds
    corners = np.stack([(x - 0.5) / z + 1, -0.8 / z + 0.5, (x + 0.5) / z + 1, 1.2 / z + 0.5], 1)
    corners[:, [0, 2]] += yaw * seconds
    return box_states(corners * 1e6, 1_000_000)


@pytest.mark.parametrize("yaw", [0.0, -0.3])
def test_what_was_seen_once_is_expected_to_move_as_the_camera_makes_it(yaw: float) -> None:
    before, after = boxes_at(0.0, yaw), boxes_at(0.1, yaw)
    velocity = (boxes_at(0.001, yaw) - before) * 1000
    found = scene_velocity(before[:4], velocity[:4], before[4:], (1.0, 0.5))
    assert found is not None
    np.testing.assert_allclose(found, velocity[4:], rtol=0.02, atol=2e-3)
    # One that drives along with the camera, and so stands still in the image, does not change that.
    with_car = scene_velocity(before[:4], velocity[:4] * np.array([[1], [1], [0], [1]]), before[4:], (1.0, 0.5))
    assert with_car is not None
    np.testing.assert_allclose(with_car, found, atol=0.05)
    assert abs(before[4:] + 0.1 * found - after[4:]).max() < 0.3 * abs(before[4:] - after[4:]).max()


def test_too_few_tracks_say_nothing_of_the_scene() -> None:
    before = boxes_at(0.0)
    assert scene_velocity(before[:2], np.zeros((2, 4), np.float32), before[2:], (1.0, 0.5)) is None
    nothing = scene_velocity(before, np.ones((5, 4), np.float32), before[:0], (1.0, 0.5))
    assert nothing is not None
    assert nothing.shape == (0, 4)
