"""The camera of the city, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.synthetic_city import CityCamera


def test_a_right_angle_of_view_has_a_focal_length_of_half_the_width():
    camera = CityCamera.of_size(100, 200, field_of_view=90.0)
    assert camera.fx == pytest.approx(100.0)
    assert (camera.cx, camera.cy) == (99.5, 49.5)


def test_a_point_is_projected_by_its_ratio_to_depth():
    camera = CityCamera(200, 100, 100.0, 50.0, 99.5, 49.5)
    pose = np.eye(4)
    pose[:3, 3] = [1.0, 2.0, 3.0]
    # Seen from the pose: 2 to the right, 1 down, 4 ahead -> 100 * 2 / 4 + 99.5 and 50 * 1 / 4 + 49.5.
    pixels, depth = camera.project(np.array([[3.0, 3.0, 7.0]]), pose)
    assert np.allclose(pixels, [[149.5, 62.0]])
    assert depth == pytest.approx([4.0])


def test_a_crop_shifts_the_principal_point_alone():
    crop = CityCamera.of_size(100, 200).crop(30, 20, 64, 32)
    full = CityCamera.of_size(100, 200)
    points, pose = np.array([[0.3, -0.2, 5.0]]), np.eye(4)
    assert np.allclose(crop.project(points, pose)[0], full.project(points, pose)[0] - [30, 20])
    assert (crop.width, crop.height) == (64, 32)


def test_a_field_of_view_with_an_aspect_is_that_of_an_image_of_as_many_pixels():
    # 100 x 400 pixels in another shape are 200 x 200; with a right angle across 200 pixels the focal length is 100.
    camera = CityCamera.of_size(100, 400, field_of_view=90.0, aspect=1.0)
    assert camera.fx == camera.fy == pytest.approx(100.0)
    assert (camera.width, camera.height, camera.cx, camera.cy) == (400, 100, 199.5, 49.5)
