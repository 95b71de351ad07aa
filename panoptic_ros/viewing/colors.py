"""Colours of segments: the class's own for stuff, a variation of it for every single object."""

from __future__ import annotations

import cv2
import numpy as np

from panoptic_ros.classes import ClassTable
from panoptic_ros.segments import Segments

# Steps along the golden ratio: consecutive numbers land far apart and never come into a cycle.
GOLDEN = 0.6180339887
# The variation of an object's colour around that of its class: hue in degrees to either side, and the ranges that
# saturation and value are kept in, bright enough to stand out from a dark street.
HUE_SPREAD = 38.0
SATURATION = (0.4, 0.85)
VALUE = (0.72, 1.0)


def segment_colors(segments: Segments[np.ndarray], classes: ClassTable) -> np.ndarray:
    """The colour of each of N segments, (N, 3) uint8, red, green, blue.

    An object's colour follows from its class and track alone, so it stays the same for as long as the track does.
    """
    colors = classes.color_array[segments.class_id]
    things = np.flatnonzero(segments.is_thing)
    number = segments.track_id[things]
    if not number.any():  # nobody tracks: tell neighbours apart by their number in this image
        number = things + 1
    colors[things] = object_colors(colors[things], number)
    return colors


def object_colors(class_colors: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Bright variations (N, 3) uint8 of class colours (N, 3) uint8, one for each object number (N,) int."""
    if not len(number):
        return class_colors
    hsv = cv2.cvtColor(class_colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[0]
    turn = number * GOLDEN % 1  # 0 to 1
    tone = number * GOLDEN**2 * 7 % 1  # another walk, so that equal hues differ in tone
    hsv[:, 0] = (hsv[:, 0] + HUE_SPREAD * (2 * turn - 1)) % 360
    # A class without a colour, grey or black, stays without one.
    hsv[:, 1] = np.where(hsv[:, 1] > 0.1, SATURATION[0] + (SATURATION[1] - SATURATION[0]) * (1 - tone), hsv[:, 1])
    hsv[:, 2] = VALUE[0] + (VALUE[1] - VALUE[0]) * tone
    rgb: np.ndarray = np.rint(255 * cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]).astype(np.uint8)
    return rgb
