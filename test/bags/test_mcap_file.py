"""MCAP files of any writer are read: profile, channels, chunks and index make no difference to the images."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from panoptic_ros.bags.image_messages import _typestore
from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.recording import BrokenFrame
from panoptic_ros.bags.types import bag_types, bag_typestore
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import COMPRESSED_IMAGE, camera_image_message, header

Write = Callable[..., Path]
CAMERA = ("/cam/image_raw", "sensor_msgs/msg/Image", "cdr", "ros2msg")
START_NS, STEP_NS = 1_000_000_000_000, 100_000_000


def numbers(path: Path) -> list[int]:
    recording = open_recording(path)
    assert len(recording.streams) == 1
    items = list(recording.frames())
    assert not [item for item in items if isinstance(item, BrokenFrame)]
    assert recording.frame_count == len(items)
    return [int(item.pixels[0, 0, 0]) for item in items if isinstance(item, CameraImage)]


@pytest.fixture
def cdr(numbered_image: Callable[..., CameraImage]) -> Callable[..., bytes]:
    def serialized(k: int, height: int = 4, width: int = 6) -> bytes:
        message = camera_image_message(numbered_image(k, height, width), bag_types())
        return bytes(bag_typestore().serialize_cdr(message, message.__msgtype__))

    return serialized


@pytest.mark.parametrize("options", [
    {}, {"profile": ""}, {"profile": "other"}, {"index": False}, {"chunk": 0}, {"compression": ""},
    {"chunk": 3, "index": False, "compression": ""}, {"chunk": 0, "index": False}])
def test_images_come_in_the_order_of_time_from_files_of_every_make(
        write_mcap: Write, cdr: Callable[..., bytes], tmp_path: Path, options: dict[str, Any]) -> None:
    order = [0, 5, 1, 3, 2, 4, 9, 6, 8, 7]
    messages = [(0, START_NS + k * STEP_NS, cdr(k)) for k in order]
    file = write_mcap(tmp_path / "drive.mcap", [CAMERA], messages, **options)
    assert numbers(file) == list(range(10))
    assert open_recording(file).notices == ()


def test_two_channels_of_one_topic_are_one_camera(
        write_mcap: Write, cdr: Callable[..., bytes], tmp_path: Path) -> None:
    messages = [(k % 2, START_NS + k * STEP_NS, cdr(k)) for k in range(10)]
    assert numbers(write_mcap(tmp_path / "drive.mcap", [CAMERA, CAMERA], messages)) == list(range(10))


def test_channels_that_are_not_read_stand_beside_the_camera(
        write_mcap: Write, cdr: Callable[..., bytes], tmp_path: Path) -> None:
    channels = [CAMERA, ("/status", "", "json", ""), ("/log", "foxglove.Log", "protobuf", "protobuf"),
                ("/odd", "x", "cbor", "")]
    messages = [(0, START_NS + k * STEP_NS, cdr(k)) for k in range(6)]
    messages += [(channel, START_NS, b"{}") for channel in (1, 2, 3)]
    file = write_mcap(tmp_path / "drive.mcap", channels, messages)
    assert numbers(file) == list(range(6))
    assert open_recording(file).notices == ()


@pytest.mark.parametrize("kind", ["sensor_msgs/Image", "sensor_msgs::msg::dds_::Image_"])
def test_a_type_may_be_written_as_others_write_it(
        write_mcap: Write, cdr: Callable[..., bytes], tmp_path: Path, kind: str) -> None:
    file = write_mcap(tmp_path / "drive.mcap", [("/image", kind, "cdr", "")], [(0, 5, cdr(7))])
    assert numbers(file) == [7]


@pytest.mark.parametrize("chunk", [0, 4])
@pytest.mark.parametrize("compression", ["", "zstd"])
def test_behind_damage_it_is_read_on_without_an_index(
        write_mcap: Write, cdr: Callable[..., bytes], tmp_path: Path, chunk: int, compression: str) -> None:
    messages = [(0, START_NS + k * STEP_NS, cdr(k, 40, 60)) for k in range(40)]
    file = write_mcap(tmp_path / "drive.mcap", [CAMERA], messages, index=False, chunk=chunk, compression=compression)
    content = bytearray(file.read_bytes())
    # A chunk's head, or that of a message.
    middle = content.index(b"\x06" if chunk else b"\x05", len(content) // 2)
    while content[middle + 6:middle + 9] != b"\0\0\0":
        middle = content.index(b"\x06" if chunk else b"\x05", middle + 1)
    content[middle:middle + 12] = b"\xff" * 12
    file.write_bytes(content)
    items = list(open_recording(file).frames())
    read = [int(item.pixels[0, 0, 0]) for item in items if isinstance(item, CameraImage)]
    assert read == sorted(set(read))
    assert (read[0], read[-1]) == (0, 39)
    assert len(read) >= 35  # of an uncompressed chunk without a head the messages are found
    assert any(isinstance(item, BrokenFrame) and "damaged at byte" in item.detail for item in items)


def test_a_chunk_that_claims_to_be_larger_than_memory_is_refused_and_the_others_read(
        write_mcap: Write, cdr: Callable[..., bytes], tmp_path: Path) -> None:
    messages = [(0, START_NS + k * STEP_NS, cdr(k)) for k in range(8)]
    file = write_mcap(tmp_path / "drive.mcap", [CAMERA], messages, index=False)
    content = bytearray(file.read_bytes())
    first = content.index(b"zstd") - 4
    struct.pack_into("<Q", content, first - 12, 1 << 60)
    file.write_bytes(content)
    items = list(open_recording(file).frames())
    assert [int(item.pixels[0, 0, 0]) for item in items if isinstance(item, CameraImage)] == [4, 5, 6, 7]


def jpeg(k: int) -> bytes:
    return cv2.imencode(".jpg", np.full((8, 8, 3), k, np.uint8))[1].tobytes()


def varint(value: int) -> bytes:
    return bytes([value & 127]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def time_field(number: int, time_ns: int) -> bytes:
    return field(number, field(1, time_ns // 10**9) + field(2, time_ns % 10**9))


def test_foxglove_images_in_protobuf_are_read(write_mcap: Write, tmp_path: Path) -> None:
    messages = [(0, k, time_field(1, START_NS + k) + field(2, jpeg(10 * k)) + field(3, b"jpeg") + field(4, b"optical"))
                for k in range(4)]
    channel = ("/cam/image", "foxglove.CompressedImage", "protobuf", "protobuf")
    file = write_mcap(tmp_path / "a.mcap", [channel], messages, profile="")
    images = [image for image in open_recording(file).frames() if isinstance(image, CameraImage)]
    assert [(image.stamp_ns, image.frame_id, int(image.pixels[0, 0, 0])) for image in images] == [
        (START_NS + k, "optical", 10 * k) for k in range(4)]
    raw = time_field(1, START_NS) + b"".join(bytes([number << 3 | 5]) + struct.pack("<I", value) for number, value in (
        (2, 3), (3, 2), (5, 9))) + field(4, b"bgr8") + field(6, bytes([7] * 18)) + field(7, b"optical")
    file = write_mcap(tmp_path / "b.mcap", [("/cam/image", "foxglove.RawImage", "protobuf", "protobuf")], [(0, 5, raw)])
    (image,) = open_recording(file).frames()
    assert isinstance(image, CameraImage)
    assert (image.pixels.shape, int(image.pixels[1, 2, 0]), image.stamp_ns) == ((2, 3, 3), 7, START_NS)


def test_foxglove_images_in_json_are_read(write_mcap: Write, tmp_path: Path) -> None:
    stamps = [{"sec": 1000, "nsec": 5}, "1970-01-01T00:16:40.000000005Z"]
    messages = [(0, k, json.dumps({"timestamp": stamp, "frame_id": "optical", "format": "jpeg",
                                   "data": base64.b64encode(jpeg(9)).decode()}).encode())
                for k, stamp in enumerate(stamps)]
    file = write_mcap(tmp_path / "a.mcap", [("/cam", "foxglove.CompressedImage", "json", "jsonschema")], messages)
    images = [image for image in open_recording(file).frames() if isinstance(image, CameraImage)]
    assert [(image.stamp_ns, image.frame_id, int(image.pixels[0, 0, 0])) for image in images] == [
        (START_NS + 5, "optical", 9)] * 2


def test_images_of_ros_1_are_read(write_mcap: Write, tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](sec=1000, nanosec=7)
    message = types["sensor_msgs/msg/CompressedImage"](
        header=types["std_msgs/msg/Header"](seq=1, stamp=stamp, frame_id="a"), format="jpeg",
        data=np.frombuffer(jpeg(5), np.uint8))
    content = bytes(store.serialize_ros1(message, message.__msgtype__))
    channel = ("/cam/image/compressed", "sensor_msgs/CompressedImage", "ros1", "ros1msg")
    file = write_mcap(tmp_path / "a.mcap", [channel], [(0, 5, content)], profile="ros1")
    (image,) = open_recording(file).frames()
    assert isinstance(image, CameraImage)
    assert (image.stamp_ns, image.frame_id) == (START_NS + 7, "a")


@pytest.mark.parametrize("content", [b"", b"\x0a", b"\xff" * 20, b"\x12\xff\xff\xff\xff\x0fabc", b"[1]",
                                     b'{"data": 5}'])
@pytest.mark.parametrize("encoding", ["protobuf", "json", "ros1"])
def test_a_damaged_message_of_any_encoding_is_reported(
        write_mcap: Write, tmp_path: Path, content: bytes, encoding: str) -> None:
    kind = "sensor_msgs/Image" if encoding == "ros1" else "foxglove.CompressedImage"
    file = write_mcap(tmp_path / "a.mcap", [("/cam", kind, encoding, "")], [(0, 5, content)])
    (broken,) = open_recording(file, ["/cam"]).frames()
    assert isinstance(broken, BrokenFrame)


def test_images_in_an_encoding_that_is_not_read_are_named(write_mcap: Write, tmp_path: Path) -> None:
    file = write_mcap(tmp_path / "a.mcap", [("/cam", "foxglove.CompressedImage", "flatbuffer", "flatbuffer")],
                      [(0, 5, b"abc")])
    with pytest.raises(InputError, match=r"messages in flatbuffer are not read; it has: /cam"):
        open_recording(file)


def test_a_jpeg_in_a_buffer_that_is_padded_is_whole(write_mcap: Write, numbered_image: Callable[..., CameraImage],
                                                    tmp_path: Path) -> None:
    types = bag_types()
    for padding in (bytes(5000), b"\xff" * 5000, jpeg(1)[-300:-2] * 9):
        message = types.create(COMPRESSED_IMAGE, header=header(numbered_image(3), types), format="jpeg",
                               data=np.frombuffer(jpeg(80) + padding, np.uint8))
        file = write_mcap(tmp_path / "a.mcap", [("/cam/compressed", COMPRESSED_IMAGE, "cdr", "")],
                          [(0, 5, bytes(bag_typestore().serialize_cdr(message, COMPRESSED_IMAGE)))])
        assert numbers(file) == [80]


@pytest.mark.parametrize("kind", ["foxglove_msgs/msg/CompressedImage", "foxglove_msgs/msg/RawImage"])
@pytest.mark.parametrize("encoding", ["cdr", "ros1"])
def test_foxglove_images_as_messages_of_ros_are_read(write_mcap: Write, tmp_path: Path, kind: str,
                                                     encoding: str) -> None:
    store = _typestore(encoding)
    stamp = store.types["builtin_interfaces/msg/Time"](sec=1000, nanosec=7)
    fields = {"data": np.frombuffer(jpeg(80), np.uint8), "format": "jpeg"} if kind.endswith("CompressedImage") else {
        "data": np.full(18, 80, np.uint8), "encoding": "bgr8", "height": 2, "width": 3, "step": 9}
    message = store.types[kind](timestamp=stamp, frame_id="optical", **fields)
    content = bytes((store.serialize_cdr if encoding == "cdr" else store.serialize_ros1)(message, kind))
    file = write_mcap(tmp_path / "a.mcap", [("/cam", kind, encoding, "")], [(0, 5, content)])
    (image,) = open_recording(file).frames()
    assert isinstance(image, CameraImage)
    assert (image.stamp_ns, image.frame_id, int(image.pixels[0, 0, 0])) == (START_NS + 7, "optical", 80)


def test_foxglove_video_in_protobuf_is_decoded(write_mcap: Write, tmp_path: Path) -> None:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuv420p", Fraction(1, 10)
    encoder.options = {"tune": "zerolatency"}
    messages = []
    for k in range(5):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * k, np.uint8), format="bgr24")
        frame.pts = k
        for packet in encoder.encode(frame):
            content = time_field(1, START_NS + k) + field(2, b"optical") + field(3, bytes(packet)) + field(4, b"h264")
            messages.append((0, START_NS + k, content))
    file = write_mcap(tmp_path / "a.mcap", [("/cam", "foxglove.CompressedVideo", "protobuf", "protobuf")], messages)
    images = [image for image in open_recording(file).frames() if isinstance(image, CameraImage)]
    assert [(image.stamp_ns, image.frame_id, round(float(image.pixels.mean()) / 40)) for image in images] == [
        (START_NS + k, "optical", k) for k in range(5)]


def test_an_index_that_is_of_another_file_is_not_believed(
        write_mcap: Write, cdr: Callable[..., bytes], tmp_path: Path) -> None:
    file = write_mcap(tmp_path / "drive.mcap", [CAMERA], [(0, START_NS + k * STEP_NS, cdr(k)) for k in range(12)])
    content = file.read_bytes()
    # A record more at the start: all positions of the index are too small.
    private = struct.pack("<BQ", 0x7F, 100) + bytes(100)
    file.write_bytes(content[:8] + private + content[8:-37] + content[-37:-28]
                     + struct.pack("<Q", struct.unpack("<Q", content[-28:-20])[0] + len(private)) + content[-20:])
    assert numbers(file) == list(range(12))
