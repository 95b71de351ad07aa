"""What the files of bags hold: messages as they lie there, damaged places, and how several are merged by time."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

Item = TypeVar("Item")

# Of a range of time that is not limited, ns.
FIRST_NS, LAST_NS = -(1 << 63), 1 << 64
# The largest message, and the largest piece of a file that is read at once.
LARGEST_RECORD = 1 << 30


@dataclass(frozen=True)
class RawMessage:
    """A message as it lies in a bag.

    message_type: `package/msg/Name` for ROS 2 and ROS 1, else as the file has it, such as `foxglove.CompressedImage`.
    time_ns: when it was recorded. encoding: of `content`: cdr, ros1, protobuf, json or another.
    """

    topic: str
    message_type: str
    time_ns: int
    content: bytes
    encoding: str = "cdr"


@dataclass(frozen=True)
class Damage:
    """A place in a bag file where nothing can be read; what follows is read again where that is possible."""

    detail: str


@dataclass
class TopicCount:
    """How many messages of one type and encoding a topic has, and when the first and the last of them were recorded."""

    message_type: str
    encoding: str
    count: int = 0
    first_ns: int = LAST_NS
    last_ns: int = FIRST_NS

    def add(self, other: TopicCount) -> None:
        """Count the messages of another file as well."""
        self.count += other.count
        self.first_ns, self.last_ns = min(self.first_ns, other.first_ns), max(self.last_ns, other.last_ns)


# Topic, message type, encoding: what one stream of messages is told from another by. Not by QoS or publisher.
TopicKey = tuple[str, str, str]


class StorageFile(Protocol):
    """One file of a bag. topics: what it has. damage: what was found wrong when it was opened."""

    path: Path
    topics: dict[TopicKey, TopicCount]
    damage: list[Damage]

    def messages(self, topics: set[str], first_ns: int = FIRST_NS,
                 last_ns: int = LAST_NS) -> Iterator[tuple[int, RawMessage | Damage]]:
        """The messages on these topics recorded in this range of time, both ends included, each after its time and in
        the order of it."""
        ...


def merged(pieces: Iterable[tuple[int, Callable[[], Iterable[tuple[int, Item]]]]]) -> Iterator[tuple[int, Item]]:
    """Pieces whose items are sorted by time -> all items sorted by time.

    pieces: the time of its first item, and how it is opened: only when that time has come.
    """
    waiting: Sequence[tuple[int, Callable[[], Iterable[tuple[int, Item]]]]] = sorted(pieces, key=lambda piece: piece[0])
    opened: list[tuple[int, int, Item, Iterator[tuple[int, Item]]]] = []
    number = 0

    def push(piece: int, items: Iterator[tuple[int, Item]]) -> None:
        for time_ns, item in items:
            heapq.heappush(opened, (time_ns, piece, item, items))
            return

    while opened or number < len(waiting):
        while number < len(waiting) and (not opened or waiting[number][0] <= opened[0][0]):
            push(number, iter(waiting[number][1]()))
            number += 1
        if opened:
            time_ns, piece, item, items = heapq.heappop(opened)
            yield time_ns, item
            push(piece, items)


def ros_type_name(name: str) -> str:
    """The name of a message type in the one form that is used here.

    `sensor_msgs/Image` of ROS 1 and `sensor_msgs::msg::dds_::Image_` of DDS -> `sensor_msgs/msg/Image`;
    `foxglove_msgs/msg/RawImage`, `foxglove::RawImage` -> `foxglove.RawImage`, as it is called in Protobuf and JSON.
    """
    parts = [part for part in re.split(r"::|/|\.", name) if part not in ("dds_", "msg", "")]
    if len(parts) != 2:
        return name
    package, kind = parts[0], parts[1].removesuffix("_")
    if package in ("foxglove", "foxglove_msgs"):
        return f"foxglove.{kind}"
    return name if "." in name else f"{package}/msg/{kind}"
