"""rosbag2 recordings: their image topics, and the camera images in them, damaged bags included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from rosbags.rosbag2 import Reader

from panoptic_ros.bags.recording import DEFAULT_FRAME_RATE, BrokenFrame, Recording, Stream, camera_names
from panoptic_ros.bags.recovery import Damage, RawMessage, recover
from panoptic_ros.bags.types import bag_typestore
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    camera_info_topic,
    focal_length,
    stamp_in_ns,
)
from panoptic_ros.pixels import SUPPORTED_ENCODINGS, BrokenImageError, compressed_pixels, image_pixels

BAG_SUFFIXES = {".mcap", ".db3"}


@dataclass
class BagTopic:
    """A topic of a bag; `pixels` is the encoding or the format of its first image, '' where it has none."""

    name: str
    message_type: str
    count: int
    pixels: str = ""
    first_ns: int = 0
    last_ns: int = 0

    def looks_like_a_camera(self) -> bool:
        if self.message_type == COMPRESSED_IMAGE:
            return self.count > 0 and "compressedDepth" not in self.pixels
        # mono16 is taken when asked for, but is mostly depth or labels.
        return self.count > 0 and self.pixels in SUPPORTED_ENCODINGS and self.pixels != "mono16"

    def __str__(self) -> str:
        return f"{self.name} ({self.message_type}{', ' + self.pixels if self.pixels else ''}, {self.count} messages)"


def open_bag(path: Path, topics: tuple[str, ...] = ()) -> Recording:
    """The images of a bag: a folder, with or without its metadata.yaml, or a single .mcap or .db3 file.

    topics: which to read; none given, the one that looks like a camera's.
    Raises InputError when there are no images, when several topics have some and none is given, and when nothing of
    the bag can be read.
    """
    found, notices = bag_topics(path)
    chosen = _choose(path, found, topics)
    cameras, renamed = camera_names(_names_in_topics([topic.name for topic in chosen]))
    streams = tuple(Stream(cameras[topic.name], topic.name, topic.message_type, topic.count, _frame_rate(topic))
                    for topic in chosen)

    there = {topic.name for topic in found if topic.message_type == CAMERA_INFO}
    calibrated = {topic.name: info for topic in chosen if (info := camera_info_topic(topic.name)) in there}

    def frames() -> Iterator[CameraImage | BrokenFrame]:
        infos = {topic: _first_message(path, info) for topic, info in calibrated.items()}
        return _frames(path, {stream.topic: stream for stream in streams}, infos)

    return Recording(path, "rosbag2", streams, frames, (*notices, *renamed))


def _frames(path: Path, streams: dict[str, Stream],
            camera_infos: Mapping[str, Any]) -> Iterator[CameraImage | BrokenFrame]:
    """camera_infos: image topic -> the first message of its camera's calibration, None where it cannot be read."""
    seen: Counter[str] = Counter()
    for item in bag_messages(path, set(streams)):
        if isinstance(item, Damage):
            yield BrokenFrame("", "bag damaged", item.detail, 0)
        else:
            seen[item.topic] += 1
            image = camera_image(item, streams[item.topic].camera)
            if isinstance(image, CameraImage) and (info := camera_infos.get(item.topic)) is not None:
                image = replace(image, focal_length=focal_length(info, image.width))
            yield image
    for topic, stream in streams.items():
        lost = (stream.frames or 0) - seen[topic]
        if lost > 0:
            yield BrokenFrame(stream.camera, "missing from the bag",
                              f"{path} promises {stream.frames} messages on {topic}; {seen[topic]} could be read", lost)


def _first_message(path: Path, topic: str) -> Any:
    """The first message of a topic, None where none can be read."""
    for item in bag_messages(path, {topic}):
        if isinstance(item, RawMessage):
            with suppress(Exception):  # whatever a generated deserializer meets in damaged bytes
                return bag_typestore().deserialize_cdr(item.cdr, item.message_type)
    return None


def camera_image(message: RawMessage, camera: str) -> CameraImage | BrokenFrame:
    """The image in a message, or why there is none.

    A stamp of 0 has not been set, and such an image has none; but a bag that was rendered may begin at 0: then the
    message was recorded at 0 as well.
    """
    place = f"{message.topic} at {message.time_ns} ns"
    try:
        content: Any = bag_typestore().deserialize_cdr(message.cdr, message.message_type)
    except Exception as error:  # whatever a generated deserializer meets in damaged bytes
        return BrokenFrame(camera, "message damaged", f"{place}: not a {message.message_type}: {error}")
    try:
        if message.message_type == COMPRESSED_IMAGE:
            pixels, encoding = compressed_pixels(content.format, content.data)
        else:
            pixels, encoding = image_pixels(content.height, content.width, content.encoding, content.step,
                                            content.is_bigendian, content.data)
        stamp_ns = stamp_in_ns(content.header)
        return CameraImage(pixels, encoding, stamp_ns if stamp_ns or message.time_ns == 0 else None, camera,
                           content.header.frame_id)
    except BrokenImageError as error:
        return BrokenFrame(camera, error.reason, f"{place}: {error}")
    except InputError as error:
        return BrokenFrame(camera, "stamp out of range", f"{place}: {error}")


