"""Frames as messages and back, for both families of message classes."""

from __future__ import annotations

import array
import math
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from panoptic_ros.bags.types import bag_types, bag_typestore, deserialize
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.messages import (
    SEGMENTS,
    MessageTypes,
    camera_image_message,
    camera_info_message,
    camera_info_topic,
    depth_image_message,
    embeddings_message,
    focal_length,
    generated_types,
    header,
    image_message,
    panoptic_image_message,
    read_depth,
    read_segments,
    read_semantics,
    segments_message,
    semantic_image_message,
    stamp_in_ns,
)
from panoptic_ros.segments import Segments


@pytest.fixture
def frame() -> PanopticFrame:
    """3 x 4 pixels: road, car with track 7, and sky that has no embedding."""
    image = CameraImage(np.arange(36, dtype=np.uint8).reshape(3, 4, 3), "rgb8", 1_700_000_000_123_456_789, "camera",
                        "front")
    segments = Segments(np.array([0, 13, 10], np.int32), np.array([False, True, False]),
                        np.array([0.5, 0.75, 1.0], np.float32), np.array([5, 2, 4], np.int32),
                        np.array([[0, 1, 4, 3], [1, 1, 3, 2], [0, 0, 4, 1]], np.int32),
                        np.array([[1, 0], [0.6, 0.8], [0, 0]], np.float32), np.array([0, 7, 0], np.int32),
                        np.array([0, 3, 0], np.int32), np.array([7.5, np.nan, 80], np.float32))
    return PanopticFrame(image, np.array([[3, 3, 3, 3], [1, 2, 2, 0], [1, 1, 1, 1]], np.uint16), segments,
                         load_class_table("cityscapes"))


def through_cdr(message: Any) -> Any:
    store = bag_typestore()
    return store.deserialize_cdr(store.serialize_cdr(message, message.__msgtype__), message.__msgtype__)


def test_segments_come_back_from_serialized_messages_as_they_were(frame: PanopticFrame) -> None:
    types = bag_types()
    segment_map, segments = read_segments(through_cdr(panoptic_image_message(frame, types)),
                                          through_cdr(segments_message(frame, "m@1", types)),
                                          through_cdr(embeddings_message(frame, "m@1", types)))
    assert segment_map.dtype == np.uint16
    assert segment_map.tolist() == frame.segment_map.tolist()
    for field in fields(Segments):
        np.testing.assert_array_equal(getattr(segments, field.name), getattr(frame.segments, field.name), field.name)


def test_segments_without_depth_say_nan_and_have_none_when_they_come_back(frame: PanopticFrame) -> None:
    without = replace(frame, segments=replace(frame.segments, depth=None))
    image, message = (through_cdr(make) for make in (panoptic_image_message(without, bag_types()),
                                                      segments_message(without, "m@1", bag_types())))
    assert all(math.isnan(segment.depth) for segment in message.segments)
    assert read_segments(image, message)[1].depth is None


@pytest.mark.parametrize("count", range(4))
def test_segments_that_were_written_before_they_had_a_depth_are_read(frame: PanopticFrame, count: int) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    definitions = {name: (Path(__file__).parents[1] / "msg" / f"{name}.msg").read_text()
                   for name in ("PanopticSegment", "PanopticSegmentArray")}
    definitions["PanopticSegment"] = definitions["PanopticSegment"].partition("float32 depth")[0]
    for name, text in definitions.items():
        store.register(get_types_from_msg(text, f"panoptic_ros/msg/{name}"))
    of_before = MessageTypes(lambda name, **fields: store.types[name](**{
        key: value for key, value in fields.items() if key != "depth"}), np.ascontiguousarray)
    few = replace(frame, segments=frame.segments.select(slice(count)),
                  segment_map=np.where(frame.segment_map <= count, frame.segment_map, 0).astype(np.uint16))
    cdr = bytes(store.serialize_cdr(segments_message(few, "m@1", of_before), SEGMENTS))
    read = deserialize(cdr, SEGMENTS)
    segment_map, segments = read_segments(panoptic_image_message(few, bag_types()), read)
    assert (read.model_id, len(segments), segments.depth) == ("m@1", count, None)
    assert segments.track_age.tolist() == [0, 3, 0][:count]
    # And those of today as they are.
    cdr = bytes(bag_typestore().serialize_cdr(segments_message(few, "m@1", bag_types()), SEGMENTS))
    depth = [segment.depth for segment in deserialize(cdr, SEGMENTS).segments]
    np.testing.assert_array_equal(depth, [7.5, np.nan, 80][:count])


