"""rosbag2 recordings: their image topics, and the camera images in them, damaged bags included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from panoptic_ros.bags.bag import Bag
from panoptic_ros.bags.image_messages import IMAGE_TYPES, ImageMessage, image_message, is_image
from panoptic_ros.bags.read_video import PacketDecoder
from panoptic_ros.bags.recording import DEFAULT_FRAME_RATE, BrokenFrame, Recording, Stream, camera_names
from panoptic_ros.bags.storage import Damage, RawMessage, TopicCount
from panoptic_ros.bags.types import deserialize
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import CAMERA_INFO, camera_info_topic, focal_length
from panoptic_ros.pixels import SUPPORTED_ENCODINGS, BrokenImageError, compressed_pixels, image_pixels, video_codec


@dataclass
class BagTopic:
    """A topic of a bag; `pixels` is the encoding or the format of its first image, '' where it has none.

    encoding: of its messages, cdr for ROS 2. is_image: whether its messages are read as images.
    """

    name: str
    message_type: str
    count: int
    pixels: str = ""
    encoding: str = "cdr"
    is_image: bool = False

    def looks_like_a_camera(self) -> bool:
        if self.message_type.endswith(("RawImage", "/Image")):
            # mono16 is taken when asked for, but is mostly depth or labels.
            return self.count > 0 and self.pixels in SUPPORTED_ENCODINGS and self.pixels != "mono16"
        # `16UC1; png compressed 16UC1` is depth in an image file.
        return self.count > 0 and "compressedDepth" not in self.pixels and not self.pixels.startswith(
            ("16UC1", "32FC1", "mono16"))

    def __str__(self) -> str:
        words = (self.message_type, *([f"in {self.encoding}"] if self.encoding != "cdr" else []),
                 *([self.pixels] if self.pixels else []), f"{self.count} messages")
        return f"{self.name} ({', '.join(words)})"


def open_bag(path: Path, topics: tuple[str, ...] = ()) -> Recording:
    """The images of a bag: a folder, with or without its metadata.yaml, or a single .mcap or .db3 file.

    They come in the order in which they were recorded. Read are the image messages of ROS 2, ROS 1 and Foxglove, video
    in them as well.
    topics: which to read; none given, the one that looks like a camera's.
    Raises InputError when there are no images, when several topics have some and none is given, and when nothing of
    the bag can be read.
    """
    bag = Bag(path)
    found = topics_of(bag)
    chosen = _choose(path, found, topics)
    cameras, renamed = camera_names(_names_in_topics([topic.name for topic in chosen]))
    streams = tuple(Stream(cameras[topic.name], topic.name, topic.message_type, topic.count,
                           _frame_rate(bag, topic.name)) for topic in chosen)

    there = {topic.name for topic in found if topic.message_type == CAMERA_INFO}
    calibrated = {topic.name: info for topic in chosen if (info := camera_info_topic(topic.name)) in there}

    def frames() -> Iterator[CameraImage | BrokenFrame]:
        infos = {stream.camera: info for stream in streams if stream.topic in calibrated
                 and (info := _first_message(bag, calibrated[stream.topic])) is not None}
        found = _frames(bag, {stream.topic: stream for stream in streams})
        return (_calibrated(frame, infos) for frame in found)

    return Recording(path, "rosbag2", streams, frames, (*bag.notices, *renamed))


def _calibrated(frame: CameraImage | BrokenFrame, camera_infos: Mapping[str, Any]) -> CameraImage | BrokenFrame:
    """The frame with its camera's focal length, where there is a CameraInfo of it."""
    if isinstance(frame, BrokenFrame) or (info := camera_infos.get(frame.camera)) is None:
        return frame
    return replace(frame, focal_length=focal_length(info, frame.width))


