"""Dataset statistics for sampling: pixels of each class and boxes of the instances of each image, cached."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from tqdm import tqdm

from panoptic_ros.classes import VOID, ClassTable
from panoptic_ros.datasets.dataset import Dataset
from panoptic_ros.errors import InputError

from .image_maps import Maps, instances_of


@dataclass(frozen=True)
class ImageStatistics:
    """Of N images in a table of C classes, with G instances in all.

    size: (N, 2) height and width. pixels: (N, C) int64 pixels of each class.
    entry: (G,) the image that shows the instance. number: (G,) in its instance map. class_id: (G,).
    box: (G, 4) x0, y0, x1, y1 pixels, exclusive.
    """

    size: np.ndarray
    pixels: np.ndarray
    entry: np.ndarray
    number: np.ndarray
    class_id: np.ndarray
    box: np.ndarray


def measure_images(maps: Callable[[int], Maps], count: int, classes: int) -> ImageStatistics:
    """The statistics of images 0 .. count - 1; maps: as `image_maps.read_maps`, in a table of so many classes."""
    size, pixels = np.zeros((count, 2), np.int64), np.zeros((count, classes), np.int64)
    rows: list[tuple[np.ndarray, ...]] = []
    for entry in tqdm(range(count), desc="statistics", unit="image", disable=None):
        _, class_map, instance_map = maps(entry)
        size[entry] = class_map.shape
        pixels[entry] = np.bincount(class_map.reshape(-1), minlength=VOID + 1)[:classes]
        number, class_id, box = instances_of(class_map, instance_map)
        rows.append((np.full(len(number), entry), number, class_id, box))
    return ImageStatistics(size, pixels, *(np.concatenate(columns) for columns in zip(*rows, strict=True)))


def cached_statistics(file: Path, make: Callable[[], ImageStatistics]) -> ImageStatistics:
    """Those of the file, or made and written there. Raises InputError where it is damaged or cannot be written."""
    if file.is_file():
        try:
            with np.load(file) as columns:
                return ImageStatistics(*(columns[column.name] for column in fields(ImageStatistics)))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{file} does not hold the statistics of images ({error}): delete it, and it is made "
                             "again") from error
    statistics = make()
    partial = file.with_suffix(f".{os.getpid()}.npz")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(partial, **vars(statistics))
        os.replace(partial, file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"the statistics cannot be written to {file} ({error}): free disk space, or name another "
                         "folder in data.cache") from error
    return statistics


def statistics_file(folder: Path | None, dataset: Dataset, classes: ClassTable) -> Path:
    """Where the statistics of a dataset's images in this table are kept: in the folder, or in the user's cache."""
    if folder is None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "panoptic_ros"
    names = [dataset.name, *(entry.name for entry in dataset.entries), *classes.names]
    key = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    return folder / dataset.revision / f"statistics_{key}.npz"
