"""Shadows that bodies throw on the ground."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.mesh import Casters
from panoptic_ros.synthetic_city.weather import Weather

_NEAR = 0.4
_LONGEST = 60.0  # metres


def shadow_map(casters: Sequence[Casters], camera: CityCamera, pose: np.ndarray, weather: Weather) -> np.ndarray:
    """Share of the sun's light that each pixel's ground loses, (H, W) float32 0 to 1.

    Without sun, the sky's shade close under bodies is left.
    """
    shade = np.zeros((camera.height, camera.width), np.uint8)
    if not casters:
        return shade.astype(np.float32)
    footprint = np.concatenate([c.footprint for c in casters])
    bottom, top = np.concatenate([c.bottom for c in casters]), np.concatenate([c.top for c in casters])
    eye = pose[:3, 3]
    low = footprint.mean(1) - eye[:2]
    close = np.hypot(low[:, 0], low[:, 1]) < 140
    ahead = low @ pose[:2, 2] > -25
    footprint, bottom, top = footprint[close & ahead], bottom[close & ahead], top[close & ahead]
    small = np.ptp(footprint[..., 0], 1) < 14
    contact = (bottom < 0.3) & small
    _fill(shade, footprint[contact], camera, pose, 110)
    if weather.sunlight.max() > 0.12:
        slope = -weather.sun[:2] / max(float(weather.sun[2]), 0.1)
        near = footprint + slope * bottom[:, None, None]
        reach = np.minimum(top, _LONGEST * max(float(weather.sun[2]), 0.1))
        far = footprint + slope * reach[:, None, None]
        _fill(shade, np.concatenate([near, far], 1), camera, pose, 255)
    return cv2.blur(shade, (3, 3)).astype(np.float32) * np.float32(1 / 255)


def _fill(shade: np.ndarray, outlines: np.ndarray, camera: CityCamera, pose: np.ndarray, value: int) -> None:
    """Fill the convex hulls of ground points (N, K, 2)."""
    flat = np.concatenate([outlines - pose[:2, 3], np.full((*outlines.shape[:2], 1), -pose[2, 3])], 2)
    seen = flat @ pose[:3, :3]
    depth = seen[..., 2]
    front = depth > _NEAR
    pixels = seen[..., :2] / np.maximum(depth, _NEAR)[..., None] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    whole = front.all(1)
    outside = ((pixels[..., 0].max(1) < 0) | (pixels[..., 0].min(1) > camera.width)
               | (pixels[..., 1].min(1) > camera.height))
    fixed = np.rint(np.clip(pixels, -20000, 20000) * 4).astype(np.int32)
    for k in np.flatnonzero(front.any(1) & ~(whole & outside)).tolist():
        points = fixed[k]
        if not whole[k]:
            cut = _cut(seen[k])
            pixel = cut[:, :2] / cut[:, 2:] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
            points = np.rint(np.clip(pixel, -20000, 20000) * 4).astype(np.int32)
        cv2.fillConvexPoly(shade, cv2.convexHull(points), value, 8, 2)


def _cut(points: np.ndarray) -> np.ndarray:
    """Points beyond the near plane, and where the lines from those before it cross it."""
    inside, outside = points[points[:, 2] > _NEAR], points[points[:, 2] <= _NEAR]
    a, b = np.repeat(inside, len(outside), 0), np.tile(outside, (len(inside), 1))
    share = (a[:, 2] - _NEAR) / (a[:, 2] - b[:, 2])
    return np.concatenate([inside, a + (b - a) * share[:, None]])
