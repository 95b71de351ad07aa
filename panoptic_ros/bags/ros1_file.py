"""Reads the bags of ROS 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rosbags.rosbag1 import Reader, ReaderError

from panoptic_ros.bags.storage import (
    FIRST_NS,
    LAST_NS,
    Damage,
    RawMessage,
    TopicCount,
    TopicKey,
    ros_type_name,
)
from panoptic_ros.errors import InputError

MAGIC = b"#ROSBAG V2.0"


class Ros1File:
    """A `StorageFile` of ROS 1. Raises InputError for a bag without index, which a recorder leaves that was killed."""

    def __init__(self, path: Path, plain: Path | None = None) -> None:
        self.path, self._plain = path, plain or path
        self.topics: dict[TopicKey, TopicCount] = {}
        self.damage: list[Damage] = []
        try:
            with Reader(self._plain) as reader:
                first, last = reader.start_time, reader.end_time
                for connection in reader.connections:
                    key = (connection.topic, ros_type_name(connection.msgtype), "ros1")
                    self.topics.setdefault(key, TopicCount(*key[1:])).add(
                        TopicCount(*key[1:], connection.msgcount, first, last))
        except Exception as error:  # whatever the reader meets in damaged bytes
            raise InputError(f"{path} is a bag of ROS 1 that cannot be read ({error}): `rosbag reindex` repairs one "
                             "whose recorder was killed") from error

    def messages(self, topics: set[str], first_ns: int = FIRST_NS,
                 last_ns: int = LAST_NS) -> Iterator[tuple[int, RawMessage | Damage]]:
        """As `StorageFile` has it; a damaged chunk ends it."""
        time_ns = FIRST_NS
        try:
            with Reader(self._plain) as reader:
                connections = [connection for connection in reader.connections if connection.topic in topics]
                if connections:
                    for connection, time_ns, content in reader.messages(connections):
                        if first_ns <= time_ns <= last_ns:
                            yield time_ns, RawMessage(connection.topic, ros_type_name(connection.msgtype), time_ns,
                                                      bytes(content), "ros1")
        except (ReaderError, ValueError, RuntimeError, EOFError, OSError) as error:
            yield time_ns, Damage(f"{self.path} cannot be read after {time_ns} ns: {error}")
