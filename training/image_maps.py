"""What an image is to a loss: pixels, class map and instance map; of a dataset, or of a cache of what it rendered."""

from __future__ import annotations

import os
from bisect import bisect_right
from pathlib import Path

import cv2
import numpy as np

from panoptic_ros.datasets.dataset import Dataset
from panoptic_ros.errors import InputError

Maps = tuple[np.ndarray, np.ndarray, np.ndarray]

VOID = 255
_JPEG_QUALITY = 95


def read_maps(dataset: Dataset, entry: int) -> Maps:
    """Image (H, W, 3) uint8, class map (H, W) uint8 with 255 = void, instance map (H, W) int32.

    Instances have numbers from 1; stuff, void and crowds have 0, so that a crowd has a class and no instance.
    """
    label = dataset.label(entry)
    is_instance = np.append(dataset.classes.thing_mask, False)[label.class_id] & ~label.is_crowd
    number = np.concatenate([[0], np.where(is_instance, np.arange(1, len(label) + 1), 0)]).astype(np.int32)
    return dataset.image(entry), label.class_map(VOID), number[label.segment_map]


class CachedMaps:
    """The maps of each entry: read from the folder, or made and put there.

    A sequence is made as a whole: what its images have in common (a town, its streets) is built once. Images are kept
    as JPEG of quality 95; labels are exact. Processes may share the folder: files appear complete or not at all.
    """

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder
        self._sequences = [rows for _, rows in dataset.sequences()]
        self._starts = [rows[0] for rows in self._sequences]

    def __getitem__(self, entry: int) -> Maps:
        """As `read_maps`; raises InputError when the disk is full or the folder cannot be written."""
        kept = self._read(entry)
        if kept is None:
            for row in self._sequences[bisect_right(self._starts, entry) - 1]:
                self._make(row)
            kept = self._read(entry)
        if kept is None:
            raise InputError(f"{self._file(entry, '.jpg')} was written and cannot be read: is the disk in order?")
        return kept

    def _file(self, entry: int, suffix: str) -> Path:
        return self.folder / (self.dataset.entries[entry].name + suffix)

    def _read(self, entry: int) -> Maps | None:
        if not self._file(entry, ".jpg").is_file():
            return None
        image = cv2.imread(str(self._file(entry, ".jpg")), cv2.IMREAD_COLOR_RGB)
        maps = cv2.imread(str(self._file(entry, ".png")), cv2.IMREAD_UNCHANGED)
        if image is None or maps is None:
            return None
        instance_map = maps[..., 1].astype(np.int32) | maps[..., 2].astype(np.int32) << 8
        return image, np.ascontiguousarray(maps[..., 0]), instance_map

    def _make(self, entry: int) -> None:
        image, class_map, instance_map = read_maps(self.dataset, entry)
        maps = np.stack([class_map, instance_map & 255, instance_map >> 8], 2).astype(np.uint8)
        self.folder.mkdir(parents=True, exist_ok=True)
        # The image last: where it is, the labels are.
        self._write(entry, ".png", maps, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        self._write(entry, ".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])

    def _write(self, entry: int, suffix: str, pixels: np.ndarray, options: list[int]) -> None:
        file = self._file(entry, suffix)
        partial = file.with_suffix(f".{os.getpid()}{suffix}")
        try:
            if not cv2.imwrite(str(partial), pixels, options):
                raise OSError("the file could not be written")
            os.replace(partial, file)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise InputError(f"the cache {self.folder} cannot take {file.name} ({error}): free disk space, or name "
                             "another folder in data.cache") from error
