"""Depth, and its errors, as pictures of their own; what is not known is black."""

from __future__ import annotations

import cv2
import numpy as np

# Range of the colours, metres: fixed, so that a distance has one colour in all pictures of a drive.
NEAREST = 1.0
FARTHEST = 100.0
LARGEST_ERROR = 0.5  # of the true depth


def draw_depth(depth: np.ndarray, nearest: float = NEAREST, farthest: float = FARTHEST) -> np.ndarray:
    """A depth map (H, W) metres -> a picture (H, W, 3) uint8, blue first.

    The colours are those of the map Turbo, in equal steps of the logarithm of the distance, from red at `nearest` and
    below to dark blue at `farthest` and beyond. Black: depths that are not finite or not above 0.
    """
    known = np.isfinite(depth) & (depth > 0)
    metres = np.clip(np.where(known, depth, farthest).astype(np.float32), nearest, farthest)
    nearness = np.log(farthest / metres) / np.log(farthest / nearest)
    picture: np.ndarray = cv2.applyColorMap(np.rint(255 * nearness).astype(np.uint8), cv2.COLORMAP_TURBO)
    picture[~known] = 0
    return picture


def draw_depth_errors(predicted: np.ndarray, truth: np.ndarray, largest: float = LARGEST_ERROR) -> np.ndarray:
    """Errors of depth (H, W) as shares of the true depth -> a picture (H, W, 3) uint8, blue first.

    The colours are those of the map Turbo, from dark blue for none to red for `largest` and above. Black: where either
    is not finite or not above 0.
    """
    known = np.isfinite(predicted) & (predicted > 0) & np.isfinite(truth) & (truth > 0)
    true = np.where(known, truth, 1).astype(np.float32)
    share = np.abs(np.where(known, predicted, 1) - true) / true
    picture: np.ndarray = cv2.applyColorMap(np.rint(255 * np.clip(share / largest, 0, 1)).astype(np.uint8),
                                            cv2.COLORMAP_TURBO)
    picture[~known] = 0
    return picture
