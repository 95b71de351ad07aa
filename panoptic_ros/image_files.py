"""Image files on disk: which a folder has and in what order, camera images, and label images (ids as pixels)."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from panoptic_ros.errors import InputError
from panoptic_ros.pixels import LARGEST_IMAGE, decode_image_file

PNG_HEAD = b"\x89PNG\r\n\x1a\n"
DEPTH_STEPS = 256  # of a depth PNG's value per metre, as KITTI has them
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder in natural order: by name, numbers in it by value (img_2 before img_10).

    Hidden files are none: macOS puts a `._img_2.jpg` beside each image on disks of others.
    """
    with os.scandir(folder) as entries:
        files = [folder / entry.name for entry in entries if not entry.name.startswith(".")
                 and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES and not entry.is_dir()]
    return sorted(files, key=lambda file: ([int(part) if part.isdecimal() else part
                                            for part in re.split(r"(\d+)", file.stem)], file.name))


def trailing_number(stem: str) -> int:
    """The whole number at the end of a file's stem, -1 where there is none."""
    digits = stem[len(stem.rstrip("0123456789")):]
    return int(digits) if digits else -1


def read_image(file: Path) -> np.ndarray:
    """(H, W, 3) uint8, red, green, blue. Raises InputError that names the file where it is missing or damaged."""
    return cv2.cvtColor(decode_image_file(_content(file), str(file)), cv2.COLOR_BGR2RGB)


def read_label_image(file: Path) -> np.ndarray:
    """A PNG's values as they are written: (H, W) or (H, W, C) in OpenCV's order, uint8 or uint16.

    Raises InputError that names the file where it is missing, cut off or no PNG.
    """
    content = _content(file)
    if not content.startswith(PNG_HEAD):
        raise InputError(f"{file} is no PNG: other formats change the numbers that a label's pixels are")
    # OpenCV fills what is missing of a cut-off file and says nothing.
    if b"IEND\xaeB`\x82" not in content[-64:]:
        raise InputError(f"{file} is cut off after {len(content)} bytes: copy or make it again")
    height, width = struct.unpack(">II", content[16:24])[::-1]
    if height * width > LARGEST_IMAGE:
        raise InputError(f"{file} says that it has {width} x {height} pixels: more than {LARGEST_IMAGE} are not read")
    label = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if label is None:
        raise InputError(f"{file} cannot be decoded as a PNG: copy or make it again")
    return label


def read_depth_image(file: Path) -> np.ndarray:
    """A PNG whose values are metres x DEPTH_STEPS, 0 = unknown -> (H, W) float32 metres.

    Raises InputError that names the file where it is missing, cut off or no PNG of one channel.
    """
    steps = read_label_image(file)
    if steps.ndim != 2:
        raise InputError(f"{file} has {steps.shape[2]} channels: a depth PNG has one, metres x {DEPTH_STEPS}")
    return (steps / np.float32(DEPTH_STEPS)).astype(np.float32)


def png_size(file: Path) -> tuple[int, int]:
    """Height and width as a PNG's head says. Raises InputError where it is missing or no PNG."""
    try:
        with file.open("rb") as opened:
            head = opened.read(24)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    if not head.startswith(PNG_HEAD) or len(head) < 24:
        raise InputError(f"{file} is no PNG")
    width, height = struct.unpack(">II", head[16:])
    return height, width


def write_image(file: Path, pixels: np.ndarray, parameters: Sequence[int] = ()) -> None:
    """Write an image file as its ending says. parameters: of `cv2.imencode`.

    Raises InputError where it cannot be written, and takes it away then; `cv2.imwrite` does not notice a full disk.
    """
    done, content = cv2.imencode(file.suffix, pixels, parameters)
    if not done:
        raise InputError(f"{file} cannot be written as {file.suffix}")
    try:
        file.write_bytes(content.tobytes())
    except OSError as error:
        with suppress(OSError):
            file.unlink(missing_ok=True)
        raise InputError(f"{file} cannot be written: {error.strerror}") from error


def check_size(file: Path, image: np.ndarray, size: tuple[int, int]) -> None:
    """Raises InputError where the image of this file has not the size (height, width) of its label."""
    if image.shape[:2] != size:
        raise InputError(f"{file} is {image.shape[1]} x {image.shape[0]} pixels, its label {size[1]} x {size[0]}: "
                         "image and label must be of one size")


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
