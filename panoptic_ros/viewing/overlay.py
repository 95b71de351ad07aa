"""The overlay: a camera image painted with its segments, their edges, names and track ids."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import cv2
import numpy as np

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.segments import Segments
from panoptic_ros.viewing.colors import segment_colors
from panoptic_ros.viewing.labels import draw_labels

_TO_BGR = {"rgb8": cv2.COLOR_RGB2BGR, "rgba8": cv2.COLOR_RGBA2BGR, "bgra8": cv2.COLOR_BGRA2BGR,
           "mono8": cv2.COLOR_GRAY2BGR}
# The edge of an object: its colour, lightened by this much and opaque; that of stuff: darker by this much.
EDGE_LIGHT = 0.45
EDGE_OPACITY = 0.9
STUFF_EDGE_SHADE = 0.15


@dataclass(frozen=True)
class OverlayStyle:
    """How strongly segments are painted over the image. Raises InputError for a value outside its range."""

    thing_opacity: float = field(default=0.5, metadata={
        "range": (0.0, 1.0), "description": "how much of an object's colour covers the image"})
    stuff_opacity: float = field(default=0.26, metadata={
        "range": (0.0, 1.0), "description": "how much of the colour of road, sky and the like covers the image"})
    labels: bool = field(default=True, metadata={"description": "write names and track ids"})

    def __post_init__(self) -> None:
        for row in fields(self):
            low, high = row.metadata.get("range", (False, True))
            if not low <= (value := getattr(self, row.name)) <= high:
                raise InputError(f"overlay setting {row.name} = {value} is out of range: {low} to {high}")


def draw_overlay(image: CameraImage, segment_map: np.ndarray, segments: Segments[np.ndarray], classes: ClassTable,
                 style: OverlayStyle | None = None) -> np.ndarray:
    """The image with its segments, (H, W, 3) uint8, blue first; the image is left as it is.

    segment_map: (H, W), 0 = void, k = row k - 1 of the segments.
    """
    style = style or OverlayStyle()
    colors = segment_colors(segments, classes)[:, ::-1]
    picture = _paint(bgr_pixels(image), segment_map, colors, segments.is_thing, style)
    if style.labels:
        draw_labels(picture, segments, classes, colors)
    return picture


def bgr_pixels(image: CameraImage) -> np.ndarray:
    """The pixels as (H, W, 3) uint8, blue first; those of the image itself where they are so already."""
    if image.encoding == "bgr8":
        return image.pixels
    bgr: np.ndarray = cv2.cvtColor(image.pixels, _TO_BGR[image.encoding])
    return bgr


def _paint(pixels: np.ndarray, segment_map: np.ndarray, colors: np.ndarray, is_thing: np.ndarray,
           style: OverlayStyle) -> np.ndarray:
    """Every pixel is a table's colour over its own; row k of the tables is segment k, row N + 1 + k its edge."""
    count = len(colors)
    paint = np.zeros((2, count + 1, 3), np.float32)
    opacity = np.zeros((2, count + 1, 1), np.float32)
    paint[:, 1:] = colors
    paint[1, 1:][is_thing] += EDGE_LIGHT * (255 - paint[1, 1:][is_thing])
    opacity[:, 1:, 0] = np.where(is_thing, style.thing_opacity, style.stuff_opacity)
    opacity[1, 1:, 0][is_thing] = EDGE_OPACITY
    # Darker edges of stuff: less of the image, and no more of the colour.
    cover = (paint * opacity).reshape(-1, 3)
    remain = 1 - opacity
    remain[1, 1:][~is_thing] *= 1 - STUFF_EDGE_SHADE

    width = 1 + min(segment_map.shape) // 700  # one pixel at 512 x 1024, two at 1024 x 2048
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    is_edge = cv2.morphologyEx(segment_map, cv2.MORPH_GRADIENT, kernel) > 0
    row = segment_map + np.uint32(count + 1) * is_edge
    cover_map = _look_up(np.rint(cover), row)
    remain_map = _look_up(np.rint(255 * remain.reshape(-1, 1)).repeat(3, axis=1), row)
    blended: np.ndarray = cv2.add(cv2.multiply(pixels, remain_map, scale=1 / 255), cover_map)
    return blended


def _look_up(table: np.ndarray, row: np.ndarray) -> np.ndarray:
    """table (K, 3) at row (H, W) -> (H, W, 3) uint8; four bytes are fetched at once, which is three times as fast."""
    packed = np.zeros((len(table), 4), np.uint8)
    packed[:, :3] = table
    found = packed.view(np.uint32)[:, 0].take(row)
    bgr: np.ndarray = cv2.cvtColor(found.view(np.uint8).reshape(*row.shape, 4), cv2.COLOR_BGRA2BGR)
    return bgr
