"""Image messages as camera images."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from panoptic_ros.errors import InputError
from panoptic_ros.messages import header
from panoptic_ros.ros.conversions import camera_image
from panoptic_ros.ros.outputs import TYPES


def test_pixels_are_a_view_of_the_message(make_image: Callable[..., Any]) -> None:
    message = make_image(stamp=(3, 7))
    image = camera_image(message, "front")
    message.data[0] = 255 - message.data[0]
    assert image.pixels[0, 0, 0] == message.data[0]
    assert (image.stamp_ns, image.frame_id, image.camera) == (3_000_000_007, "front camera", "front")


def test_a_stamp_before_1970_comes_back_as_it_was(make_image: Callable[..., Any]) -> None:
    assert camera_image(make_image(stamp=(-1, 5)), "").stamp_ns == -999_999_995


def test_a_stamp_of_zero_has_not_been_set_and_goes_out_as_zero(make_image: Callable[..., Any]) -> None:
    image = camera_image(make_image(stamp=(0, 0)), "front")
    assert image.stamp_ns is None
    assert camera_image(make_image(stamp=(0, 1)), "front").stamp_ns == 1
    stamp = header(image, TYPES).stamp
    assert (stamp.sec, stamp.nanosec) == (0, 0)


def test_a_compressed_image_is_decoded() -> None:
    pixels = np.full((20, 30, 3), (250, 10, 120), np.uint8)
    _, png = cv2.imencode(".png", pixels)
    message = CompressedImage(format="bgr8; png compressed bgr8", data=array.array("B", png.tobytes()))
    image = camera_image(message, "")
    assert image.encoding == "bgr8"
    np.testing.assert_array_equal(image.pixels, pixels)


@pytest.mark.parametrize(("field", "value", "says"), [
    ("encoding", "32FC1", "not supported"), ("step", 100, "step"), ("height", 65, "bytes"), ("width", 0, "no pixels"),
])
def test_what_does_not_fit_together_is_refused_with_the_reason(make_image: Callable[..., Any], field: str, value: Any,
                                                               says: str) -> None:
    message: Image = make_image()
    setattr(message, field, value)
    with pytest.raises(InputError, match=says):
        camera_image(message, "")


def test_what_is_no_compressed_image_is_refused() -> None:
    with pytest.raises(InputError):
        camera_image(CompressedImage(format="jpeg", data=array.array("B", b"hello")), "")
