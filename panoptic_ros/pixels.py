"""The pixels of image messages: every supported encoding, checked, without a copy where there need not be one."""

from __future__ import annotations

import struct
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
# Pixels of the largest image file that is decoded: what a file of a few bytes says of its size is memory that it takes.
LARGEST_IMAGE = 1 << 28
# Formats of messages that are packets of video, with FFmpeg's names of their codecs.
_VIDEO_FORMATS = {"h264": "h264", "avc": "h264", "h265": "hevc", "hevc": "hevc", "vp8": "vp8", "vp9": "vp9",
                  "av1": "av1", "mpeg4": "mpeg4"}
# Kinds of units that a packet of H.265 begins with: slices, parameter sets, delimiter, SEI.
_HEVC_UNITS = (0, 1, 19, 20, 21, 32, 33, 34, 35, 39)


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
    depth = " is depth, not a camera's colours: choose the topic of the colour images. It" \
        if encoding in ("16UC1", "32FC1") else ""
    raise BrokenImageError("unknown encoding",
                           f"the image encoding '{encoding}'{depth} is not supported; these are: "
                           f"{', '.join(SUPPORTED_ENCODINGS)}")


def compressed_pixels(image_format: str, buffer: Any) -> tuple[np.ndarray, str]:
    """The pixels of a sensor_msgs/CompressedImage (JPEG, PNG, or what else OpenCV reads), as (H, W, 3) uint8, `bgr8`.

    Raises BrokenImageError for depth images and for anything that cannot be decoded to its end.
    """
    if "compressedDepth" in image_format:
        raise BrokenImageError("unknown encoding",
                               f"the compressed image's format is '{image_format}': depth, not a camera's colours")
    if codec := video_codec(image_format, buffer):
        raise BrokenImageError("video, not an image", f"the compressed image (format '{image_format}') is a packet of "
                               f"{codec.upper()} video: here images are taken, such as JPEG; `panoptic-ros replay` "
                               "decodes it from a recording")
    return decode_image_file(buffer, f"the compressed image (format '{image_format}')"), "bgr8"


def video_codec(image_format: str, buffer: Any) -> str | None:
    """FFmpeg's name of the codec where a compressed image is a packet of video, as some drivers send it; else None."""
    words = image_format.lower().replace(";", " ").replace("/", " ").split()
    if found := [_VIDEO_FORMATS[word] for word in words if word in _VIDEO_FORMATS]:
        return found[0]
    # The start code of H.264 and H.265; no image file begins so.
    head = bytes(memoryview(buffer)[:6])
    start = next((code for code in (b"\0\0\0\1", b"\0\0\1") if head.startswith(code)), None)
    if start is None or len(head) < len(start) + 2:
        return None
    # The head of the first unit: two bytes in H.265, the second always 1, and one in H.264.
    first, second = head[len(start)], head[len(start) + 1]
    return "hevc" if not first & 1 and second == 1 and first >> 1 in _HEVC_UNITS else "h264"


def decode_image_file(buffer: Any, name: str, with_orientation: bool = False) -> np.ndarray:
    """An image file's bytes -> (H, W, 3) uint8, blue first.

    name: what to call it in the BrokenImageError that is raised when it is empty, cut off, too large or no image.
    with_orientation: as viewers show it, turned as its EXIF data say; else as the sensor saw it.
    """
    content = np.frombuffer(buffer, np.uint8)
    if content.size == 0:
        raise BrokenImageError("no pixels", f"{name} is empty")
    # OpenCV fills what is missing of a cut-off file with grey and says nothing.
    file = content.tobytes()
    size, is_whole = (0, 0), True
    if file.startswith(b"\xff\xd8"):
        size, is_whole = _jpeg_size_and_end(file)
    elif file.startswith(b"\x89PNG\r\n\x1a\n"):
        size, is_whole = _png_size_and_end(file)
    if size[0] * size[1] > LARGEST_IMAGE:
        raise BrokenImageError("image too large", f"{name} says that it has {size[1]} x {size[0]} pixels: more than "
                               f"{LARGEST_IMAGE} are not decoded")
    if not is_whole:
        raise BrokenImageError("image cut off", f"{name} is cut off after {content.size} bytes")
    orientation = cv2.IMREAD_COLOR if with_orientation else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(content, orientation)
    except cv2.error as error:
        raise BrokenImageError("image damaged", f"{name} cannot be decoded: {error.err}") from error
    if pixels is None:
        raise BrokenImageError("image damaged", f"{name} is damaged or not an image")
    return pixels


def _jpeg_size_and_end(file: bytes) -> tuple[tuple[int, int], bool]:
    """Height and width of a JPEG, and whether its end is there; behind that may be anything, as drivers pad buffers."""
    size, position = (0, 0), 2
    while position + 4 <= len(file) and file[position] == 0xFF:
        kind, length = file[position + 1], int.from_bytes(file[position + 2:position + 4], "big")
        if kind == 0xFF:  # a filling byte
            position += 1
            continue
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC) and position + 9 <= len(file):
            size = struct.unpack(">HH", file[position + 5:position + 9])
        if kind == 0xDA:
            # From here on the data have no 0xFF before 0xD9; before, there may be a thumbnail with an end of its own.
            return size, file.find(b"\xff\xd9", position) >= 0
        position += 2 + length
    return size, False


def _png_size_and_end(file: bytes) -> tuple[tuple[int, int], bool]:
    """Height and width of a PNG, and whether its end is there."""
    if len(file) < 24:
        return (0, 0), False
    width, height = struct.unpack(">II", file[16:24])
    return (height, width), file.rfind(b"IEND\xaeB`\x82") >= 0


def _rows(rows: int, row_bytes: int, step: int, buffer: Any, name: str) -> np.ndarray:
    """A view (rows, row_bytes) of the buffer without its padding, where the sizes agree.

    A step of 0, which bridges of simulators leave, is that of rows without padding. More bytes than are needed are
    left alone: drivers give away buffers of whole blocks. The last row may lack its padding.
    """
    if rows < 1 or row_bytes < 1:
        raise BrokenImageError("no pixels", f"the image is {name}: it has no pixels")
    step = step or row_bytes
    if step < row_bytes:
        raise BrokenImageError("step does not match",
                               f"the image is {name} with a step of {step} bytes; a row of it needs {row_bytes}")
    content = np.frombuffer(buffer, np.uint8)
    needed = (rows - 1) * step + row_bytes
    if content.size < needed:
        raise BrokenImageError("length does not match", f"the image is {name} with a step of {step} bytes: "
                               f"{needed} bytes of pixels are needed, {content.size} came")
    return np.ndarray((rows, row_bytes), np.uint8, content, strides=(step, 1))


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
