"""CameraImage: one image of one camera on its way in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Image encodings (names of sensor_msgs) that are plain 8-bit pixels, with their number of channels.
PIXEL_ENCODINGS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}


@dataclass(frozen=True)
class CameraImage:
    """One image of one camera, as it arrived.

    pixels: (H, W, C) uint8, C as in PIXEL_ENCODINGS; may be a view with row padding, is never written to.
    encoding: a key of PIXEL_ENCODINGS.
    stamp_ns: time of acquisition in nanoseconds.
    camera: name of the stream; tracks are kept per camera.
    frame_id: coordinate frame of the message header.
    """

    pixels: np.ndarray
    encoding: str
    stamp_ns: int = 0
    camera: str = "camera"
    frame_id: str = ""

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    def rgb(self) -> np.ndarray:
        """The pixels as a view (H, W, 3) in the order red, green, blue."""
        if self.encoding == "mono8":
            return np.broadcast_to(self.pixels, (*self.pixels.shape[:2], 3))
        return self.pixels[..., 2::-1] if self.encoding.startswith("bgr") else self.pixels[..., :3]
