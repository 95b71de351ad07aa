"""Image messages of every kind that bags have: ROS 2, ROS 1 and Foxglove, as CDR, ROS 1, Protobuf and JSON."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from panoptic_ros.bags.storage import RawMessage
from panoptic_ros.bags.types import bag_typestore
from panoptic_ros.errors import InputError
from panoptic_ros.messages import COMPRESSED_IMAGE, IMAGE, stamp_in_ns
from panoptic_ros.timestamps import date_in_ns

FOXGLOVE_IMAGE, FOXGLOVE_COMPRESSED, FOXGLOVE_VIDEO = (
    "foxglove.RawImage", "foxglove.CompressedImage", "foxglove.CompressedVideo")
IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE, FOXGLOVE_IMAGE, FOXGLOVE_COMPRESSED, FOXGLOVE_VIDEO)
# Message encodings that are read. In Protobuf and JSON there are Foxglove's types alone.
ENCODINGS = ("cdr", "ros1", "protobuf", "json")

# Foxglove's types in Protobuf: number of the field -> its name.
_FIELDS: dict[str, dict[int, str]] = {
    FOXGLOVE_IMAGE: {1: "timestamp", 2: "width", 3: "height", 4: "encoding", 5: "step", 6: "data", 7: "frame_id"},
    FOXGLOVE_COMPRESSED: {1: "timestamp", 2: "data", 3: "format", 4: "frame_id"},
    FOXGLOVE_VIDEO: {1: "timestamp", 2: "frame_id", 3: "data", 4: "format"},
}
_DEFINITIONS = {
    FOXGLOVE_IMAGE: "builtin_interfaces/Time timestamp\nstring frame_id\nuint32 width\nuint32 height\n"
                    "string encoding\nuint32 step\nuint8[] data\n",
    FOXGLOVE_COMPRESSED: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
    FOXGLOVE_VIDEO: "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
}


@dataclass(frozen=True)
class ImageMessage:
    """The fields of an image message.

    stamp_ns: of its header, 0 where nobody has set it. encoding: of raw pixels (height rows of step bytes); format: of
    an image file or a packet of video; one of the two is None.
    """

    stamp_ns: int
    frame_id: str
    data: Any
    encoding: str | None = None
    format: str | None = None
    height: int = 0
    width: int = 0
    step: int = 0
    is_bigendian: bool = False

    @property
    def pixels(self) -> str:
        """The encoding or the format."""
        return self.format if self.encoding is None else self.encoding  # type: ignore[return-value]


def is_image(message_type: str, encoding: str) -> bool:
    """Whether messages of this type and encoding are read as images."""
    return message_type in IMAGE_TYPES and encoding in (
        ENCODINGS if message_type.startswith("foxglove.") else ENCODINGS[:2])


def image_message(message: RawMessage) -> ImageMessage:
    """The fields of an image message of a kind that `is_image` takes.

    Raises InputError for a stamp that cannot be one, and whatever a decoder meets in damaged bytes.
    """
    if message.encoding in ("protobuf", "json"):
        fields = _from_protobuf(message.content, _FIELDS[message.message_type]) if message.encoding == "protobuf" \
            else _from_json(message.content)
        return _of_fields(message.message_type, fields)
    content = _deserialized(message)
    if message.message_type.startswith("foxglove."):
        return _of_fields(message.message_type, vars(content) | {
            "timestamp": (content.timestamp.sec, content.timestamp.nanosec)})
    stamp_ns, frame_id = stamp_in_ns(content.header), content.header.frame_id
    if message.message_type == COMPRESSED_IMAGE:
        return ImageMessage(stamp_ns, frame_id, content.data, format=content.format)
    return ImageMessage(stamp_ns, frame_id, content.data, content.encoding, None, content.height, content.width,
                        content.step, bool(content.is_bigendian))


def _deserialized(message: RawMessage) -> Any:
    name = message.message_type
    if name.startswith("foxglove."):
        name = f"foxglove_msgs/msg/{name.removeprefix('foxglove.')}"
    if message.encoding == "ros1":
        return _typestore("ros1").deserialize_ros1(message.content, name)
    store = _typestore("cdr") if message.message_type.startswith("foxglove.") else bag_typestore()
    return store.deserialize_cdr(message.content, name)


@cache
def _typestore(encoding: str) -> Typestore:
    """Types of ROS 1 or ROS 2, with those of Foxglove."""
    store = get_typestore(Stores.ROS1_NOETIC if encoding == "ros1" else Stores.ROS2_JAZZY)
    for name, definition in _DEFINITIONS.items():
        if encoding == "ros1":
            definition = definition.replace("builtin_interfaces/Time", "time")
        store.register(get_types_from_msg(definition, f"foxglove_msgs/msg/{name.removeprefix('foxglove.')}"))
    return store


def _of_fields(message_type: str, fields: Mapping[str, Any]) -> ImageMessage:
    sec, nanosec = fields.get("timestamp", (0, 0))
    if not 0 <= nanosec < 1_000_000_000:
        raise InputError(f"the stamp has {nanosec} nanoseconds beside {sec} s; less than 1e9 are allowed")
    stamp_ns, frame_id = sec * 1_000_000_000 + nanosec, str(fields.get("frame_id", ""))
    pixels = fields.get("data", b"")
    if message_type == FOXGLOVE_IMAGE:
        return ImageMessage(stamp_ns, frame_id, pixels, fields.get("encoding", ""), None, fields.get("height", 0),
                            fields.get("width", 0), fields.get("step", 0))
    return ImageMessage(stamp_ns, frame_id, pixels, format=fields.get("format", ""))


def _from_protobuf(content: bytes, names: Mapping[int, str]) -> dict[str, Any]:
    """The fields of a message by their names; ValueError where it is none."""
    fields: dict[str, Any] = {}
    for number, value in _protobuf_fields(content):
        if name := names.get(number):
            if name == "timestamp":
                parts = dict(_protobuf_fields(value))
                fields[name] = (_signed(parts.get(1, 0)), _signed(parts.get(2, 0)))
            else:
                fields[name] = value.decode() if name in ("frame_id", "format", "encoding") else value
    return fields


def _protobuf_fields(content: bytes) -> list[tuple[int, Any]]:
    """Number and value of each field: whole numbers, and bytes for whatever has a length."""
    fields: list[tuple[int, Any]] = []
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        value: Any
        if (kind := tag & 7) == 0:
            value, position = _varint(content, position)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            (value,) = struct.unpack_from("<Q" if kind == 1 else "<I", content, position)
            position += size
        elif kind == 2:
            length, position = _varint(content, position)
            value = content[position:position + length]
            position += length
            if position > len(content):
                raise ValueError("a field goes beyond the end of the message")
        else:
            raise ValueError(f"there is no field of kind {kind}")
        fields.append((tag >> 3, value))
    return fields


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(content) or shift > 63:
            raise ValueError("a number has no end")
        value |= (content[position] & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not content[position - 1] & 0x80:
            return value, position


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _from_json(content: bytes) -> dict[str, Any]:
    """The fields of Foxglove's types as JSON has them: bytes in base64, times as sec and nsec."""
    fields = json.loads(content)
    if not isinstance(fields, dict) or not isinstance(fields.get("data", ""), str):
        raise ValueError("the JSON of an image has its bytes as text in `data`")
    stamp = fields.get("timestamp") or {}
    if isinstance(stamp, str):  # as Protobuf's own JSON has times
        sec, nanosec = divmod(date_in_ns(stamp.removesuffix("Z")), 1_000_000_000)
    else:
        sec, nanosec = int(stamp.get("sec", 0)), int(stamp.get("nsec", stamp.get("nanosec", 0)))
    return {**fields, "data": base64.b64decode(fields.get("data", "")), "timestamp": (sec, nanosec)}
