"""Pixels of image messages: what is taken, what is refused, and that plain encodings are not copied."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.pixels import BrokenImageError, compressed_pixels, image_pixels


def test_a_plain_image_with_row_padding_is_a_view_of_the_buffer() -> None:
    buffer = np.arange(2 * 8, dtype=np.uint8)
    pixels, encoding = image_pixels(2, 2, "rgb8", 8, False, buffer)
    assert encoding == "rgb8"
    assert pixels.tolist() == [[[0, 1, 2], [3, 4, 5]], [[8, 9, 10], [11, 12, 13]]]
    assert np.shares_memory(pixels, buffer)


@pytest.mark.parametrize(("encoding", "channels"), [("mono8", 1), ("8UC1", 1), ("bgr8", 3), ("8UC3", 3), ("rgba8", 4)])
def test_each_plain_encoding_has_its_number_of_channels(encoding: str, channels: int) -> None:
    pixels, _ = image_pixels(2, 5, encoding, 5 * channels, False, bytes(10 * channels))
    assert pixels.shape == (2, 5, channels)


@pytest.mark.parametrize(("height", "width", "encoding", "step", "length", "reason"), [
    (0, 4, "rgb8", 12, 0, "no pixels"),
    (4, 0, "rgb8", 0, 0, "no pixels"),
    (4, 4, "rgb8", 11, 44, "step does not match"),
    (4, 4, "rgb8", 12, 47, "length does not match"),
    (4, 4, "bayer_rggb8", 4, 15, "length does not match"),
    (4, 4, "32FC1", 16, 64, "unknown encoding"),
    (4, 4, "nonsense", 4, 16, "unknown encoding"),
    (4, 3, "uyvy", 6, 24, "image damaged"),
])
def test_an_image_that_cannot_be_right_is_refused_with_its_reason(
        height: int, width: int, encoding: str, step: int, length: int, reason: str) -> None:
    with pytest.raises(BrokenImageError) as refused:
        image_pixels(height, width, encoding, step, False, bytes(length))
    assert refused.value.reason == reason
    assert isinstance(refused.value, InputError)


def test_an_unknown_encoding_is_answered_with_those_that_are_taken() -> None:
    with pytest.raises(BrokenImageError, match="'jpg2000' is not supported; these are: rgb8, bgr8, .*bayer_rggb8"):
        image_pixels(4, 4, "jpg2000", 4, False, bytes(16))


@pytest.mark.parametrize("is_bigendian", [False, True])
def test_mono16_is_scaled_to_8_bits_in_either_byte_order(is_bigendian: bool) -> None:
    values = np.array([[0, 0x8000, 0xFFFF]], ">u2" if is_bigendian else "<u2")
    pixels, encoding = image_pixels(1, 3, "mono16", 6, is_bigendian, values.tobytes())
    assert encoding == "mono8"
    assert pixels.reshape(-1).tolist() == [0, 127, 255]


@pytest.mark.parametrize(("encoding", "row", "column"), [
    ("bayer_rggb8", 0, 0), ("bayer_grbg8", 0, 1), ("bayer_gbrg8", 1, 0), ("bayer_bggr8", 1, 1)])
def test_a_bayer_image_of_pure_red_becomes_red(encoding: str, row: int, column: int) -> None:
    mosaic = np.zeros((8, 10), np.uint8)
    mosaic[row::2, column::2] = 200
    padded = np.pad(mosaic, ((0, 0), (0, 6)))
    pixels, target = image_pixels(8, 10, encoding, 16, False, padded.tobytes())
    assert target == "bgr8"
    assert pixels[2:6, 2:8].reshape(-1, 3).tolist() == [[0, 0, 200]] * 24


@pytest.mark.parametrize(("encoding", "pair"), [("uyvy", [128, 235, 128, 16]), ("yuyv", [235, 128, 16, 128])])
def test_yuv422_takes_brightness_from_the_right_bytes(encoding: str, pair: list[int]) -> None:
    pixels, _ = image_pixels(2, 4, encoding, 8, False, bytes(pair * 4))
    assert pixels[0].tolist() == [[255] * 3, [0] * 3, [255] * 3, [0] * 3]


def test_nv12_has_half_as_many_rows_again() -> None:
    planes = np.full((6, 4), 128, np.uint8)
    planes[:4] = 235
    pixels, _ = image_pixels(4, 4, "nv12", 4, False, planes.tobytes())
    assert pixels.shape == (4, 4, 3)
    assert (pixels == 255).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_compressed_image_is_decoded_and_a_cut_one_refused(suffix: str) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    content = cv2.imencode(suffix, picture)[1].tobytes()
    pixels, encoding = compressed_pixels(suffix, content)
    assert (pixels.shape, encoding) == ((40, 60, 3), "bgr8")
    for length in (len(content) // 3, len(content) - 4):
        with pytest.raises(BrokenImageError) as refused:
            compressed_pixels(suffix, content[:length])
        assert refused.value.reason == "image cut off"


def test_a_compressed_image_without_content_or_sense_or_of_depth_is_refused() -> None:
    for image_format, content, reason in (("jpeg", b"", "no pixels"), ("jpeg", b"not an image", "image damaged"),
                                          ("16UC1; compressedDepth png", b"x", "unknown encoding")):
        with pytest.raises(BrokenImageError) as refused:
            compressed_pixels(image_format, content)
        assert refused.value.reason == reason
