"""Recordings that tests of bags make themselves: image k is filled with the value k and taken at 1000 s + k / 10."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from panoptic_ros.bags.types import bag_types, bag_typestore
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.frame import CameraImage
from panoptic_ros.messages import camera_image_message

START_NS = 1_000_000_000_000
STEP_NS = 100_000_000


@pytest.fixture
def numbered_image() -> Callable[..., CameraImage]:
    def make(k: int, height: int = 64, width: int = 128, encoding: str = "bgr8") -> CameraImage:
        channels = {"mono8": 1, "bgr8": 3}[encoding]
        pixels = np.full((height, width, channels), k % 256, np.uint8)
        return CameraImage(pixels, encoding, START_NS + k * STEP_NS, "camera", "front_optical")

    return make


@pytest.fixture
def write_bag(numbered_image: Callable[..., CameraImage]) -> Callable[..., Path]:
    """`write_bag(path, messages, compress=False)`: messages are (topic, message), 10 numbered images if not given."""

    def write(path: Path, messages: Iterable[tuple[str, Any]] | None = None, compress: bool = False) -> Path:
        given = messages if messages is not None else [
            ("/front/image", camera_image_message(numbered_image(k), bag_types())) for k in range(10)]
        with BagWriter(path, compress) as bag:
            for k, (topic, message) in enumerate(given):
                bag.write(topic, message, START_NS + k * STEP_NS)
        return path

    return write


@pytest.fixture
def write_sqlite_bag(numbered_image: Callable[..., CameraImage]) -> Callable[..., Path]:
    """A rosbag2 folder with a .db3 file of numbered images."""

    def write(path: Path, count: int = 10, **size: int) -> Path:
        store, types = bag_typestore(), bag_types()
        with Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as bag:
            connection = bag.add_connection("/front/image", "sensor_msgs/msg/Image", typestore=store)
            for k in range(count):
                message = camera_image_message(numbered_image(k, **size), types)
                bag.write(connection, START_NS + k * STEP_NS, store.serialize_cdr(message, message.__msgtype__))
        return path

    return write
