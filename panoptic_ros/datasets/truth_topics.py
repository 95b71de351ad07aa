"""Ground truth in topics of a rosbag2 as a dataset: label images, segment lists and depth beside a camera's images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from panoptic_ros.bags.bag import Bag
from panoptic_ros.bags.image_messages import image_message
from panoptic_ros.bags.read_bag import BagTopic, camera_image, topics_of
from panoptic_ros.bags.recording import BrokenFrame
from panoptic_ros.bags.storage import Damage, RawMessage
from panoptic_ros.bags.types import deserialize
from panoptic_ros.classes import ClassTable, load_class_table
from panoptic_ros.datasets.dataset import Dataset, Entry, Truth
from panoptic_ros.errors import InputError
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.messages import DEPTH_ENCODINGS, IMAGE, SEGMENTS, TRUTH, read_depth, read_segments, serialized_header
from panoptic_ros.paths import shared_folder


@dataclass(frozen=True)
class CameraTruth:
    """The topics that hold the truth of one camera: pixel = segment id, what the segments are, and perhaps depth."""

    panoptic: str
    segments: str
    depth: str | None = None


def find_truth_topics(path: Path, cameras: Mapping[str, str], panoptic: str | None = None) -> dict[str, CameraTruth]:
    """The truth topics of each camera in a bag; empty where it has none.

    cameras: camera -> topic of its images. Looked for are <camera topic>/truth/panoptic/image, as the synthetic city
    writes it, and what `panoptic-ros replay` and the node publish: /<camera>/panoptic/image, or /panoptic/image where
    there is one camera. Segments lie beside, on .../panoptic/segments or .../segments; depth may lie on .../depth or
    .../depth/image in the place of .../panoptic/image.
    panoptic: the topic of the label images, where another is wanted.
    Raises InputError when that topic is not there, has no segments beside it, or a camera is left without truth.
    """
    topics = {topic.name: topic for topic in topics_of(Bag(path)) if topic.count}
    if panoptic is not None:
        if len(cameras) > 1:
            raise InputError(f"{panoptic} is the truth of one camera, but there are {', '.join(cameras)}: choose one "
                             "with --topic")
        pair = _pair(panoptic, topics)
        if pair is None:
            labels = [name for name in topics if _pair(name, topics)]
            raise InputError(f"{path} has no truth on {panoptic}: wanted are label images (sensor_msgs/Image, mono16) "
                             "there, and a PanopticSegmentArray on .../segments beside it; it has such truth on: "
                             f"{', '.join(labels) or 'no topic'}")
        return dict.fromkeys(cameras, pair)
    found = {}
    for camera, image_topic in cameras.items():
        bases = [f"{_camera_base(image_topic)}/truth", f"/{camera}"] + ([""] if len(cameras) == 1 else [])
        pairs = [pair for base in bases if (pair := _pair(f"{base}/panoptic/image", topics))]
        if pairs:
            found[camera] = pairs[0]
    missing = sorted(cameras.keys() - found.keys())
    if found and missing:
        raise InputError(f"{path} has truth topics for {', '.join(found)}, but not for {', '.join(missing)}: leave "
                         "these cameras out with --topic")
    return found


class _Kind(NamedTuple):
    """What a segment of the truth says of itself."""

    class_id: int
    name: str
    is_thing: bool
    is_tracked: bool


class TruthTopics(Dataset):
    """The images of a bag that have truth; a sequence for each camera, in the order of their stamps.

    cameras: camera -> topic of its images. pairs: as `find_truth_topics` returns them. preferred: class table that is
    taken where it has the truth's classes; else the first table of config/datasets that has them.
    Raises InputError for a damaged bag, stamps that are there twice, label images without segments or the reverse, and
    classes that no table has.
    """

    def __init__(self, path: Path, cameras: Mapping[str, str], pairs: Mapping[str, CameraTruth],
                 preferred: ClassTable) -> None:
        self.name = path.name
        self._path, self._cameras, self._pairs = path, dict(cameras), dict(pairs)
        self._bag: Bag | None = None
        # Topic -> stamp -> time of recording, by which a bag finds a message again.
        self._times: dict[str, dict[int, int]] = {}
        kinds = self._index()
        self.classes, self._row_of_class = _class_rows(path, kinds, preferred)
        is_tracked = any(kind.is_thing and kind.is_tracked for kind in kinds)
        has_depth = any(pair.depth for pair in self._pairs.values())
        self.truth = frozenset({Truth.PANOPTIC, Truth.SEMANTIC} | ({Truth.TRACKS} if is_tracked else set())
                               | ({Truth.DEPTH} if has_depth else set()))
        self.entries = [Entry(f"{camera}_{stamp}", camera, stamp) for camera, pair in self._pairs.items()
                        for stamp in sorted(self._times[pair.panoptic])]

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8, red, green, blue."""
        entry = self.entries[index]
        image = camera_image(self._message(self._cameras[str(entry.sequence)], entry.stamp_ns), str(entry.sequence))
        if isinstance(image, BrokenFrame):
            raise InputError(f"{self._path}: {image.detail}")
        return np.ascontiguousarray(image.rgb())

    def label(self, index: int) -> PanopticLabel:
        """The truth of this image; the track ids of things are the object ids.

        Where segments are said to be truth (model_id) and have track ids, a thing without one is a crowd. What a model
        found, taken as truth, has no crowds: its things without a track are objects that it does not follow.
        """
        entry = self.entries[index]
        pair = self._pairs[str(entry.sequence)]
        try:
            segments = _content(self._message(pair.segments, entry.stamp_ns))
            segment_map, rows = read_segments(_content(self._message(pair.panoptic, entry.stamp_ns)), segments)
        except InputError as error:
            raise InputError(f"{self._path}: truth at {entry.stamp_ns} ns: {error}") from error
        has_crowds = segments.model_id == TRUTH and bool(rows.track_id.any())
        return PanopticLabel.of(segment_map, self._row_of_class[rows.class_id],
                                np.where(rows.is_thing, rows.track_id, 0),
                                rows.is_thing & (rows.track_id == 0) & has_crowds)

    def depth(self, index: int) -> np.ndarray:
        """(H, W) float32 metres, NaN where nobody knows: everywhere, where the image has no depth."""
        if Truth.DEPTH not in self.truth:
            return super().depth(index)
        entry = self.entries[index]
        topic = self._pairs[str(entry.sequence)].depth
        if topic is None or entry.stamp_ns not in self._times.get(topic, {}):
            return np.full(self.label(index).segment_map.shape, np.nan, np.float32)
        try:
            return read_depth(_content(self._message(topic, entry.stamp_ns)))
        except InputError as error:
            raise InputError(f"{self._path}: depth on {topic} at {entry.stamp_ns} ns: {error}") from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bag": None}

    def _message(self, topic: str, stamp_ns: int) -> RawMessage:
        if stamp_ns not in self._times.get(topic, {}):
            raise InputError(f"{self._path} has no image on {topic} with the stamp {stamp_ns} ns")
        time_ns = self._times[topic][stamp_ns]
        for item in self._opened().messages({topic}, time_ns, time_ns):
            # Several messages of a topic may have been recorded at the same time.
            if isinstance(item, RawMessage) and _stamp(item) == stamp_ns:
                return item
        raise InputError(f"{self._path}: the message on {topic} with the stamp {stamp_ns} ns is gone")

    def _opened(self) -> Bag:
        if self._bag is None:
            self._bag = Bag(self._path)
        return self._bag

    def _index(self) -> set[_Kind]:
        """Note where every message is; returns the kinds of segments there are."""
        labels = {topic for pair in self._pairs.values() for topic in (pair.panoptic, pair.segments)}
        depths = {pair.depth for pair in self._pairs.values() if pair.depth}
        kinds: set[_Kind] = set()
        repeated: list[str] = []
        for item in self._opened().messages(labels | depths | set(self._cameras.values())):
            if isinstance(item, Damage):
                raise InputError(f"{self._path} is damaged ({item.detail}): its truth cannot be relied on; record or "
                                 "convert it anew, or evaluate without truth (--truth none)")
            stamp = _stamp(item)
            times = self._times.setdefault(item.topic, {})
            if stamp in times and item.topic in labels:
                repeated.append(f"{item.topic} at {stamp} ns")
            times.setdefault(stamp, item.time_ns)
            if item.message_type == SEGMENTS:
                kinds.update(_Kind(s.class_id, s.class_name, s.is_thing, s.track_id > 0)
                             for s in _content(item).segments)
        if repeated:
            raise InputError(f"{self._path}: the truth has {_first(repeated)} more than once: it is ambiguous "
                             "which of them belongs to the image with that stamp")
        for pair in self._pairs.values():
            for one, other in ((pair.panoptic, pair.segments), (pair.segments, pair.panoptic)):
                alone = sorted(self._times.get(one, {}).keys() - self._times.get(other, {}).keys())
                if alone:
                    raise InputError(f"{self._path}: what {one} has at {_first([f'{stamp} ns' for stamp in alone])} is "
                                     f"not on {other}: both are needed for each image")
        return kinds