def _frames(bag: Bag, streams: dict[str, Stream]) -> Iterator[CameraImage | BrokenFrame]:
    seen: Counter[str] = Counter()
    videos: dict[str, _Video] = {}
    for item in bag.messages(set(streams)):
        if isinstance(item, Damage):
            yield BrokenFrame("", "bag damaged", item.detail, 0)
        elif is_image(item.message_type, item.encoding):
            seen[item.topic] += 1
            camera = streams[item.topic].camera
            parsed = _parsed(item, camera)
            if not isinstance(parsed, BrokenFrame) and (codec := _codec(parsed)):
                yield from videos.setdefault(item.topic, _Video(codec, camera)).images(parsed, _stamp(item, parsed),
                                                                                       _place(item))
            else:
                yield parsed if isinstance(parsed, BrokenFrame) else _image(item, parsed, camera)
    for video in videos.values():
        yield from video.rest()
    for topic, stream in streams.items():
        lost = (stream.frames or 0) - seen[topic]
        if lost > 0:
            yield BrokenFrame(stream.camera, "missing from the bag",
                              f"{bag.path} promises {stream.frames} messages on {topic}; {seen[topic]} could be read",
                              lost)


def _first_message(bag: Bag, topic: str) -> Any:
    """The first message of a topic of ROS 2, None where none can be read."""
    for item in bag.messages({topic}):
        if isinstance(item, RawMessage) and item.encoding == "cdr":
            with suppress(Exception):  # whatever a generated deserializer meets in damaged bytes
                return deserialize(item.content, item.message_type)
    return None


def camera_image(message: RawMessage, camera: str) -> CameraImage | BrokenFrame:
    """The image in a message that can be read without others, or why there is none.

    A stamp of 0 has not been set, and such an image has none; but a bag that was rendered may begin at 0: then the
    message was recorded at 0 as well.
    """
    parsed = _parsed(message, camera)
    return parsed if isinstance(parsed, BrokenFrame) else _image(message, parsed, camera)


def _parsed(message: RawMessage, camera: str) -> ImageMessage | BrokenFrame:
    try:
        return image_message(message)
    except InputError as error:
        return BrokenFrame(camera, "stamp out of range", f"{_place(message)}: {error}")
    except Exception as error:  # whatever a generated deserializer meets in damaged bytes
        return BrokenFrame(camera, "message damaged", f"{_place(message)}: not a {message.message_type}: {error}")


def _image(message: RawMessage, parsed: ImageMessage, camera: str) -> CameraImage | BrokenFrame:
    try:
        if parsed.encoding is None:
            pixels, encoding = compressed_pixels(parsed.pixels, parsed.data)
        else:
            pixels, encoding = image_pixels(parsed.height, parsed.width, parsed.encoding, parsed.step,
                                            parsed.is_bigendian, parsed.data)
        return CameraImage(pixels, encoding, _stamp(message, parsed), camera, parsed.frame_id)
    except BrokenImageError as error:
        return BrokenFrame(camera, error.reason, f"{_place(message)}: {error}")


class _Video:
    """The images of a topic whose messages are packets of video; each message is accounted for."""

    def __init__(self, codec: str, camera: str) -> None:
        self._codec, self._camera = codec, camera
        self._waiting: dict[int, tuple[int | None, str, str]] = {}
        self._number = 0
        self._problem = ""
        try:
            self._decoder: PacketDecoder | None = PacketDecoder(codec)
        except InputError as error:
            self._decoder, self._problem = None, str(error)

    def images(self, packet: ImageMessage, stamp_ns: int | None, place: str) -> Iterator[CameraImage | BrokenFrame]:
        """What is complete with this packet."""
        if self._decoder is None:
            yield BrokenFrame(self._camera, f"{self._codec.upper()} video", f"{place}: {self._problem}")
            return
        self._number += 1
        self._waiting[self._number] = stamp_ns, packet.frame_id, place
        try:
            yield from self._decoded(bytes(packet.data))
        except ValueError as error:
            yield self._broken(self._number, str(error))

    def rest(self) -> Iterator[CameraImage | BrokenFrame]:
        """What is left at the end: images that came late, and packets of which there is none."""
        if self._decoder is not None:
            with suppress(ValueError):  # its packets are told of below
                yield from self._decoded(None)
        for number in list(self._waiting):
            yield self._broken(number, "there is no image for it: those that it builds on are missing or damaged")

    def _decoded(self, content: bytes | None) -> Iterator[CameraImage]:
        assert self._decoder is not None
        for number, pixels in self._decoder.decode(content, self._number):
            if known := self._waiting.pop(number, None):
                yield CameraImage(pixels, "bgr8", known[0], self._camera, known[1])

    def _broken(self, number: int, why: str) -> BrokenFrame:
        _, _, place = self._waiting.pop(number)
        return BrokenFrame(self._camera, f"{self._codec.upper()} video",
                           f"{place}: a packet of {self._codec.upper()} video that cannot be decoded: {why}")