def test_a_focal_length_is_in_pixels_of_the_images_also_where_they_are_scaled_binned_or_cut() -> None:
    image = CameraImage(np.zeros((48, 64, 3), np.uint8), "rgb8", 5, focal_length=70.0)
    info = through_cdr(camera_info_message(image, bag_types()))
    assert (info.width, info.k[0], info.k[4], info.header.stamp.nanosec) == (64, 70, 70, 5)
    assert focal_length(info, 64) == 70
    assert focal_length(info, 32) == 35  # the driver resizes
    info.binning_x = 2
    assert focal_length(info, 32) == 35
    info.roi.width = 20  # of the full resolution; 10 columns are sent
    assert focal_length(info, 10) == 35
    info.k = np.zeros(9)
    assert focal_length(info, 10) is None


@pytest.mark.parametrize(("image", "info"), [
    ("/camera/image_raw", "/camera/camera_info"), ("/camera/image_raw/compressed", "/camera/camera_info"),
    ("/image", "/camera_info"), ("/a/b/image", "/a/b/camera_info")])
def test_a_calibration_lies_beside_the_images(image: str, info: str) -> None:
    assert camera_info_topic(image) == info


def test_the_messages_say_what_their_definitions_promise(frame: PanopticFrame) -> None:
    types = bag_types()
    image = panoptic_image_message(frame, types)
    assert (image.encoding, image.is_bigendian, image.step, image.height, image.width) == ("mono16", 0, 8, 3, 4)
    assert image.data[:4].tolist() == [3, 0, 3, 0]
    car = segments_message(frame, "m@1", types).segments[1]
    assert (car.id, car.class_id, car.class_name, car.is_thing) == (2, 13, "car", True)
    assert (car.track_id, car.track_age) == (7, 3)
    assert (car.roi.x_offset, car.roi.y_offset, car.roi.width, car.roi.height) == (1, 1, 2, 1)
    embeddings = embeddings_message(frame, "m@1", types)
    assert (embeddings.dimension, embeddings.segment_ids.tolist(), embeddings.track_ids.tolist()) == (2, [1, 2], [0, 7])
    assert np.allclose(embeddings.data, [1, 0, 0.6, 0.8])
    semantic = semantic_image_message(frame, types)
    assert semantic.encoding == "mono8"
    assert semantic.data.tolist() == [10, 10, 10, 10, 0, 13, 13, 255, 0, 0, 0, 0]