def _class_rows(path: Path, kinds: Iterable[_Kind], preferred: ClassTable) -> tuple[ClassTable, np.ndarray]:
    """The class table that has all names of the truth, and its class for each class id in the messages."""
    is_thing: dict[str, bool] = {}
    name_of: dict[int, str] = {}
    for kind in sorted(kinds):
        if is_thing.setdefault(kind.name, kind.is_thing) != kind.is_thing:
            raise InputError(f"{path}: the truth has the class '{kind.name}' as things and as stuff")
        if name_of.setdefault(kind.class_id, kind.name) != kind.name:
            raise InputError(f"{path}: the truth calls class {kind.class_id} '{name_of[kind.class_id]}' and "
                             f"'{kind.name}'")
    if not is_thing:
        raise InputError(f"{path}: the truth is empty: not one of its messages has a segment")
    shipped = sorted(file.stem for file in (shared_folder("config") / "datasets").glob("*.yaml"))
    for table in chain([preferred], map(load_class_table, shipped)):
        things = dict(zip(table.names, table.is_thing, strict=True))
        if all(things.get(name) == thing for name, thing in is_thing.items()):
            rows = np.full(max(name_of) + 1, -1, np.int32)
            rows[list(name_of)] = [table.names.index(name) for name in name_of.values()]
            return table, rows
    things = dict(zip(preferred.names, preferred.is_thing, strict=True))
    unknown = [f"{name} ({'thing' if thing else 'stuff'})" for name, thing in is_thing.items()
               if things.get(name) != thing]
    raise InputError(f"{path}: no class table has all classes of the truth; the model's, '{preferred.name}', lacks "
                     f"{', '.join(unknown)}; looked at as well: {', '.join(shipped)}. Truth has to name its classes, "
                     "things and stuff as one of these tables does")


