"""CameraImage: one image of one camera on its way in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.errors import InputError

# Image encodings (names of sensor_msgs) that are plain 8-bit pixels, with their number of channels.
PIXEL_ENCODINGS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
# What an array without an encoding is taken for, by its number of channels.
_ARRAY_ENCODINGS = {1: "mono8", 3: "rgb8", 4: "rgba8"}


@dataclass(frozen=True)
class CameraImage:
    """One image of one camera, as it arrived.

    pixels: (H, W, C) uint8, C as in PIXEL_ENCODINGS; may be a view with row padding, is never written to.
    encoding: a key of PIXEL_ENCODINGS.
    stamp_ns: time of acquisition in nanoseconds, or None where nobody knows it: then no object is followed.
    camera: name of the stream; tracks are kept per camera.
    frame_id: coordinate frame of the message header.
    focal_length: of the camera, horizontally, in pixels of this image; None where nobody knows it. A model that knows
        the focal length it was trained with scales its depth by it.
    """

    pixels: np.ndarray
    encoding: str = "rgb8"
    stamp_ns: int | None = None
    camera: str = "camera"
    frame_id: str = ""
    focal_length: float | None = None

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def moment(self) -> str:
        """Its time in words, for messages: `at 5 ns` or `without a stamp`."""
        return "without a stamp" if self.stamp_ns is None else f"at {self.stamp_ns} ns"

    def rgb(self) -> np.ndarray:
        """The pixels as a view (H, W, 3) in the order red, green, blue."""
        if self.encoding == "mono8":
            return np.broadcast_to(self.pixels, (*self.pixels.shape[:2], 3))
        return self.pixels[..., 2::-1] if self.encoding.startswith("bgr") else self.pixels[..., :3]


def as_camera_image(image: CameraImage | np.ndarray) -> CameraImage:
    """An image as a CameraImage, checked; an array (H, W[, 1 | 3 | 4]) uint8 is grey, RGB or RGBA, and has no stamp.

    Raises InputError for what is no image, and for pixels that do not have the type and shape of their encoding.
    """
    if isinstance(image, np.ndarray):
        pixels = image[..., None] if image.ndim == 2 else image
        encoding = _ARRAY_ENCODINGS.get(pixels.shape[2]) if pixels.ndim == 3 else None
        if encoding is None or pixels.dtype != np.uint8:
            raise InputError(f"an array of {image.dtype} {image.shape} is no image: uint8 is taken, (H, W, 3) red "
                             "first, (H, W) or (H, W, 1) grey, (H, W, 4) with alpha; several images as a list")
        image = CameraImage(pixels, encoding)
    elif not isinstance(image, CameraImage):
        raise InputError(f"a {type(image).__name__} is no image: a NumPy array (H, W, 3) uint8, red first, is taken, a "
                         "CameraImage, or a list of these")
    pixels, channels = image.pixels, PIXEL_ENCODINGS.get(image.encoding)
    if channels is None:
        raise InputError(f"the encoding '{image.encoding}' is not taken; there are {', '.join(PIXEL_ENCODINGS)}")
    if pixels.ndim != 3 or pixels.shape[2] != channels or pixels.dtype != np.uint8:
        raise InputError(f"the pixels of a CameraImage in {image.encoding} are uint8 (H, W, {channels}); these are "
                         f"{pixels.dtype} {pixels.shape}")
    if image.focal_length is not None and not 0 < image.focal_length < float("inf"):
        raise InputError(f"a focal length is a number of pixels above 0; this one is {image.focal_length}")
    if min(pixels.shape) < 1:
        raise InputError(f"an image of {image.width} x {image.height} pixels has nothing to segment")
    return image
