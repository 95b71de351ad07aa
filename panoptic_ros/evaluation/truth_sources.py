"""Ground truth of a recording: opened from a dataset or from topics, and matched with the recording's images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from panoptic_ros.bags.read_images import images_in_order
from panoptic_ros.bags.recording import BrokenFrame, Recording
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import ClassTable
from panoptic_ros.datasets.coco_layout import bare_name
from panoptic_ros.datasets.dataset import Dataset, Truth
from panoptic_ros.datasets.open import open_dataset
from panoptic_ros.datasets.truth_topics import TruthTopics, find_truth_topics
from panoptic_ros.errors import InputError
from panoptic_ros.labels import PanopticLabel

MATCHES = ("stamp", "name", "number")
NO_TRUTH = "none"
# So many of the unmatched images and truths are listed; all are counted.
_LISTED = 20
# Stamps count from the same clock where the first image is not farther than this from the truth.
_SAME_CLOCK_NS = 10_000_000_000


def open_truth(truth: str | None, recording: Recording, model_classes: ClassTable,
               match: str | None = None) -> MatchedTruth | None:
    """The truth of a recording, as the command line names it.

    truth: None for truth topics in the bag itself; a topic of label images in it; the path of another bag with truth
    topics, or of a dataset; NO_TRUTH for none, which returns None.
    match: one of MATCHES, or None to choose.
    Raises InputError where there is no such truth, or it cannot be matched with the images.
    """
    if truth == NO_TRUTH:
        return None
    is_topic = truth is not None and truth.startswith("/") and not Path(truth).exists()
    if truth is not None and not is_topic:
        place = Path(truth).expanduser()
        if not _is_bag(place):
            return MatchedTruth(open_dataset(truth), recording, match, truth)
    elif recording.kind == "rosbag2":
        place = recording.path
    else:
        raise InputError(f"{recording.path} is no bag, so it has no truth topics: give a dataset with --truth, or "
                         f"--truth {NO_TRUTH} to measure speed and tracks alone")
    cameras = {stream.camera: stream.topic for stream in recording.streams}
    pairs = find_truth_topics(place, cameras, truth if is_topic else None)
    if not pairs:
        raise InputError(f"{place} has no truth topics, such as /camera/truth/panoptic/image with "
                         f"/camera/truth/segments for the images of /camera/image: name the topic or a dataset with "
                         f"--truth, or give --truth {NO_TRUTH} to measure speed and tracks alone")
    source = ", ".join(sorted({pair.panoptic for pair in pairs.values()}))
    if place != recording.path:
        source = f"{source} of {place}"
    return MatchedTruth(TruthTopics(place, cameras, pairs, model_classes), recording, match, source)


class Unmatched(NamedTuple):
    """Images without truth, or truths without image: how many, and the first of them in words."""

    total: int
    first: list[str]


class MatchedTruth:
    """A dataset whose labels are the truth of a recording's images.

    match: one of MATCHES: an image and a truth belong together that have the same stamp; whose files have the same
    name; or that have the same number, counted from 0 for each camera. reason: why that one was chosen.
    """

    def __init__(self, dataset: Dataset, recording: Recording, match: str | None = None, source: str = "") -> None:
        """Raises InputError where several truths would belong to one image, or no way of matching can work."""
        self.dataset, self.source, self._recording = dataset, source or dataset.name, recording
        rows = {stream.camera: self._rows_of(stream.camera) for stream in recording.streams}
        self._file_names = {} if recording.kind != "images" else {
            stream.camera: [bare_name(file.stem) for file in images_in_order(Path(stream.topic))]
            for stream in recording.streams}
        self.match, self.reason = (match, "asked for") if match else self._choose(rows)
        self._index = {camera: self._keys(camera, indices) for camera, indices in rows.items()}
        self._begin()

    def matched_recording(self) -> Recording:
        """The same recording, whose images are matched while they are read; then `label` knows them.

        So an image that has truth and is lost on its way through a live node does not count as missing.
        """
        return replace(self._recording, frames=self._frames)

    def label(self, image: CameraImage) -> PanopticLabel | None:
        """The truth of the image that was read last, None where it has none.

        Raises InputError where the truth cannot be read or has another size.
        """
        index = self._index_of(image)
        if index is None:
            return None
        label = self.dataset.label(index)
        if label.segment_map.shape != (image.height, image.width):
            height, width = label.segment_map.shape
            raise InputError(f"the truth '{self.dataset.entries[index].name}' has {width} x {height} pixels, its image "
                             f"of {image.camera} {image.moment} {image.width} x {image.height}")
        return label

    def depth(self, image: CameraImage) -> np.ndarray | None:
        """The true depth of the image that was read last, (H, W) metres; None where the truth has none.

        Raises InputError where it cannot be read.
        """
        index = self._index_of(image)
        return None if index is None or Truth.DEPTH not in self.dataset.truth else self.dataset.depth(index)

    def facts(self) -> dict[str, Any]:
        """What the truth is and how it was matched, for evaluation.json."""
        return {"source": self.source, "images": len(self.dataset), "classes": self.dataset.classes.name,
                "judges": sorted(kind.value for kind in self.dataset.truth), "match": self.match,
                "reason": self.reason}

    def unmatched(self) -> dict[str, Unmatched]:
        """The images that had no truth, those that repeated another's stamp, and the truths that had no image."""
        missing = (self.dataset.entries[i].name for i, seen in enumerate(self._seen) if not seen)
        return {**self._unmatched,
                "truth_without_frame": Unmatched(self._seen.count(0), list(islice(missing, _LISTED)))}

    def _index_of(self, image: CameraImage) -> int | None:
        current, index = self._current
        if image is not current:
            raise ValueError("truth is known of the image that was read last")
        return index

    def _begin(self) -> None:
        # 1 = an image was found for it, 2 = it belongs to no camera of the recording.
        self._seen = bytearray([2]) * len(self.dataset)
        for indices in self._index.values():
            for index in indices.values():
                self._seen[index] = 0
        self._unmatched = {"without_truth": Unmatched(0, []), "repeated": Unmatched(0, [])}
        self._current: tuple[CameraImage | None, int | None] = (None, None)

    def _frames(self) -> Iterator[CameraImage | BrokenFrame]:
        self._begin()
        numbers: Counter[str] = Counter()
        for item in self._recording.frames():
            if isinstance(item, CameraImage):
                self._current = item, self._find(item, numbers[item.camera])
                numbers[item.camera] += 1
            else:
                numbers[item.camera] += item.frames
            yield item

    def _find(self, image: CameraImage, number: int) -> int | None:
        key: int | str | None = image.stamp_ns if self.match == "stamp" else number
        if self.match == "name":
            key = self._file_names[image.camera][number]
        index = None if key is None else self._index[image.camera].get(key)
        if index is not None and not self._seen[index]:
            self._seen[index] = 1
            return index
        kind = "without_truth" if index is None else "repeated"
        total, first = self._unmatched[kind]
        stamp = "no stamp" if image.stamp_ns is None else f"{image.stamp_ns} ns"
        place = f"{image.camera}, frame {number}, {stamp}"
        self._unmatched[kind] = Unmatched(total + 1, [*first, place] if total < _LISTED else first)
        return None

    def _rows_of(self, camera: str) -> list[int]:
        """The entries that may be of this camera: those of the sequence with its name or with the recording's."""
        entries = self.dataset.entries
        sequences = {entry.sequence for entry in entries}
        is_alone = len(self._recording.streams) == 1
        names = [camera, self._recording.path.resolve().stem] if is_alone else [camera]
        chosen = next((name for name in names if name in sequences), None)
        if chosen is None and not is_alone:
            raise InputError(f"it is ambiguous which of {self.dataset.name}'s sequences ({_some(sequences)}) belongs "
                             f"to the camera {camera}: evaluate one camera at a time, with --topic")
        return [i for i, entry in enumerate(entries) if chosen is None or entry.sequence == chosen]

    def _choose(self, rows: Mapping[str, list[int]]) -> tuple[str, str]:
        entries = self.dataset.entries
        for camera, files in self._file_names.items():
            if set(files) & {key for i in rows[camera] for key in self._names(i)}:
                return "name", "the image files have the names that the truth has"
        stamps = [entries[i].stamp_ns for indices in rows.values() for i in indices]
        first = next((item for item in self._recording.frames() if isinstance(item, CameraImage)), None)
        is_same_clock = (first is not None and first.stamp_ns is not None and any(stamps)
                         and min(stamps) - _SAME_CLOCK_NS <= first.stamp_ns <= max(stamps) + _SAME_CLOCK_NS)
        if is_same_clock:
            return "stamp", "images and truth have stamps of the same time"
        if all(entries[i].number >= 0 for indices in rows.values() for i in indices):
            return "number", ("the truth's stamps are of another time than the images'" if any(stamps) else
                              "the truth has no stamps") + "; counted are the images of each camera, from 0"
        raise InputError(f"the images of {self._recording.path} and the truth of {self.dataset.name} have neither file "
                         "names nor stamps in common, and the truth does not number its frames: they cannot be "
                         "matched")

    def _names(self, index: int) -> set[str]:
        entry = self.dataset.entries[index]
        return {entry.name, entry.name.removeprefix(f"{entry.sequence}_")}

    def _keys(self, camera: str, indices: list[int]) -> dict[int | str, int]:
        """What an image has to have to belong to an entry: stamp, name or number -> index of the entry."""
        keys: dict[int | str, int] = {}
        repeated: list[str] = []
        for i in indices:
            entry = self.dataset.entries[i]
            of_entry: set[Any] = self._names(i) if self.match == "name" else {
                entry.stamp_ns if self.match == "stamp" else entry.number}
            repeated += [str(key) for key in of_entry if keys.setdefault(key, i) != i]
        if repeated:
            sequences = {self.dataset.entries[i].sequence for i in indices}
            raise InputError(
                f"{self.dataset.name} has several truths with the same {self.match} ({len(repeated)} times, first "
                f"{repeated[0]})" + (f": it has the sequences {_some(sequences)}; give the path of the one that "
                                     f"belongs to {camera}" if len(sequences) > 1 else
                                     ": it is ambiguous which of them belongs to an image"))
        if self.match == "name" and camera not in self._file_names:
            raise InputError(f"--match name goes with a folder of images; {self._recording.path} is none")
        return keys


def _is_bag(place: Path) -> bool:
    return place.suffix in (".mcap", ".db3") or (place / "metadata.yaml").is_file()


def _some(names: set[str | None]) -> str:
    rows = sorted(str(name) for name in names)
    return ", ".join(rows[:5]) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")
