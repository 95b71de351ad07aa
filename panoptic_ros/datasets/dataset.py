"""Dataset: the interface of all datasets: images with ground truth, some of them in sequences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

import numpy as np

from panoptic_ros.classes import ClassTable
from panoptic_ros.labels import PanopticLabel


class Truth(Enum):
    """A kind of ground truth; which metrics can be computed follows from it."""

    PANOPTIC = "panoptic"  # every pixel is a segment or void: PQ, PC, mask AP
    SEMANTIC = "semantic"  # a class for every pixel that is not void: mIoU, flicker
    TRACKS = "tracks"  # object ids are constant over a sequence: MOTSA, IDF1, HOTA; with PANOPTIC: STQ, VPQ
    DEPTH = "depth"  # metres


@dataclass(frozen=True)
class Entry:
    """Where one image stands in its dataset.

    name: unique in the dataset, fit to be a file's stem.
    sequence: the video it belongs to, or None for an image alone. Entries of a sequence follow each other in time.
    stamp_ns: time in nanoseconds, 0 where it is unknown.
    number: frame number, as a recording of the sequence counts it; -1 where it is unknown.
    """

    name: str
    sequence: str | None = None
    stamp_ns: int = 0
    number: int = -1


class Dataset(ABC):
    """Images with truth, read when they are asked for; safe to pickle, so that processes can share the work.

    revision: differs where images or labels of the same names differ, as those of a dataset that renders them do from
    version to version: what is kept of a dataset is kept apart by it, and results of two revisions do not compare.
    A file's name can be made of it.
    Reading raises InputError, with the file's name, where a file is missing or damaged.
    """

    name: str
    classes: ClassTable
    truth: frozenset[Truth]
    entries: Sequence[Entry]
    revision: str = ""

    def __len__(self) -> int:
        return len(self.entries)

    @abstractmethod
    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8, red, green, blue."""

    @abstractmethod
    def label(self, index: int) -> PanopticLabel:
        """The truth of this image."""

    def depth(self, index: int) -> np.ndarray:
        """(H, W) float32 metres, not finite or 0 where it is unknown; of datasets whose truth has DEPTH."""
        raise TypeError(f"{self.name} has no depth")

    def focal_length(self, index: int) -> float:
        """Of the camera in pixels of the image, 0 where it is not known; of datasets whose truth has DEPTH."""
        return 0.0

    def sequences(self) -> Iterator[tuple[str | None, list[int]]]:
        """Name and indices of each sequence; an image alone is a sequence of one without a name."""
        for (sequence, _), rows in groupby(range(len(self)), lambda i: (
                self.entries[i].sequence, i if self.entries[i].sequence is None else -1)):
            yield sequence, list(rows)
