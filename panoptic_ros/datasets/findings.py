"""The outcome of a dataset check: faults and remarks by kind, and counts of pixels, segments and images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from panoptic_ros.labels import PanopticLabel

SHOWN = 5  # examples that are named of each kind


class Findings:
    """What was found, by kind: how often, and the first of each.

    A fault is what readers refuse, or what is lost when they read; of a remark they take the labels as they are.
    """

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}
        self._remarks: set[str] = set()

    def add(self, kind: str, place: str) -> None:
        """One fault. kind: what is wrong, the same words for all of its kind; place: where, with the numbers."""
        self._add(kind, place)

    def remark(self, kind: str, place: str) -> None:
        """One remark, as `add` has it."""
        self._remarks.add(kind)
        self._add(kind, place)

    def _add(self, kind: str, place: str) -> None:
        self._count[kind] += 1
        first = self._first.setdefault(kind, [])
        if len(first) < SHOWN:
            first.append(place)

    def merge(self, other: Findings) -> None:
        """Take over what was found elsewhere, after what is here already."""
        self._count.update(other._count)
        self._remarks |= other._remarks
        for kind, places in other._first.items():
            first = self._first.setdefault(kind, [])
            first += places[:SHOWN - len(first)]

    def kinds(self) -> list[tuple[str, int, list[str]]]:
        """Kind, number and first places, the most frequent first: of faults, then of remarks."""
        found = [(kind, count, self._first[kind]) for kind, count in self._count.most_common()]
        return sorted(found, key=lambda row: row[0] in self._remarks)

    def total(self) -> int:
        """The number of faults and remarks."""
        return self._count.total()

    def faults(self) -> int:
        """The number of faults."""
        return sum(count for kind, count in self._count.items() if kind not in self._remarks)


@dataclass
class Tally:
    """Findings and counts over some images of a dataset with C classes.

    pixels: (C + 2,) of each class, of none of the classes, and void. segments, images: (C,) segments of each class and
    images that show it. sizes: how many labels have which (height, width).
    """

    pixels: np.ndarray
    segments: np.ndarray
    images: np.ndarray
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)

    @staticmethod
    def of_classes(count: int) -> Tally:
        return Tally(np.zeros(count + 2, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64))

    def count(self, label: PanopticLabel) -> None:
        """Add the segments and pixels of one label."""
        area = np.bincount(label.segment_map.reshape(-1), minlength=len(label) + 1)[1:]
        self.count_segments(label.class_id, area, label.segment_map.shape)

    def count_segments(self, class_id: np.ndarray, area: np.ndarray, size: Sequence[int]) -> None:
        """Add the segments of an image of this size (H, W): class ids (N,), NO_CLASS among them, and areas (N,)."""
        classes = len(self.segments)
        np.add.at(self.pixels, np.where(class_id < 0, classes, class_id), area)
        self.pixels[-1] += size[0] * size[1] - int(area.sum())  # what is of no segment is void
        per_class = np.bincount(class_id[(class_id >= 0) & (area > 0)], minlength=classes)
        self.segments += per_class
        self.images += per_class > 0
        self.sizes[(size[0], size[1])] += 1

    def merge(self, other: Tally) -> None:
        """Take over what was counted elsewhere."""
        self.pixels += other.pixels
        self.segments += other.segments
        self.images += other.images
        self.sizes.update(other.sizes)
        self.findings.merge(other.findings)


@dataclass(frozen=True)
class Check:
    """The outcome of checking a dataset.

    format: what kind of dataset it is. class_names, is_thing: of its classes. lengths: how many images each sequence
    has, 0 for an image alone.
    """

    name: str
    format: str
    class_names: Sequence[str]
    is_thing: Sequence[bool]
    lengths: Sequence[int]
    tally: Tally

    @property
    def findings(self) -> Findings:
        return self.tally.findings

    def text(self) -> str:
        """What is there, class by class, and what is wrong with it, for a terminal."""
        tally = self.tally
        total = max(int(tally.pixels.sum()), 1)
        sizes = ", ".join(f"{w} x {h}" for (h, w), _ in tally.sizes.most_common(3))
        more = f" and {len(tally.sizes) - 3} more sizes" if len(tally.sizes) > 3 else ""
        videos = [length for length in self.lengths if length]
        head = [f"{self.name}: {self.format}"]
        if videos:
            head.append(f"{len(videos)} {'sequences' if len(videos) > 1 else 'sequence'} of {sum(videos)} images")
        if alone := len(self.lengths) - len(videos):
            head.append(f"{alone} images that stand alone")
        lines = [", ".join([*head, (sizes or "no label can be read") + more]), "",
                 f"{'class':<28} {'kind':<6} {'pixels':>8} {'segments':>9} {'images':>7}"]
        for row in np.argsort(-tally.pixels[:-2], kind="stable").tolist():
            kind = "thing" if self.is_thing[row] else "stuff"
            lines.append(f"{self.class_names[row]:<28} {kind:<6} {tally.pixels[row] / total:>8.2%} "
                         f"{tally.segments[row]:>9} {tally.images[row]:>7}")
        if tally.pixels[-2]:
            lines.append(f"{'(none of the classes)':<35} {tally.pixels[-2] / total:>8.2%}")
        lines += [f"{'(void)':<35} {tally.pixels[-1] / total:>8.2%}", ""]
        kinds = self.findings.kinds()
        if not kinds:
            return "\n".join([*lines, "nothing is wrong with it"])
        faults, remarks = self.findings.faults(), self.findings.total() - self.findings.faults()
        counted = 0
        for kind, count, first in kinds:
            if counted == 0 and faults:
                lines.append(f"{faults} {'faults' if faults > 1 else 'fault'}:")
            if counted == faults:
                lines.append(f"{remarks} {'remarks' if remarks > 1 else 'remark'}; the labels are read as they are:")
            counted += count
            lines += [f"{count:>7} x {kind}", *(f"{'':>10}{place}" for place in first)]
            if count > len(first):
                lines.append(f"{'':>10}... and {count - len(first)} more")
        return "\n".join(lines)
