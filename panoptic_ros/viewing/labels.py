"""The labels of an overlay: class name and track id on a dark plate near each object that is large enough."""

from __future__ import annotations

import cv2
import numpy as np

from panoptic_ros.classes import ClassTable
from panoptic_ros.segments import Segments

FONT = cv2.FONT_HERSHEY_DUPLEX
# The text's height, as a fraction of the square root of the image's area, and in pixels at the least.
TEXT_HEIGHT = 0.0165
SMALLEST_TEXT = 8
# How much of the image shines through a plate.
PLATE_LIGHT = 0.3
MOST_LABELS = 60
# The part of its box that an object must fill to be labelled.
LEAST_VISIBLE = 0.2


def draw_labels(picture: np.ndarray, segments: Segments[np.ndarray], classes: ClassTable, colors: np.ndarray) -> None:
    """Write on the picture (H, W, 3), the largest objects first; no label covers another or leaves the image.

    colors: (N, 3), the segments' colours in the order of the picture's channels.
    An object lower than its text gets none, and neither does one that fills little of its box, for a label there
    would seem to be of what hides it. One much narrower than its label gets its track id alone.
    """
    height, width = picture.shape[:2]
    text_height = max(SMALLEST_TEXT, round(TEXT_HEIGHT * (height * width) ** 0.5))
    scale = cv2.getFontScaleFromHeight(FONT, text_height, 1)
    margin = max(2, text_height // 3)
    taken = np.zeros((0, 4), np.int64)
    box_size = segments.box[:, 2:] - segments.box[:, :2]
    visible = segments.area > LEAST_VISIBLE * box_size.prod(axis=1)
    rows = np.flatnonzero(segments.is_thing & visible & (box_size[:, 1] > 1.8 * text_height))
    for row in rows[np.argsort(-segments.area[rows], kind="stable")][:MOST_LABELS]:
        box, track = segments.box[row].tolist(), int(segments.track_id[row])
        name = classes.names[segments.class_id[row]]
        for text in (f"{name} {track}", str(track)) if track else (name,):
            (text_width, _), _ = cv2.getTextSize(text, FONT, scale, 1)
            size = (text_width + 3 * margin, text_height + 2 * margin)
            if size[0] > max(1.5 * (box[2] - box[0]), 2.5 * text_height):
                continue
            plate = _free_place(box, size, (width, height), taken)
            if plate is not None:
                taken = np.vstack([taken, plate])
                _write(picture, text, plate, margin, scale, colors[row])
                break


def _free_place(box: list[int], size: tuple[int, int], image_size: tuple[int, int],
                taken: np.ndarray) -> tuple[int, int, int, int] | None:
    """Where a plate of this size (width, height) fits: above the box, inside at its top, or below it."""
    x0 = min(max((box[0] + box[2] - size[0]) // 2, 0), image_size[0] - size[0])
    for y0 in (box[1] - size[1], box[1], box[3]):
        x1, y1 = x0 + size[0], y0 + size[1]
        inside = x0 >= 0 and y0 >= 0 and y1 <= image_size[1]
        apart = (taken[:, 0] >= x1) | (taken[:, 2] <= x0) | (taken[:, 1] >= y1) | (taken[:, 3] <= y0)
        if inside and apart.all():
            return x0, y0, x1, y1
    return None


def _write(picture: np.ndarray, text: str, plate: tuple[int, int, int, int], margin: int, scale: float,
           color: np.ndarray) -> None:
    x0, y0, x1, y1 = plate
    area = picture[y0:y1, x0:x1]
    area[:] = cv2.convertScaleAbs(area, alpha=PLATE_LIGHT)
    picture[y0:y1, x0:x0 + margin] = color
    cv2.putText(picture, text, (x0 + 2 * margin, y1 - margin), FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
