"""Bags are written so that other readers take them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader

from panoptic_ros.bags.types import bag_types
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import camera_image_message, header


@pytest.mark.parametrize("name", ["bag", "bag.mcap"])
@pytest.mark.parametrize("compress", [False, True])
def test_a_reader_that_knows_no_types_of_ours_reads_all_from_the_bag_itself(
        write_bag: Callable[..., Path], numbered_image: Callable[..., CameraImage], tmp_path: Path, name: str,
        compress: bool) -> None:
    types, image = bag_types(), numbered_image(5)
    segments = types.create("panoptic_ros/msg/PanopticSegmentArray", header=header(image, types), height=1, width=2,
                            model_id="m", segments=[])
    path = write_bag(tmp_path / name, [("/a", camera_image_message(image, types)), ("/b", segments)], compress)
    with AnyReader([path]) as reader:
        messages = {connection.topic: reader.deserialize(cdr, connection.msgtype)
                    for connection, _, cdr in reader.messages()}
    assert messages["/a"].header.frame_id == "front_optical"
    assert messages["/a"].data.tolist() == [5] * 64 * 128 * 3
    assert (messages["/b"].model_id, messages["/b"].width) == ("m", 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == [name]


def test_what_is_there_already_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "drive.mcap").write_text("precious")
    with pytest.raises(InputError, match="is there already"):
        BagWriter(tmp_path / "drive.mcap")
    assert (tmp_path / "drive.mcap").read_text() == "precious"


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no bag can be written to"):
        BagWriter(tmp_path / "file" / "bag")


def test_a_stamp_before_1970_is_written_with_its_header(tmp_path: Path) -> None:
    types = bag_types()
    time = types.create("builtin_interfaces/msg/Time", sec=-5, nanosec=1)
    message = types.create("std_msgs/msg/Header", stamp=time, frame_id="")
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/header", message, -4_999_999_999)
    with AnyReader([tmp_path / "bag"]) as reader:
        ((connection, _, cdr),) = reader.messages()
        assert reader.deserialize(cdr, connection.msgtype).stamp.sec == -5
