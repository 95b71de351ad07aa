"""Which face a pixel shows, for a few faces set by hand."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.mesh import COMPACT, LARGE, LONG, TWO_SIDED, join, polygons
from panoptic_ros.synthetic_city.raster import inverse_depth, rasterise

# Looks along world y, with world z up: camera x = world x, camera y = -world z, camera z = world y.
POSE = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
CAMERA = CityCamera(101, 81, 50.0, 50.0, 50.0, 40.0)


def _wall(x0: float, x1: float, y: float, layer: int, class_id: int, y1: float | None = None):
    """An upright wall that faces the camera, from (x0, y) to (x1, y1), from 1 m below the camera to 1 m above."""
    far = y if y1 is None else y1
    corners = np.array([[[x0, y, -1], [x1, far, -1], [x1, far, 1], [x0, y, 1]]])
    return polygons(corners, class_id, layer, 0, (1, 1, 1), flags=TWO_SIDED)


def test_a_wall_covers_the_pixels_that_its_corners_project_to():
    surfaces = rasterise(_wall(-1, 1, 5, LARGE, 2), CAMERA, POSE)
    rows, columns = np.nonzero(surfaces.face_map)
    # 50 * 1 / 5 = 10 pixels to each side of the principal point.
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (40, 60, 30, 50)
    assert np.allclose(inverse_depth(surfaces, surfaces.face_map, CAMERA)[30:51, 40:61], 0.2)


def test_depth_follows_a_slanted_wall():
    surfaces = rasterise(_wall(-2, 2, 4, LARGE, 2, y1=8), CAMERA, POSE)
    depth = 1 / inverse_depth(surfaces, surfaces.face_map, CAMERA)[40, 50]
    # In the middle of the picture x = 0, half-way between y = 4 and y = 8.
    assert depth == pytest.approx(6.0, rel=1e-5)


@pytest.mark.parametrize("near_layer", [LARGE, COMPACT])
@pytest.mark.parametrize("far_layer", [LARGE, COMPACT])
def test_the_nearer_of_two_walls_is_seen(near_layer, far_layer):
    mesh = join([_wall(-1, 1, 5, near_layer, 2), _wall(-3, 3, 9, far_layer, 3)])
    surfaces = rasterise(mesh, CAMERA, POSE)
    shown = mesh.faces["class_id"][surfaces.rows[surfaces.face_map[40] - 1]]
    assert shown[50] == 2
    assert shown[36] == 3


def test_a_long_thing_hides_what_is_behind_it_though_its_middle_is_farther():
    bus = polygons(np.array([[[-1, 4, -1], [-1, 40, -1], [-1, 40, 1], [-1, 4, 1]]], float), 15, LONG, 0, (1, 1, 1),
                   flags=TWO_SIDED)
    mesh = join([bus, _wall(-4, -2, 14, COMPACT, 13)])
    surfaces = rasterise(mesh, CAMERA, POSE)
    shown = np.concatenate([[255], mesh.faces["class_id"][surfaces.rows]])[surfaces.face_map[40]]
    # The wall's columns are 50 - 50 * 4 / 14 = 35.7 to 42.9, those of the bus 50 - 50 / 4 = 37.5 to 48.75; at column 41
    # the bus is 50 / 9 = 5.6 m ahead.
    assert shown[36] == 13
    assert shown[41] == 15


def test_a_face_that_reaches_behind_the_camera_is_cut_at_the_near_plane():
    road = polygons(np.array([[[-1, -5, -1], [1, -5, -1], [1, 50, -1], [-1, 50, -1]]], float), 0, LARGE, 0, (1, 1, 1))
    surfaces = rasterise(road, CAMERA, POSE)
    assert (surfaces.face_map[80, :] > 0).sum() > 50
    assert (surfaces.face_map[:40, :] == 0).all()
    # One metre below the camera, 40 pixels below the horizon: 50 / 40 m ahead.
    assert 1 / inverse_depth(surfaces, surfaces.face_map, CAMERA)[80, 50] == pytest.approx(1.25, rel=1e-5)