def bag_messages(path: Path, topics: set[str]) -> Iterator[RawMessage | Damage]:
    """The messages on these topics in order of time, or in order of writing where the bag is damaged."""
    delivered: Counter[tuple[str, int]] = Counter()
    try:
        with Reader(path) as reader:
            connections = [c for c in reader.connections if c.topic in topics]
            for connection, time_ns, cdr in reader.messages(connections):
                yield RawMessage(connection.topic, connection.msgtype, time_ns, cdr)
                delivered[connection.topic, time_ns] += 1
        return
    except Exception:  # whatever the reader meets in damaged bytes; below is what can be read without it
        files = _files(path)
    for file in files:
        for item in recover(file):
            if isinstance(item, Damage):
                yield item
            elif delivered[item.topic, item.time_ns]:
                delivered[item.topic, item.time_ns] -= 1
            elif item.topic in topics:
                yield item


def bag_topics(path: Path) -> tuple[list[BagTopic], tuple[str, ...]]:
    """All topics of the bag, sorted, and what is to be said of its state."""
    try:
        with Reader(path) as reader:
            found = [BagTopic(c.topic, c.msgtype, c.msgcount, "", reader.start_time, reader.end_time)
                     for c in reader.connections if _is_cdr(c)]
            for topic in found:
                if topic.message_type in (IMAGE, COMPRESSED_IMAGE) and topic.count:
                    connections = [c for c in reader.connections if c.topic == topic.name]
                    _, _, cdr = next(iter(reader.messages(connections)))
                    topic.pixels = _pixel_format(cdr, topic.message_type)
        return sorted(found, key=lambda topic: topic.name), ()
    except Exception as error:  # as in _messages
        fault = str(error) or type(error).__name__
    return _recovered_topics(path), (f"the bag is damaged or unfinished ({fault}): what can be read of it is read",)


def _recovered_topics(path: Path) -> list[BagTopic]:
    found: dict[str, BagTopic] = {}
    for file in _files(path):
        for item in recover(file):
            if isinstance(item, RawMessage):
                topic = found.setdefault(item.topic, BagTopic(item.topic, item.message_type, 0, "", item.time_ns))
                topic.count += 1
                topic.last_ns = item.time_ns
                if not topic.pixels and item.message_type in (IMAGE, COMPRESSED_IMAGE):
                    topic.pixels = _pixel_format(item.cdr, item.message_type)
    for name, promised in _promised_counts(path).items():
        if name in found:
            found[name].count = max(found[name].count, promised)
    return sorted(found.values(), key=lambda topic: topic.name)


def _promised_counts(path: Path) -> dict[str, int]:
    """Messages per topic as the folder's metadata.yaml has them; empty where it is not there or is damaged."""
    try:
        bag = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        return {row["topic_metadata"]["name"]: int(row["message_count"]) for row in bag["topics_with_message_count"]}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return {}


def _files(path: Path) -> list[Path]:
    """The storage files of a bag, in the order of the numbers that rosbag2 gives them."""
    if path.is_file():
        return [path]
    files = [file for file in path.iterdir() if file.suffix in BAG_SUFFIXES]
    if not files:
        raise InputError(f"{path} is not a bag that can be read: it has no {' or '.join(sorted(BAG_SUFFIXES))} file")
    return sorted(files, key=lambda file: (len(file.name), file.name))


def _pixel_format(cdr: bytes, message_type: str) -> str:
    try:
        content: Any = bag_typestore().deserialize_cdr(cdr, message_type)
    except Exception:  # as in camera_image, where it is reported
        return ""
    return str(content.format if message_type == COMPRESSED_IMAGE else content.encoding)


def _is_cdr(connection: Any) -> bool:
    return str(connection.ext.serialization_format) == "cdr"


def _choose(path: Path, found: list[BagTopic], wanted: tuple[str, ...]) -> list[BagTopic]:
    images = [topic for topic in found if topic.message_type in (IMAGE, COMPRESSED_IMAGE)]
    if not images:
        others = "; ".join(map(str, found)) or "nothing"
        raise InputError(f"{path} has no images (sensor_msgs/Image or CompressedImage); it has: {others}")
    listed = "; ".join(map(str, images))
    if wanted:
        unknown = sorted(set(wanted) - {topic.name for topic in images})
        if unknown:
            raise InputError(f"{path} has no images on {', '.join(unknown)}; it has them on: {listed}")
        return [topic for topic in images if topic.name in wanted]
    cameras = [topic for topic in images if topic.looks_like_a_camera()]
    if not cameras:
        raise InputError(f"none of the topics of {path} looks like a camera's; choose with --topic among: {listed}")
    if len(cameras) > 1:
        raise InputError(f"{path} has images on several topics; choose with --topic (more than once for more than one "
                         f"camera) among: {listed}")
    return cameras


def _names_in_topics(topics: list[str]) -> dict[str, str]:
    """A name for the camera of each topic: /front/image_raw -> front; the whole topic where only that is unique."""
    parts = {topic: [part for part in topic.split("/") if part] for topic in topics}
    short = {}
    for topic, words in parts.items():
        kept = [word for word in words if word != "compressed" and not word.startswith("image")]
        short[topic] = "_".join(kept) or "camera"
    whole = {topic: "_".join(words) for topic, words in parts.items()}
    return whole if len(set(short.values())) < len(set(whole.values())) == len(topics) else short


def _frame_rate(topic: BagTopic) -> float:
    seconds = (topic.last_ns - topic.first_ns) / 1e9
    rate = (topic.count - 1) / seconds if topic.count > 1 and seconds > 0 else DEFAULT_FRAME_RATE
    return min(max(rate, 0.1), 1000.0)
