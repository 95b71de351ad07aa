"""Colours of objects: variations of their class's colour that can be told apart."""

from __future__ import annotations

import cv2
import numpy as np

from panoptic_ros.viewing.colors import object_colors


def colors_of(class_color: tuple[int, int, int], numbers: np.ndarray) -> np.ndarray:
    return object_colors(np.tile(np.array(class_color, np.uint8), (len(numbers), 1)), numbers)


def test_consecutive_tracks_can_be_told_apart() -> None:
    for class_color in ((0, 0, 142), (220, 20, 60), (119, 11, 32)):
        lab = cv2.cvtColor(colors_of(class_color, np.arange(1, 60))[None].astype(np.float32) / 255,
                           cv2.COLOR_RGB2LAB)[0]
        for step in (1, 2):
            # A distance of about 2.3 in this space is just visible.
            assert np.linalg.norm(lab[step:] - lab[:-step], axis=1).min() > 8


def test_an_object_keeps_near_the_hue_of_its_class_and_is_bright() -> None:
    hsv = cv2.cvtColor(colors_of((0, 0, 142), np.arange(1, 200))[None].astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[0]
    assert hsv[:, 0].min() > 240 - 40
    assert hsv[:, 0].max() < 240 + 40
    assert hsv[:, 2].min() > 0.7


def test_a_class_without_a_colour_gets_no_colour() -> None:
    colors = colors_of((60, 60, 60), np.arange(1, 20)).astype(int)
    assert (colors.max(axis=1) - colors.min(axis=1) <= 1).all()
    assert len(np.unique(colors[:, 0])) > 10


def test_the_largest_track_numbers_have_colours_too() -> None:
    colors = colors_of((0, 0, 142), np.array([2**31 - 1, 2**31 - 2], np.int32))
    assert (colors[0] != colors[1]).any()