@pytest.mark.parametrize(("sec", "nanosec"), [(0, 0), (1, 999_999_999), (2**31 - 1, 1), (-1, 5), (-2**31, 999_999_999)])
def test_the_header_comes_out_bit_for_bit(sec: int, nanosec: int) -> None:
    types = bag_types()
    time = types.create("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    given = types.create("std_msgs/msg/Header", stamp=time, frame_id="a/b é")
    image = CameraImage(np.zeros((1, 1, 1), np.uint8), "mono8", stamp_in_ns(given), "camera", given.frame_id)
    assert through_cdr(header(image, types)) == through_cdr(given)


def test_a_stamp_with_more_than_a_second_of_nanoseconds_is_refused() -> None:
    types = bag_types()
    time = types.create("builtin_interfaces/msg/Time", sec=1, nanosec=1_000_000_000)
    with pytest.raises(InputError, match="1000000000 nanoseconds"):
        stamp_in_ns(types.create("std_msgs/msg/Header", stamp=time, frame_id=""))


def test_embeddings_say_what_they_are_and_those_of_before_are_still_read(frame: PanopticFrame) -> None:
    types, name = bag_types(), "panoptic_ros/msg/InstanceEmbeddingArray"
    message = embeddings_message(replace(frame, embedding_kind="appearance"), "m@1", types)
    cdr = bytes(bag_typestore().serialize_cdr(message, name))
    assert deserialize(cdr, name).kind == "appearance"
    assert embeddings_message(frame, "m@1", types).kind == ""
    before = deserialize(cdr[:cdr.index(b"appearance") - 4], name)  # without the string and its length
    assert not hasattr(before, "kind")
    assert before.data.tolist() == message.data.tolist()


def test_a_frame_without_segments_or_embeddings_is_written_and_read(frame: PanopticFrame) -> None:
    types = bag_types()
    empty = PanopticFrame(frame.image, np.zeros((3, 4), np.uint16), Segments.empty(), frame.classes)
    embeddings = through_cdr(embeddings_message(empty, "m@1", types))
    assert (embeddings.dimension, len(embeddings.segment_ids), len(embeddings.data)) == (0, 0, 0)
    segment_map, segments = read_segments(through_cdr(panoptic_image_message(empty, types)),
                                          through_cdr(segments_message(empty, "m@1", types)), embeddings)
    assert len(segments) == 0
    assert segments.embedding is None
    assert not segment_map.any()


def test_messages_that_do_not_belong_together_are_refused(frame: PanopticFrame) -> None:
    types = bag_types()
    image, segments = panoptic_image_message(frame, types), segments_message(frame, "m@1", types)
    segments.segments.pop()
    with pytest.raises(InputError, match="id 3, but there are 2 segments"):
        read_segments(image, segments)
    segments.segments.pop(0)
    with pytest.raises(InputError, match="ids must be 1"):
        read_segments(image, segments)
    with pytest.raises(InputError, match="mono16"):
        read_segments(camera_image_message(frame.image, types), segments)


def test_an_image_with_row_padding_is_sent_without_it() -> None:
    padded = np.arange(24, dtype=np.uint8).reshape(2, 12)[:, :9].reshape(2, 3, 3)
    message = image_message(padded, "bgr8", None, bag_types())
    assert (message.step, message.data.tolist()) == (9, [*range(9), *range(12, 21)])


def test_generated_classes_get_arrays_of_the_type_they_take_without_conversion(frame: PanopticFrame) -> None:
    types = generated_types(lambda name: SimpleNamespace)
    assert camera_image_message(frame.image, types).data == array.array("B", range(36))
    embeddings = embeddings_message(frame, "m@1", types)
    assert (embeddings.segment_ids, embeddings.track_ids) == (array.array("H", [1, 2]), array.array("I", [0, 7]))
    assert embeddings.data.typecode == "f"
    without = PanopticFrame(frame.image, frame.segment_map, Segments.empty(2), frame.classes)
    none = embeddings_message(without, "m@1", types)
    assert none.data == array.array("f")


def test_depth_comes_back_from_its_message_in_metres_with_nan_where_it_is_not_known(frame: PanopticFrame) -> None:
    depth = np.array([[0, 0.125, 80, np.inf], [np.nan, -1, 3, 4], [5, 6, 7, 1e-3]], np.float32)
    message = through_cdr(depth_image_message(replace(frame, depth=depth), bag_types()))
    assert (message.encoding, message.height, message.width, message.step) == ("32FC1", 3, 4, 16)
    assert stamp_in_ns(message.header) == frame.image.stamp_ns
    read = read_depth(message)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, np.where(depth > 0, depth, np.nan))


def test_a_frame_without_depth_has_no_depth_message(frame: PanopticFrame) -> None:
    with pytest.raises(ValueError, match="no depth"):
        depth_image_message(frame, bag_types())


def test_depth_in_millimetres_with_padded_rows_and_of_another_byte_order_is_read(frame: PanopticFrame) -> None:
    types, millimetres = bag_types(), np.array([[0, 1500], [65535, 2]], np.uint16)
    message = image_message(millimetres, "16UC1", header(frame.image, types), types)
    expected = np.array([[np.nan, 1.5], [65.535, 0.002]], np.float32)
    np.testing.assert_allclose(read_depth(message), expected, rtol=1e-6)
    message.step, message.is_bigendian = 6, 1
    message.data = np.pad(millimetres.byteswap().view(np.uint8), ((0, 0), (0, 2)), constant_values=9).reshape(-1)
    np.testing.assert_allclose(read_depth(message), expected, rtol=1e-6)


@pytest.mark.parametrize(("changes", "words"), [
    ({"encoding": "mono16"}, "32FC1 or 16UC1; this one is mono16"), ({"height": 4}, "48 bytes came"),
    ({"step": 8}, "step of 8 bytes")])
def test_what_is_no_depth_image_is_refused(frame: PanopticFrame, changes: dict[str, Any], words: str) -> None:
    message = depth_image_message(replace(frame, depth=np.ones((3, 4), np.float32)), bag_types())
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(InputError, match=words):
        read_depth(message)


def test_semantics_come_back_from_their_message_and_what_is_none_is_refused(frame: PanopticFrame) -> None:
    semantics = np.arange(12, dtype=np.uint8).reshape(3, 4)
    message = through_cdr(semantic_image_message(replace(frame, semantics=semantics), bag_types()))
    assert read_semantics(message).tolist() == semantics.tolist()
    with pytest.raises(InputError, match="mono8"):
        read_semantics(through_cdr(panoptic_image_message(frame, bag_types())))
