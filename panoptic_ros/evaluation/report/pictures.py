"""The report's pictures: an image, its truth or prediction painted over it, and where the two differ."""

from __future__ import annotations

import base64
from dataclasses import replace

import cv2
import numpy as np

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import ClassTable
from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.geometry.numpy_label_maps import label_areas_and_boxes
from panoptic_ros.labels import NO_CLASS, PanopticLabel
from panoptic_ros.segments import Segments
from panoptic_ros.viewing.overlay import bgr_pixels, draw_overlay

# What a pixel of an error map says; the names, and the colours (red, green, blue) in which they are painted.
CORRECT, WRONG_CLASS, MISSED, FALSE_OBJECT, WRONG_OBJECT, NOT_JUDGED = range(6)
ERROR_KINDS = (
    ("correct", "the class of the truth, and the same object", (72, 150, 96)),
    ("wrong class", "another class than the truth's", (232, 104, 36)),
    ("missed", "nothing predicted where the truth has something", (44, 124, 232)),
    ("false object", "an object that matches none of the truth", (216, 48, 152)),
    ("wrong object", "the right class, but cut into other objects than the truth's", (240, 196, 32)),
    ("not judged", "void or crowd in the truth", (110, 110, 116)),
)
# How much of the error's colour covers the image, which is grey below it.
ERROR_OPACITY = 0.72
CORRECT_OPACITY = 0.22
_VOID = NO_CLASS - 1


def scaled_image(image: CameraImage, width: int) -> CameraImage:
    """The image a whole number of times smaller, so that it is at most this many pixels wide; blue first."""
    pixels = image.pixels
    factor = -(-image.width // width)
    if factor > 1:
        size = max(1, image.width // factor), max(1, image.height // factor)
        # Without the last pixels that do not come out even, the mean of whole pixels is ten times as fast.
        whole = pixels[:size[1] * factor, :size[0] * factor]
        pixels = cv2.resize(whole, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)
    return replace(image, pixels=bgr_pixels(replace(image, pixels=pixels)), encoding="bgr8")


def painted(image: CameraImage, label: PanopticLabel, classes: ClassTable) -> np.ndarray:
    """The image with the label's segments as the overlay has them, (H, W, 3) uint8, blue first.

    The label may be of another size; what is of no class stays unpainted.
    """
    known = label.class_id != NO_CLASS
    number = np.concatenate([[0], np.where(known, np.cumsum(known), 0)]).astype(np.uint16)
    segment_map = number[_at_size(label.segment_map, (image.height, image.width))]
    class_id = label.class_id[known]
    is_thing, count = classes.thing_mask[class_id], len(class_id)
    # Boxes and areas are for the place of a label alone: every second pixel is enough.
    area, box = label_areas_and_boxes(segment_map[::2, ::2], count)
    segments = Segments(class_id, is_thing, label.score[known], 4 * area, 2 * box, None,
                        label.object_id[known] * is_thing, np.zeros(count, np.int32))
    return draw_overlay(image, segment_map, segments, classes)


def error_map(predicted: PanopticLabel, truth: PanopticLabel, is_thing: np.ndarray) -> np.ndarray:
    """What is right and wrong in each pixel, (H, W) uint8, an index into ERROR_KINDS.

    is_thing: (C,) bool, of which classes the objects are told apart; none of them where the truth has classes alone.
    A predicted object is found where it overlaps one of the truth and of its class by an IoU above one half.
    """
    matched = matches(predicted, truth)
    predicted_class = np.concatenate([[_VOID], predicted.class_id])[:, None]
    truth_class = np.concatenate([[_VOID], truth.class_id])[None]
    thing = np.concatenate([is_thing, [False, False]])  # the last two: void and no class
    same = predicted_class == truth_class
    nothing_said = predicted_class < 0
    kind = np.select(
        [(truth_class == _VOID) | np.concatenate([[False], truth.is_crowd])[None],
         (same & (~thing[truth_class] | matched)) | (nothing_said & (truth_class == NO_CLASS)),
         same,
         nothing_said,
         thing[predicted_class] & ~matched.any(axis=1, keepdims=True)],
        [NOT_JUDGED, CORRECT, WRONG_OBJECT, MISSED, FALSE_OBJECT], WRONG_CLASS).astype(np.uint8)
    pair: np.ndarray = kind[predicted.segment_map, truth.segment_map]
    return pair


def matches(predicted: PanopticLabel, truth: PanopticLabel) -> np.ndarray:
    """Which segments are each other's, (N + 1, M + 1) bool with row and column 0 for void: one class, IoU above 1/2.

    Void and crowd of the truth leave the union.
    """
    shared = overlap(predicted.segment_map, truth.segment_map, len(predicted), len(truth))
    judged = np.concatenate([[False], ~truth.is_crowd])
    union = shared[:, judged].sum(axis=1)[:, None] + shared.sum(axis=0)[None] - shared
    same = predicted.class_id[:, None] == truth.class_id[None]
    result = np.zeros(shared.shape, bool)
    result[1:, 1:] = same & (2 * shared > union)[1:, 1:] & judged[1:]
    return result


def painted_errors(image: CameraImage, errors: np.ndarray) -> np.ndarray:
    """The image in grey with an error map of any size over it, (H, W, 3) uint8, blue first."""
    grey = cv2.cvtColor(cv2.cvtColor(image.pixels, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    kind = _at_size(errors, (image.height, image.width))
    color = np.array([rgb[::-1] for _, _, rgb in ERROR_KINDS], np.float32)
    opacity = np.full((len(ERROR_KINDS), 1), ERROR_OPACITY, np.float32)
    opacity[CORRECT] = CORRECT_OPACITY
    blended: np.ndarray = np.rint((color * opacity)[kind] + (1 - opacity)[kind] * grey).astype(np.uint8)
    return blended


def webp(bgr: np.ndarray, quality: int) -> bytes:
    """A picture as a WebP file; quality: 1 to 100."""
    done, encoded = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert done
    return encoded.tobytes()


def as_uri(content: bytes, media_type: str) -> str:
    """A file's content inside a page: a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _at_size(label_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map (H, W) of numbers at another size (height, width), the nearest pixel's; the map itself where it fits."""
    if label_map.shape == size:
        return label_map
    y, x = (((np.arange(new) + 0.5) * old / new).astype(np.intp)
            for new, old in zip(size, label_map.shape, strict=True))
    return label_map[y[:, None], x]