def _codec(parsed: ImageMessage) -> str | None:
    return video_codec(parsed.format, parsed.data) if parsed.format is not None else None


def _stamp(message: RawMessage, parsed: ImageMessage) -> int | None:
    return parsed.stamp_ns if parsed.stamp_ns or message.time_ns == 0 else None


def _place(message: RawMessage) -> str:
    return f"{message.topic} at {message.time_ns} ns"


def topics_of(bag: Bag) -> list[BagTopic]:
    """All topics of the bag, sorted; one of images is there once, whoever published them."""
    found = []
    for name, keys in groupby(sorted(bag.topics), key=lambda key: key[0]):
        counts = [bag.topics[key] for key in keys]
        images = [count for count in counts if is_image(count.message_type, count.encoding)]
        for count in counts:
            if count not in images:
                found.append(_topic(name, count))
        if images:
            total = TopicCount(images[0].message_type, images[0].encoding)
            for count in images:
                total.add(count)
            found.append(topic := _topic(name, total))
            topic.is_image, topic.pixels = True, _pixel_format(bag, name) if total.count else ""
    return found


def _topic(name: str, count: TopicCount) -> BagTopic:
    return BagTopic(name, count.message_type, count.count, "", count.encoding)


def _pixel_format(bag: Bag, topic: str) -> str:
    """The encoding or format of the first message that can be read."""
    for item in bag.messages({topic}):
        if isinstance(item, RawMessage) and is_image(item.message_type, item.encoding):
            try:
                return image_message(item).pixels
            except Exception:  # as in _parsed, where it is reported
                return ""
    return ""


def _choose(path: Path, found: list[BagTopic], wanted: tuple[str, ...]) -> list[BagTopic]:
    images = [topic for topic in found if topic.is_image]
    if not images:
        others = "; ".join(map(str, found)) or "nothing"
        raise InputError(f"{path} has no images (sensor_msgs/Image or CompressedImage, or those of Foxglove in CDR, "
                         f"ROS 1, Protobuf or JSON){_unread_images(found)}; it has: {others}")
    listed = "; ".join(map(str, images))
    if wanted:
        unknown = sorted(set(wanted) - {topic.name for topic in images})
        if unknown:
            raise InputError(f"{path} has no images on {', '.join(unknown)}; it has them on: {listed}")
        return [topic for topic in images if topic.name in wanted]
    if not any(topic.count for topic in images):
        raise InputError(f"{path} has no images: there is no message on its image topics ({listed})")
    cameras = [topic for topic in images if topic.looks_like_a_camera()]
    if not cameras:
        raise InputError(f"none of the topics of {path} looks like a camera's; choose with --topic among: {listed}")
    if len(cameras) > 1:
        raise InputError(f"{path} has images on several topics; choose with --topic (more than once for more than one "
                         f"camera) among: {listed}")
    return cameras


def _unread_images(found: list[BagTopic]) -> str:
    """Says of image messages in an encoding that is not read that they are not."""
    unread = sorted({topic.encoding for topic in found if topic.message_type in IMAGE_TYPES})
    return f": messages in {', '.join(unread)} are not read" if unread else ""


def _names_in_topics(topics: list[str]) -> dict[str, str]:
    """A name for the camera of each topic: /front/image_raw -> front; the whole topic where only that is unique."""
    parts = {topic: [part for part in topic.split("/") if part] for topic in topics}
    short = {}
    for topic, words in parts.items():
        kept = [word for word in words if word != "compressed" and not word.startswith("image")]
        short[topic] = "_".join(kept) or "camera"
    whole = {topic: "_".join(words) for topic, words in parts.items()}
    return whole if len(set(short.values())) < len(set(whole.values())) == len(topics) else short


def _frame_rate(bag: Bag, topic: str) -> float:
    return min(max(bag.rate(topic) or DEFAULT_FRAME_RATE, 0.1), 1000.0)
