"""NYU Depth v2 (Silberman et al. 2012): images with metric depth, from the labelled .mat file or from folders."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from panoptic_ros.classes import ClassTable
from panoptic_ros.datasets.dataset import Dataset, Entry, Truth
from panoptic_ros.errors import InputError
from panoptic_ros.image_files import check_size, image_files, png_size, read_image, read_label_image
from panoptic_ros.labels import PanopticLabel

# Depth alone is read: a table of no use, as every dataset has one.
CLASSES = ClassTable("nyuv2", ("unlabelled",), (False,), ((0, 0, 0),))
MILLIMETRES = 1000  # of a depth PNG's value per metre
# The colour camera's focal length, pixels, by the toolbox of the dataset, and the size of its images.
FOCAL_LENGTH, SIZE = 518.8579, (480, 640)
SPLITS = {"train": "trainNdxs", "test": "testNdxs"}
_COLOR_FOLDERS = ("rgb", "color", "image", "images")
_RECORDED = re.compile(r"rgb_(\d+)")


class DepthImages(Dataset, ABC):
    """Base of datasets that know the depth alone: every pixel of their labels is void."""

    truth = frozenset({Truth.DEPTH})
    classes = CLASSES

    def label(self, index: int) -> PanopticLabel:
        return PanopticLabel.of(np.zeros(self.size(index), np.uint16), np.zeros(0, np.int32))

    @abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the depth."""


class NyuLabelled(DepthImages):
    """The 1449 images of nyu_depth_v2_labeled.mat with their in-painted depth.

    split: `train` (795) or `test` (654, the official validation set), as splits.mat beside the file has them; "": all.
    Reading needs h5py. Raises InputError where it is not installed, and where the file is another one.
    """

    def __init__(self, file: Path, split: str = "") -> None:
        self.name, self._file = f"{file.stem}:{split}" if split else file.stem, file
        self._opened: Any = None
        count = self._content()["depths"].shape[0]
        self._rows = _split_rows(file.with_name("splits.mat"), split, count) if split else list(range(count))
        self.entries = [Entry(f"{row:04d}") for row in self._rows]

    def image(self, index: int) -> np.ndarray:
        return np.ascontiguousarray(self._read("images", index).T)  # stored by columns: (3, W, H)

    def depth(self, index: int) -> np.ndarray:
        return np.ascontiguousarray(self._read("depths", index).T, np.float32)

    def focal_length(self, index: int) -> float:
        return FOCAL_LENGTH

    def size(self, index: int) -> tuple[int, int]:
        shape: tuple[int, ...] = self._content()["depths"].shape
        return shape[2], shape[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def _read(self, name: str, index: int) -> np.ndarray:
        row = self._rows[index]
        try:
            values: np.ndarray = self._content()[name][row]
        except OSError as error:
            raise InputError(f"{self._file}: {name} of image {row} cannot be read: {error}") from error
        return values

    def _content(self) -> Mapping[str, Any]:
        if self._opened is None:
            try:
                import h5py
            except ImportError as error:
                raise InputError(f"{self._file} is HDF5, which needs h5py: pip install '.[depth]'") from error
            try:
                opened = h5py.File(self._file, "r")
            except OSError as error:
                raise InputError(f"{self._file} cannot be read as HDF5: {error}") from error
            shapes: dict[str, tuple[int, ...]] = {name: opened[name].shape if name in opened else ()
                                                  for name in ("images", "depths")}
            if len(shapes["images"]) != 4 or shapes["depths"] != (shapes["images"][0], *shapes["images"][2:]):
                raise InputError(f"{self._file} is not nyu_depth_v2_labeled.mat: that has `images` (1449, 3, 640, 480) "
                                 f"and `depths` (1449, 640, 480), this one {shapes}")
            self._opened = opened
        opened_file: Mapping[str, Any] = self._opened
        return opened_file


class DepthFolder(DepthImages):
    """Colour images with 16-bit depth PNGs in millimetres, 0 = unknown.

    Either rgb/NAME.jpg (or .png ...) with depth/NAME.png, or, as recordings of NYUv2 are passed on, folders of
    rgb_00045.jpg with sync_depth_00045.png.
    """

    def __init__(self, path: Path) -> None:
        """Raises InputError where there are no such pairs."""
        self.name = path.name
        pairs = _pairs(path)
        if not pairs:
            raise InputError(f"{path} has no colour images with depth: rgb/ and depth/, or rgb_N.jpg with "
                             "sync_depth_N.png, are looked for")
        self._pairs = list(pairs.values())
        self.entries = [Entry(name) for name in pairs]

    def image(self, index: int) -> np.ndarray:
        image = read_image(self._pairs[index][0])
        check_size(self._pairs[index][0], image, self.size(index))
        return image

    def depth(self, index: int) -> np.ndarray:
        file = self._pairs[index][1]
        values = read_label_image(file)
        if values.ndim != 2 or values.dtype != np.uint16:
            raise InputError(f"{file} is no depth PNG: that has one channel of 16 bits, millimetres")
        return (values / np.float32(MILLIMETRES)).astype(np.float32)

    def focal_length(self, index: int) -> float:
        return FOCAL_LENGTH if self.size(index) == SIZE else 0.0

    def size(self, index: int) -> tuple[int, int]:
        return png_size(self._pairs[index][1])


def is_nyu_file(path: Path) -> bool:
    """Whether the path is that of a .mat file."""
    return path.suffix == ".mat" and path.is_file()


def is_depth_folder(path: Path) -> bool:
    """Whether a folder has colour images beside their depth."""
    return path.is_dir() and bool(_pairs(path, first=True))


def _pairs(path: Path, first: bool = False) -> dict[str, tuple[Path, Path]]:
    """Name -> colour image and depth; with `first` those of one folder at most."""
    depth = path / "depth"
    color = next((path / name for name in _COLOR_FOLDERS if (path / name).is_dir()), None)
    if depth.is_dir() and color is not None:
        files = {file.stem: (file, depth / f"{file.stem}.png") for file in image_files(color)}
        return {name: pair for name, pair in files.items() if pair[1].is_file()}
    pairs: dict[str, tuple[Path, Path]] = {}
    folders = [path, *sorted(part for part in path.rglob("*") if part.is_dir())]
    for folder in folders:
        prefix = "_".join(folder.relative_to(path).parts)
        for file in image_files(folder):
            match = _RECORDED.fullmatch(file.stem)
            partner = folder / f"sync_depth_{match[1]}.png" if match else None
            if partner is not None and partner.is_file():
                pairs["_".join(filter(None, (prefix, file.stem)))] = file, partner
        if first and pairs:
            break
    return pairs


def _split_rows(file: Path, split: str, count: int) -> list[int]:
    if split not in SPLITS:
        raise InputError(f"'{split}' is no split of NYUv2; there are {' and '.join(SPLITS)}")
    try:
        rows = loadmat(str(file))[SPLITS[split]].ravel().astype(int) - 1
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{file} is needed for the split '{split}' and cannot be read ({error}): it is the splits.mat "
                         "of NYU Depth v2") from error
    if not len(rows) or rows.min() < 0 or rows.max() >= count:
        raise InputError(f"{file} names images that are not in the .mat file beside it: that has {count}")
    return [int(row) for row in rows]
