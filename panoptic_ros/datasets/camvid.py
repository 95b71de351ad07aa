"""CamVid (Brostow et al. 2008) with 11 classes, as SegNet's tutorial lays it out: train, trainannot, val, valannot."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import numpy as np

from panoptic_ros.classes import load_class_table
from panoptic_ros.datasets.dataset import Dataset, Entry, Truth
from panoptic_ros.errors import InputError
from panoptic_ros.image_files import check_size, image_files, png_size, read_image, read_label_image, trailing_number
from panoptic_ros.labels import PanopticLabel

SPLITS = ("train", "val", "test")
VOID_VALUE = 11  # of unlabelled pixels in the label images
# The recording of the validation clip (0016E5_07959 to 08159): its labelled frames from a few seconds before to as many
# after show the same places.
NEAR_VALIDATION = ("0016E5", range(7500, 8641))
FRAME_RATE = 30.0  # of the videos that the names count
# The 15 Hz of the clip are every other frame. What is labelled once a second is images alone.
_FARTHEST_IN_CLIP = 2


def is_camvid(path: Path) -> bool:
    """Whether the folder, or the folder above, has images with their labels beside them."""
    return bool(_splits(path))


class CamVid(Dataset):
    """The images of one split or of all, with a class for each pixel; clips of consecutive frames are sequences."""

    truth = frozenset({Truth.SEMANTIC})

    def __init__(self, path: Path, for_training: bool = False) -> None:
        """path: the root, which takes all splits, or a split's folder of images or of labels: root/val, root/valannot.

        for_training: without the images that lie too near to the validation clip, see NEAR_VALIDATION.
        Raises InputError where there is no such folder or no image in it.
        """
        self.name, self.classes = path.name, load_class_table("camvid")
        files = [file for split in _splits(path) for file in image_files(split)]
        if for_training:
            prefix, numbers = NEAR_VALIDATION
            files = [f for f in files if not (f.stem.startswith(prefix) and trailing_number(f.stem) in numbers)]
        if not files:
            raise InputError(f"{path} has no CamVid images: give the folder with train and trainannot, val and "
                             "valannot, or one of train and val")
        self._files = files
        self.entries = _entries(files)

    def image(self, index: int) -> np.ndarray:
        image = read_image(self._files[index])
        check_size(self._files[index], image, png_size(self.label_file(index)))
        return image

    def label(self, index: int) -> PanopticLabel:
        file = self.label_file(index)
        class_map = read_label_image(file)
        if class_map.ndim != 2 or class_map.max() > VOID_VALUE:
            raise InputError(f"{file} is no label of CamVid's 11 classes: one channel with values from 0 to "
                             f"{VOID_VALUE} is")
        present = np.bincount(class_map.reshape(-1), minlength=VOID_VALUE + 1)[:VOID_VALUE] > 0
        number = np.append(np.where(present, np.cumsum(present), 0), 0).astype(np.uint16)
        return PanopticLabel.of(number[class_map], np.nonzero(present)[0])

    def image_file(self, index: int) -> Path:
        return self._files[index]

    def label_file(self, index: int) -> Path:
        """Where the label of an image is, whether it is there or not."""
        file = self._files[index]
        return file.parent.with_name(file.parent.name + "annot") / f"{file.stem}.png"


def _splits(path: Path) -> list[Path]:
    images = path.with_name(path.name.removesuffix("annot"))
    if images != path and images.is_dir():  # the folder of labels was given
        return [images]
    if path.with_name(path.name + "annot").is_dir() and path.is_dir():
        return [path]
    return [path / split for split in SPLITS if (path / split).is_dir() and (path / f"{split}annot").is_dir()]


def _entries(files: list[Path]) -> list[Entry]:
    """Names like 0016E5_07961 and 0006R0_f00930 count the frames of a recording."""
    places = [(file.stem.rstrip("0123456789"), trailing_number(file.stem)) for file in files]
    clip = [0] * len(files)
    for i in range(1, len(files)):
        (before, last), (recording, number) = places[i - 1], places[i]
        clip[i] = clip[i - 1] + int(before != recording or not 0 < number - last <= _FARTHEST_IN_CLIP)
    entries: list[Entry] = []
    for _, group in groupby(range(len(files)), key=lambda i: clip[i]):
        rows = list(group)
        sequence = files[rows[0]].stem if len(rows) > 1 else None
        entries += [Entry(files[i].stem, sequence, max(0, round(places[i][1] * 1e9 / FRAME_RATE)), places[i][1])
                    for i in rows]
    return entries
