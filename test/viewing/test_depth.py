"""Depth as a picture: one colour for one distance, in the order of the distances, black where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.segments import Segments
from panoptic_ros.viewing.depth import FARTHEST, LARGEST_ERROR, NEAREST, draw_depth, draw_depth_errors


@pytest.mark.parametrize("unknown", [0, -1, np.nan, np.inf, -np.inf])
def test_what_is_not_known_is_black_and_all_else_is_not(unknown: float) -> None:
    depth = np.full((2, 3), 7, np.float32)
    depth[0, 1] = unknown
    black = (draw_depth(depth) == 0).all(axis=2)
    assert black.tolist() == [[False, True, False], [False, False, False]]


def test_near_is_red_and_far_is_blue_and_beyond_the_range_nothing_changes() -> None:
    picture = draw_depth(np.array([[NEAREST / 5, NEAREST, FARTHEST, 5 * FARTHEST]], np.float32))
    assert picture.dtype == np.uint8
    near, far = picture[0, 1].astype(int), picture[0, 2].astype(int)
    assert near[2] > 2 * max(near[:2])
    assert far[0] > far[2]
    assert picture[0, 0].tolist() == near.tolist()
    assert picture[0, 3].tolist() == far.tolist()


def test_equal_ratios_of_distance_are_equal_steps_of_colour() -> None:
    one, two = (draw_depth(np.array([depths], np.float32), 1, 16) for depths in ([1, 2, 4, 8, 16], [4, 4, 4, 4, 4]))
    assert len({tuple(color) for color in one[0].tolist()}) == 5
    assert one[0, 2].tolist() == two[0, 0].tolist() == draw_depth(np.array([[40]]), 10, 160)[0, 0].tolist()


def test_a_frame_draws_its_depth_red_first_and_none_where_it_has_none() -> None:
    none = np.zeros(0, np.int32)
    frame = PanopticFrame(CameraImage(np.zeros((1, 2, 3), np.uint8), "rgb8"), np.zeros((1, 2), np.uint16),
                          Segments(none, none.astype(bool), none.astype(np.float32), none, none.reshape(0, 4), None,
                                   none, none), load_class_table("cityscapes"), np.array([[1, 0]], np.float32))
    picture = frame.depth_picture()
    assert picture is not None
    assert picture[0, 0].argmax() == 0
    assert PanopticFrame(frame.image, frame.segment_map, frame.segments, frame.classes).depth_picture() is None


def test_errors_go_from_blue_to_red_by_their_share_of_the_depth_too_near_or_too_far() -> None:
    truth = np.array([[10, 100, 10, 10, 10]], np.float32)
    picture = draw_depth_errors(truth * np.array([1, 1, 1 + LARGEST_ERROR, 1 - LARGEST_ERROR, 9]), truth).astype(int)
    none, also_none, large, small, larger = picture[0]
    assert none.tolist() == also_none.tolist()
    assert none[0] > none[2]
    assert large[2] > 2 * max(large[:2])
    assert large.tolist() == small.tolist() == larger.tolist()


@pytest.mark.parametrize("unknown", [0, -1, np.nan, np.inf])
def test_an_error_that_nobody_knows_is_black(unknown: float) -> None:
    depth, holes = np.ones((1, 2), np.float32), np.array([[1, unknown]], np.float32)
    for picture in (draw_depth_errors(depth, holes), draw_depth_errors(holes, depth)):
        assert (picture == 0).all(axis=2).tolist() == [[False, True]]
