"""The pinhole camera of the synthetic city."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CityCamera:
    """A pinhole camera without distortion; a pixel's centre has whole-numbered coordinates.

    A crop of a larger view is the same camera with a smaller size and a shifted principal point, see `crop`.

    width, height: pixels. fx, fy: focal lengths in pixels. cx, cy: principal point in pixels.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @staticmethod
    def of_size(height: int, width: int, field_of_view: float = 75.0, aspect: float | None = None) -> CityCamera:
        """A camera that looks straight ahead with this horizontal field of view in degrees.

        aspect: width / height of the image that has this field of view, with as many pixels as height x width; the
        camera sees the height x width pixels in its middle, a part of it or more than it. None: of height x width.
        """
        across = width if aspect is None else math.sqrt(height * width * aspect)
        focal = across / 2 / math.tan(math.radians(field_of_view) / 2)
        return CityCamera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)

    def crop(self, x: int, y: int, width: int, height: int) -> CityCamera:
        """The camera that sees the pixels [y:y + height, x:x + width] of this one."""
        return CityCamera(width, height, self.fx, self.fy, self.cx - x, self.cy - y)

    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        """X / Z of each column (W,) and Y / Z of each row (H,), float32."""
        x = (np.arange(self.width, dtype=np.float32) - np.float32(self.cx)) / np.float32(self.fx)
        y = (np.arange(self.height, dtype=np.float32) - np.float32(self.cy)) / np.float32(self.fy)
        return x, y

    def project(self, points: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """World points (N, 3) seen from `pose` (4, 4) camera-to-world -> pixels (N, 2) and depth (N,) in metres.

        Pixels of points that are not in front of the camera mean nothing.
        """
        seen = (points - pose[:3, 3]) @ pose[:3, :3]
        depth = seen[:, 2]
        z = np.where(depth > 1e-6, depth, 1.0)
        pixels = np.stack([self.fx * seen[:, 0] / z + self.cx, self.fy * seen[:, 1] / z + self.cy], 1)
        return pixels, depth
