"""The generated messages have the fields of the design and travel through ROS's own serialisation."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="no rclpy here")
msg = pytest.importorskip("panoptic_ros.msg", reason="the messages are not built: scripts/set_up")


def test_the_fields_are_those_of_the_design() -> None:
    assert msg.PanopticSegment.get_fields_and_field_types() == {
        "id": "uint16", "class_id": "uint16", "class_name": "string", "is_thing": "boolean", "score": "float",
        "area": "uint32", "roi": "sensor_msgs/RegionOfInterest", "track_id": "uint32", "track_age": "uint32",
        "depth": "float"}
    assert msg.PanopticSegmentArray.get_fields_and_field_types() == {
        "header": "std_msgs/Header", "height": "uint32", "width": "uint32", "model_id": "string",
        "segments": "sequence<panoptic_ros/PanopticSegment>"}
    assert msg.InstanceEmbeddingArray.get_fields_and_field_types() == {
        "header": "std_msgs/Header", "model_id": "string", "dimension": "uint32", "segment_ids": "sequence<uint16>",
        "track_ids": "sequence<uint32>", "data": "sequence<float>", "kind": "string"}


def test_a_message_survives_serialisation() -> None:
    from rclpy.serialization import deserialize_message, serialize_message
    segment = msg.PanopticSegment(id=65535, class_id=13, class_name="car", is_thing=True, score=0.5, area=2**32 - 1,
                                  track_id=7, track_age=2, depth=12.5)
    array = msg.PanopticSegmentArray(height=512, width=1024, model_id="city@01234567", segments=[segment])
    array.header.stamp.sec, array.header.stamp.nanosec, array.header.frame_id = 1, 999_999_999, "camera"
    assert deserialize_message(serialize_message(array), msg.PanopticSegmentArray) == array
