"""Optical flow between images of a sequence, and what it tells of them: motion, and labels carried over."""

from __future__ import annotations

import cv2
import numpy as np

# Flow is computed on images of so many columns.
FLOW_WIDTH = 320
THUMBNAIL = (18, 32)
# Flow there and back that does not return to within so many pixels of that size is none: something hides or appears.
RETURN_DISTANCE = 1.5


def small_grey(rgb: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) uint8 as (h, FLOW_WIDTH) uint8 grey."""
    height = max(16, round(rgb.shape[0] * FLOW_WIDTH / rgb.shape[1]))
    return cv2.cvtColor(cv2.resize(np.ascontiguousarray(rgb), (FLOW_WIDTH, height), interpolation=cv2.INTER_AREA),
                        cv2.COLOR_RGB2GRAY)


def thumbnail(grey: np.ndarray) -> np.ndarray:
    """What an image looks like at a glance: (576,) float32 of mean 0 and unit length, 0 of an even image.

    The cosine of two says how alike they are.
    """
    tiny = cv2.resize(grey, THUMBNAIL[::-1], interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    tiny -= tiny.mean()
    length = float(np.linalg.norm(tiny))
    return tiny / length if length > 1e-3 else np.zeros_like(tiny)


def optical_flow(grey: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(h, w, 2) float32: where each pixel of an image is in the other one, as x and y to be added."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return np.asarray(method.calc(grey, other, None), np.float32)  # type: ignore[call-overload]


def motion_between(grey: np.ndarray, other: np.ndarray) -> float:
    """The upper quartile of the pixels' displacement, as a share of the image's width.

    Not the median: most of a street's picture, sky and the road ahead, hardly moves.
    """
    return float(np.quantile(np.linalg.norm(optical_flow(grey, other), axis=2), 0.75) / FLOW_WIDTH)


def carried_over(classes: np.ndarray, grey: np.ndarray, other: np.ndarray, void: int) -> np.ndarray:
    """A class map of the other image, carried over to this one by the flow: (H, W) uint8, void where it is not known.

    classes: (H, W) uint8 of `other`. grey, other: (h, w) as `small_grey` makes them.
    """
    there, back = optical_flow(grey, other), optical_flow(other, grey)
    h, w = grey.shape
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    map_x, map_y = x + there[..., 0], y + there[..., 1]
    returned = there + cv2.remap(back, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
                                 borderValue=(1e3, 1e3, 0, 0))
    good = np.linalg.norm(returned, axis=2) < RETURN_DISTANCE
    height, width = classes.shape
    scale = np.array([width / w, height / h], np.float32)
    flow = cv2.resize(there, (width, height), interpolation=cv2.INTER_LINEAR) * scale
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    carried = cv2.remap(classes, x + flow[..., 0], y + flow[..., 1], cv2.INTER_NEAREST,
                        borderMode=cv2.BORDER_CONSTANT, borderValue=void)
    known = cv2.resize(good.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.where(known > 0, carried, np.uint8(void))
