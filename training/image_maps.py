"""Image, class map, instance map and depth of each entry of a dataset; from the dataset, or from a disk cache."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import find_objects

from panoptic_ros.classes import VOID, ClassTable
from panoptic_ros.datasets.dataset import Dataset, Truth
from panoptic_ros.errors import InputError
from panoptic_ros.image_files import DEPTH_STEPS, read_depth_image
from panoptic_ros.labels import PanopticLabel

Maps = tuple[np.ndarray, np.ndarray, np.ndarray]

_JPEG_QUALITY = 95
_KEYS, _DEPTH = ".npy", ".depth.png"


def read_maps(dataset: Dataset, entry: int) -> Maps:
    """Image (H, W, 3) uint8, class map (H, W) uint8 with 255 = void, instance map (H, W) int32.

    Instances have numbers from 1, of this image alone: number k is row k - 1 of the image's label. Stuff, void and
    crowds have 0, so that a crowd has a class and no instance.
    """
    label = dataset.label(entry)
    return dataset.image(entry), *_label_maps(label, dataset.classes)


def instances_of(class_map: np.ndarray, instance_map: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The G instances of an image: number (G,), class (G,) and box (G, 4) x0, y0, x1, y1, exclusive; all int64."""
    slices = [(number, part) for number, part in enumerate(find_objects(instance_map), 1) if part is not None]
    number = np.array([number for number, _ in slices], np.int64)
    box = np.array([(x.start, y.start, x.stop, y.stop) for _, (y, x) in slices], np.int64).reshape(-1, 4)
    # In the first row of its box each has a pixel.
    column = np.array([x.start + (instance_map[y.start, x] == n).argmax() for n, (y, x) in slices], int)
    return number, class_map[box[:, 1], column].astype(np.int64), box


def instance_keys(label: PanopticLabel) -> np.ndarray:
    """Object keys (N,) int64, constant over a sequence: row k - 1 is that of instance number k of `read_maps`.

    For a dataset whose object ids are constant over a sequence. A driver has the id of the car, and a class of his own.
    """
    return label.object_id << 8 | label.class_id & 255


def _label_maps(label: PanopticLabel, classes: ClassTable) -> tuple[np.ndarray, np.ndarray]:
    is_instance = np.append(classes.thing_mask, False)[label.class_id] & ~label.is_crowd
    number = np.concatenate([[0], np.where(is_instance, np.arange(1, len(label) + 1), 0)]).astype(np.int32)
    return label.class_map(VOID), number[label.segment_map]


class CachedMaps:
    """Cache of the maps, instance keys and depth of each entry: read from the folder, or made and written there.

    A sequence is made as a whole: what its images have in common (a town, its streets) is built once. Images are kept
    as JPEG of quality 95; labels are exact. Processes may share the folder: files appear complete or not at all.
    """

    def __init__(self, dataset: Dataset, folder: Path, with_depth: bool = False) -> None:
        """folder: files lie in it, or in a folder of the dataset's revision there: those of another are not read.

        with_depth: whether `depth` will be asked for.
        """
        self.dataset, self.folder, self._with_depth = dataset, folder / dataset.revision, with_depth
        self._sequences = [rows for _, rows in dataset.sequences()]
        self._starts = [rows[0] for rows in self._sequences]

    def __getitem__(self, entry: int) -> Maps:
        """As `read_maps`; raises InputError when the disk is full or the folder cannot be written."""
        kept = self._read(entry)
        if kept is None:
            self._make_sequence(entry)
            kept = self._read(entry)
        if kept is None:
            raise InputError(f"{self._file(entry, '.jpg')} was written and cannot be read: is the disk in order?")
        return kept

    def instance_keys(self, entry: int) -> np.ndarray:
        """As `instance_keys` of the entry's label; raises InputError as above."""
        file = self._file(entry, _KEYS)
        if not file.is_file():
            # Of a folder that has maps without keys they are made again too: it may be of an older dataset.
            self._make_sequence(entry)
        keys: np.ndarray = np.load(file)
        return keys

    def depth(self, entry: int) -> np.ndarray:
        """(H, W) float32 metres, 0 = invalid, to 1/256 m; raises InputError as above."""
        file = self._file(entry, _DEPTH)
        if not file.is_file():
            self._make_sequence(entry)
        return read_depth_image(file)

    def _make_sequence(self, entry: int) -> None:
        for row in self._sequences[bisect_right(self._starts, entry) - 1]:
            self._make(row)

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
        label = self.dataset.label(entry)
        class_map, instance_map = _label_maps(label, self.dataset.classes)
        maps = np.stack([class_map, instance_map & 255, instance_map >> 8], 2).astype(np.uint8)
        if Truth.TRACKS in self.dataset.truth:
            content = io.BytesIO()
            np.save(content, instance_keys(label))
            self._write(entry, _KEYS, content.getvalue())
        if self._with_depth:
            metres = self.dataset.depth(entry)
            steps = np.where(np.isfinite(metres) & (metres < 65535 / DEPTH_STEPS), metres * DEPTH_STEPS, 0)
            self._write_image(entry, _DEPTH, steps.astype(np.uint16), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        # The image last: where it is, the labels are.
        self._write_image(entry, ".png", maps, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        self._write_image(entry, ".jpg", self.dataset.image(entry)[..., ::-1],
                            [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])

    def _write_image(self, entry: int, suffix: str, pixels: np.ndarray, options: list[int]) -> None:
        self._write(entry, suffix, cv2.imencode(Path(suffix).suffix or suffix, pixels, options)[1].tobytes())

    def _write(self, entry: int, suffix: str, content: bytes) -> None:
        file = self._file(entry, suffix)
        partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            os.replace(partial, file)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise InputError(f"the cache {self.folder} cannot take {file.name} ({error}): free disk space, or name "
                             "another folder in data.cache") from error
