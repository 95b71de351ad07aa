"""The pixels of image messages: every supported encoding, checked, without a copy where there need not be one."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from panoptic_ros.camera_image import PIXEL_ENCODINGS
from panoptic_ros.errors import InputError

# Encodings that rosbags-image turns into 8-bit pixels: name -> (bytes per pixel in a row, encoding that comes out).
_CONVERTED = {
    **{f"bayer_{pattern}8": (1, "bgr8") for pattern in ("rggb", "bggr", "gbrg", "grbg")},
    **{f"bayer_{pattern}16": (2, "bgr8") for pattern in ("rggb", "bggr", "gbrg", "grbg")},
    "uyvy": (2, "bgr8"), "yuv422": (2, "bgr8"), "yuyv": (2, "bgr8"), "yuv422_yuy2": (2, "bgr8"),
    "nv12": (1, "bgr8"), "nv21": (1, "bgr8"),
    "rgb16": (6, "bgr8"), "bgr16": (6, "bgr8"), "rgba16": (8, "bgra8"), "bgra16": (8, "bgra8"), "mono16": (2, "mono8"),
}
# OpenCV's type names, which do not say the order of the colours: OpenCV's own, blue first, is assumed.
_GENERIC = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}

SUPPORTED_ENCODINGS = (*PIXEL_ENCODINGS, *_GENERIC, *_CONVERTED)


class BrokenImageError(InputError):
    """An image that cannot be used, where those before and after it may be good.

    reason: in a few words, the same for all images that are broken in the same way; drops are counted by it.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def image_pixels(height: int, width: int, encoding: str, step: int, is_bigendian: bool | int,
                 buffer: Any) -> tuple[np.ndarray, str]:
    """The pixels of a sensor_msgs/Image, as (H, W, C) uint8, and their encoding, a key of PIXEL_ENCODINGS.

    rgb8, bgr8, rgba8, bgra8, mono8 and OpenCV's 8UC1, 8UC3, 8UC4 are views of `buffer` (anything with the buffer
    protocol), row padding and all; the other SUPPORTED_ENCODINGS are converted.
    Raises BrokenImageError for zero size, a step or a length that does not match, and for any other encoding.
    """
    name = _GENERIC.get(encoding, encoding)
    if name in PIXEL_ENCODINGS:
        rows = _rows(height, width * PIXEL_ENCODINGS[name], step, buffer, f"{width} x {height} {encoding}")
        return rows.reshape(height, width, PIXEL_ENCODINGS[name]), name
    if encoding in _CONVERTED:
        return _converted(height, width, encoding, step, bool(is_bigendian), buffer)
    raise BrokenImageError("unknown encoding",
                           f"the image encoding '{encoding}' is not supported; these are: "
                           f"{', '.join(SUPPORTED_ENCODINGS)}")


def compressed_pixels(image_format: str, buffer: Any) -> tuple[np.ndarray, str]:
    """The pixels of a sensor_msgs/CompressedImage (JPEG, PNG, or what else OpenCV reads), as (H, W, 3) uint8, `bgr8`.

    Raises BrokenImageError for depth images and for anything that cannot be decoded to its end.
    """
    if "compressedDepth" in image_format:
        raise BrokenImageError("unknown encoding",
                               f"the compressed image's format is '{image_format}': depth, not a camera's colours")
    return decode_image_file(buffer, f"the compressed image (format '{image_format}')"), "bgr8"


def decode_image_file(buffer: Any, name: str) -> np.ndarray:
    """An image file's bytes -> (H, W, 3) uint8, blue first, as the sensor saw it: a rotation tag is not applied.

    name: what to call it in the BrokenImageError that is raised when it is empty, cut off or no image.
    """
    content = np.frombuffer(buffer, np.uint8)
    if content.size == 0:
        raise BrokenImageError("no pixels", f"{name} is empty")
    # OpenCV fills what is missing of a cut-off file with grey and says nothing.
    head, tail = content[:8].tobytes(), content[content.size // 2:].tobytes()
    is_jpeg, is_png = head.startswith(b"\xff\xd8"), head == b"\x89PNG\r\n\x1a\n"
    if (is_jpeg and b"\xff\xd9" not in tail) or (is_png and b"IEND\xaeB`\x82" not in tail):
        raise BrokenImageError("image cut off", f"{name} is cut off after {content.size} bytes")
    try:
        pixels = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise BrokenImageError("image damaged", f"{name} cannot be decoded: {error.err}") from error
    if pixels is None:
        raise BrokenImageError("image damaged", f"{name} is damaged or not an image")
    return pixels


def _rows(rows: int, row_bytes: int, step: int, buffer: Any, name: str) -> np.ndarray:
    """A view (rows, row_bytes) of the buffer without its padding, where the sizes agree."""
    if rows < 1 or row_bytes < 1:
        raise BrokenImageError("no pixels", f"the image is {name}: it has no pixels")
    if step < row_bytes:
        raise BrokenImageError("step does not match",
                               f"the image is {name} with a step of {step} bytes; a row of it needs {row_bytes}")
    content = np.frombuffer(buffer, np.uint8)
    if content.size != rows * step:
        raise BrokenImageError("length does not match", f"the image is {name} with a step of {step} bytes: "
                               f"{rows * step} bytes of pixels are needed, {content.size} came")
    return content.reshape(rows, step)[:, :row_bytes]


def _converted(height: int, width: int, encoding: str, step: int, is_bigendian: bool,
               buffer: Any) -> tuple[np.ndarray, str]:
    from rosbags.image.image import ImageError, convert_color

    pixel_bytes, target = _CONVERTED[encoding]
    # NV12 and NV21 have a plane of colours at half height below the plane of brightness.
    rows = height * 3 // 2 if encoding.startswith("nv") else height
    packed = np.ascontiguousarray(_rows(rows, width * pixel_bytes, step, buffer, f"{width} x {height} {encoding}"))
    if "16" in encoding:
        packed = packed.view(">u2" if is_bigendian else "<u2").astype(np.uint16)
    channels = packed.shape[1] // width
    source = packed if channels == 1 else packed.reshape(rows, width, channels)
    try:
        pixels = np.asarray(convert_color(source, encoding, target))
    except (ImageError, cv2.error) as error:
        raise BrokenImageError("image damaged", f"the image of {width} x {height} {encoding} cannot be converted to "
                               f"{target}: {error}") from error
    return pixels.reshape(height, width, -1), target