def _pair(panoptic: str, topics: Mapping[str, BagTopic]) -> CameraTruth | None:
    """The label images of this name with the segments beside them, where a bag has both, and the depth."""
    place = panoptic.rpartition("/")[0]
    segments = [f"{place}/segments", f"{place.rpartition('/')[0]}/segments"]
    found = [name for name in segments if name in topics and topics[name].message_type == SEGMENTS]
    if not found or panoptic not in topics or topics[panoptic].message_type != IMAGE:
        return None
    # Only where the place is known: beside label images of any other name may lie what a depth camera saw.
    base = panoptic.removesuffix("/panoptic/image")
    depths = [name for name in (f"{base}/depth", f"{base}/depth/image") if base != panoptic
              and name in topics and topics[name].pixels in DEPTH_ENCODINGS]
    return CameraTruth(panoptic, found[0], depths[0] if depths else None)


def _camera_base(image_topic: str) -> str:
    """/front/image_raw/compressed -> /front."""
    return image_topic.removesuffix("/compressed").rpartition("/")[0]


def _content(message: RawMessage) -> Any:
    return deserialize(message.content, message.message_type)


def _stamp(message: RawMessage) -> int:
    # Labels are of ROS 2, images may be of another kind.
    return serialized_header(message.content)[0] if message.encoding == "cdr" else image_message(message).stamp_ns


def _first(rows: list[str]) -> str:
    return ", ".join(rows[:3]) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")
