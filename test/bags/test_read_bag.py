"""Bags are read: which topics, what images, and what is said of those that are broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.recording import BrokenFrame, Recording
from panoptic_ros.bags.types import bag_types
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import COMPRESSED_IMAGE, camera_image_message, header, image_message

Images = Callable[..., CameraImage]


def read(recording: Recording) -> tuple[list[CameraImage], list[BrokenFrame]]:
    items = list(recording.frames())
    return ([item for item in items if isinstance(item, CameraImage)],
            [item for item in items if isinstance(item, BrokenFrame)])


def values(images: list[CameraImage]) -> list[int]:
    return [int(image.pixels[0, 0, 0]) for image in images]


@pytest.mark.parametrize("name", ["bag", "bag.mcap"])
def test_images_and_their_headers_come_back_from_a_bag(
        write_bag: Callable[..., Path], numbered_image: Images, tmp_path: Path, name: str) -> None:
    recording = open_recording(write_bag(tmp_path / name))
    (stream,) = recording.streams
    assert (stream.camera, stream.topic, stream.frames) == ("front", "/front/image", 10)
    assert stream.frame_rate == pytest.approx(10, rel=1e-3)
    for _ in range(2):
        images, broken = read(recording)
        assert values(images) == list(range(10))
        assert not broken
        assert [(image.stamp_ns, image.frame_id) for image in images] == [
            (numbered_image(k).stamp_ns, "front_optical") for k in range(10)]


def test_an_image_whose_stamp_was_not_set_has_none(
        write_bag: Callable[..., Path], numbered_image: Images, tmp_path: Path) -> None:
    images = [replace(numbered_image(k), stamp_ns=stamp) for k, stamp in enumerate((None, 0, 7))]
    bag = write_bag(tmp_path / "bag", [("/image", camera_image_message(image, bag_types())) for image in images])
    assert [image.stamp_ns for image in read(open_recording(bag))[0]] == [None, None, 7]


def test_a_bag_that_begins_at_time_zero_has_a_first_image_at_zero(numbered_image: Images, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        for stamp in (0, 100):
            bag.write("/image", camera_image_message(replace(numbered_image(1), stamp_ns=stamp), bag_types()), stamp)
    assert [image.stamp_ns for image in read(open_recording(tmp_path / "bag"))[0]] == [0, 100]


def test_a_sqlite_bag_is_read_as_a_folder_and_as_a_file(write_sqlite_bag: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_sqlite_bag(tmp_path / "bag")
    for path in (folder, folder / "bag.db3"):
        assert values(read(open_recording(path))[0]) == list(range(10))


def test_compressed_images_are_decoded(write_bag: Callable[..., Path], numbered_image: Images, tmp_path: Path) -> None:
    types, picture = bag_types(), np.zeros((32, 48, 3), np.uint8)
    picture[:] = (10, 200, 90)
    jpeg = cv2.imencode(".jpg", picture)[1].reshape(-1)
    message = types.create(COMPRESSED_IMAGE, header=header(numbered_image(3), types), format="jpeg", data=jpeg)
    cut = types.create(COMPRESSED_IMAGE, header=header(numbered_image(4), types), format="jpeg", data=jpeg[:200])
    recording = open_recording(write_bag(tmp_path / "bag", [("/front/image/compressed", m) for m in (message, cut)]))
    (image,), (broken,) = read(recording)
    assert recording.streams[0].camera == "front"
    assert np.abs(image.pixels.astype(int) - picture).max() <= 3
    assert image.stamp_ns == numbered_image(3).stamp_ns
    assert broken.reason == "image cut off"


def test_with_several_image_topics_they_are_listed_and_one_must_be_chosen(
        write_bag: Callable[..., Path], numbered_image: Images, tmp_path: Path) -> None:
    message = camera_image_message(numbered_image(1), bag_types())
    bag = write_bag(tmp_path / "bag", [("/left/image_raw", message), ("/right/image_raw", message),
                                       ("/right/image_raw", message)])
    with pytest.raises(InputError, match=r"--topic.*/left/image_raw \(sensor_msgs/msg/Image, bgr8, 1 messages\); "
                                         r"/right/image_raw \(.*2 messages\)"):
        open_recording(bag)
    right = open_recording(bag, ["/right/image_raw"])
    assert [stream.camera for stream in right.streams] == ["right"]
    assert len(read(right)[0]) == 2
    both = open_recording(bag, ["/right/image_raw", "/left/image_raw"])
    assert Counter(image.camera for image in read(both)[0]) == {"left": 1, "right": 2}
    with pytest.raises(InputError, match=r"no images on /rear/image; it has them on: /left"):
        open_recording(bag, ["/rear/image"])


def test_cameras_whose_topics_give_one_name_stay_two(
        write_bag: Callable[..., Path], numbered_image: Images, tmp_path: Path) -> None:
    messages = [(topic, camera_image_message(numbered_image(k), bag_types()))
                for k, topic in enumerate(("/front_left/image", "/front/left/image", "/front_left/image"))]
    bag = write_bag(tmp_path / "bag", messages)
    for topics in (["/front_left/image", "/front/left/image"], ["/front/left/image", "/front_left/image"]):
        recording = open_recording(bag, topics)
        assert {stream.topic: stream.camera for stream in recording.streams} == {
            "/front/left/image": "front_left", "/front_left/image": "front_left_2"}
        assert recording.notices == (
            "the camera of /front_left/image is called front_left_2, for front_left is the one of /front/left/image",)
        assert {(image.camera, int(image.pixels[0, 0, 0])) for image in read(recording)[0]} == {
            ("front_left_2", 0), ("front_left", 1), ("front_left_2", 2)}


def test_labels_and_depth_beside_one_camera_need_no_choice(
        write_bag: Callable[..., Path], numbered_image: Images, tmp_path: Path) -> None:
    types, image = bag_types(), numbered_image(1)
    labels = image_message(np.zeros((4, 4), np.uint16), "mono16", header(image, types), types)
    depth = image_message(np.zeros((4, 16), np.uint8), "32FC1", header(image, types), types)
    bag = write_bag(tmp_path / "bag", [("/camera/truth", labels), ("/camera/image", camera_image_message(image, types)),
                                       ("/camera/depth", depth)])
    assert [stream.topic for stream in open_recording(bag).streams] == ["/camera/image"]
    only_labels = open_recording(bag, ["/camera/truth"])
    assert read(only_labels)[0][0].encoding == "mono8"
    unusable = read(open_recording(bag, ["/camera/depth"]))[1]
    assert [broken.reason for broken in unusable] == ["unknown encoding"]


def test_a_bag_without_images_is_refused_with_what_it_has(
        write_bag: Callable[..., Path], numbered_image: Images, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [("/clock", header(numbered_image(0), bag_types()))])
    with pytest.raises(InputError, match=r"no images.*it has: /clock \(std_msgs/msg/Header, 1 messages\)"):
        open_recording(bag)
    with pytest.raises(InputError, match="it has: nothing"):
        open_recording(write_bag(tmp_path / "empty", []))


def test_broken_images_are_reported_one_by_one_and_all_others_kept(
        write_bag: Callable[..., Path], numbered_image: Images, tmp_path: Path) -> None:
    def broken(k: int, **wrong: Any) -> Any:
        message = camera_image_message(numbered_image(k), bag_types())
        for field, value in wrong.items():
            setattr(message, field, value)
        return message

    bad_stamp = broken(9)
    bad_stamp.header.stamp.nanosec = 4_000_000_000
    messages = [broken(0), broken(1, encoding="xyz"), broken(2, step=5), broken(3),
                broken(4, data=np.zeros(7, np.uint8)), broken(5, height=0), broken(6, width=0), broken(7), bad_stamp,
                broken(10)]
    images, reports = read(open_recording(write_bag(tmp_path / "bag", [("/image", message) for message in messages])))
    assert values(images) == [0, 3, 7, 10]
    assert [report.reason for report in reports] == [
        "unknown encoding", "step does not match", "length does not match", "no pixels", "no pixels",
        "stamp out of range"]
    assert all(report.frames == 1 for report in reports)
    assert "/image at 1000200000000 ns" in reports[1].detail


def test_a_message_that_is_not_what_its_topic_says_is_reported(
        write_bag: Callable[..., Path], numbered_image: Images, tmp_path: Path) -> None:
    from panoptic_ros.bags.types import bag_typestore
    from panoptic_ros.bags.write import BagWriter

    message = camera_image_message(numbered_image(1, 4, 6), bag_types())
    cdr = bytes(bag_typestore().serialize_cdr(message, message.__msgtype__))
    with BagWriter(tmp_path / "bag") as bag:
        bag.write("/image", message, 0)
        for length in range(len(cdr)):
            bag.write_serialized("/image", message.__msgtype__, cdr[:length], 0)
        bag.write("/image", message, 0)
    images, reports = read(open_recording(tmp_path / "bag"))
    assert len(images) == 2
    assert [report.reason for report in reports] == ["message damaged"] * len(cdr)


@pytest.mark.parametrize(("name", "content", "told"), [
    ("drive.bag", b"#ROSBAG V2.0\n", "ROS 1 that cannot be read.*rosbag reindex"),
    ("drive.mcap", b"", "is empty"),
    ("drive.mcap", b"this is no bag at all", "neither an MCAP nor a SQLite file"),
    ("drive.db3", b"this is no bag at all", "neither an MCAP nor a SQLite file"),
    ("drive.xyz", b"something", "unknown format; taken are a rosbag2 folder, .bag, .db3, .mcap"),
    ("drive.mp4", b"this is no video", "cannot be decoded as a video"),
])
def test_a_file_of_another_kind_is_refused_with_what_to_do(
        tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        open_recording(tmp_path / name)


def test_a_path_where_nothing_is_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no .*nowhere"):
        open_recording(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no images"):
        open_recording(tmp_path)
    (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: 3")
    with pytest.raises(InputError, match=r"not a bag that can be read: it has no \.db3 or \.mcap file"):
        open_recording(tmp_path)
