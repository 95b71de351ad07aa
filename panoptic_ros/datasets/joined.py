"""Several datasets as one: for training one network on what each of them knows."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from panoptic_ros.classes import class_mapping
from panoptic_ros.datasets.dataset import Dataset, Truth
from panoptic_ros.labels import PanopticLabel


class JoinedDataset(Dataset):
    """The images of all parts one after the other, in the classes of the first.

    Its truth is all that any part knows: where a part has no depth it is unknown, and where it has no labels its images
    are void. Raises InputError where a part's labels have no class in common with the first's.
    """

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.name = " + ".join(part.name for part in parts)
        self.classes, self._parts = parts[0].classes, tuple(parts)
        self.truth = frozenset().union(*(part.truth for part in parts)) - {Truth.TRACKS}
        if all(Truth.TRACKS in part.truth for part in parts):
            self.truth |= {Truth.TRACKS}
        self.revision = "+".join(part.revision for part in parts if part.revision)
        self.entries = [replace(entry, name=f"{k}_{entry.name}",
                                sequence=None if entry.sequence is None else f"{k}_{entry.sequence}")
                        for k, part in enumerate(parts) for entry in part.entries]
        self._starts = [0, *accumulate(len(part) for part in parts)]
        self._mappings = [class_mapping(part.classes, self.classes)
                          if part.classes != self.classes and part.truth - {Truth.DEPTH} else None for part in parts]

    def image(self, index: int) -> np.ndarray:
        part, row = self._place(index)
        return self._parts[part].image(row)

    def label(self, index: int) -> PanopticLabel:
        part, row = self._place(index)
        label, mapping = self._parts[part].label(row), self._mappings[part]
        return label if mapping is None else label.translated(mapping, self.classes.thing_mask)

    def depth(self, index: int) -> np.ndarray:
        part, row = self._place(index)
        if Truth.DEPTH in self._parts[part].truth or Truth.DEPTH not in self.truth:
            return self._parts[part].depth(row)
        return np.zeros(self._parts[part].image(row).shape[:2], np.float32)

    def focal_length(self, index: int) -> float:
        part, row = self._place(index)
        return self._parts[part].focal_length(row)

    def _place(self, index: int) -> tuple[int, int]:
        index = range(len(self))[index]
        part = bisect_right(self._starts, index) - 1
        return part, index - self._starts[part]
