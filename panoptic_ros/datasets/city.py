"""The synthetic city as a dataset: drives that no training sees, rendered when they are asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from panoptic_ros.classes import load_class_table
from panoptic_ros.datasets.dataset import Dataset, Entry, Truth
from panoptic_ros.errors import InputError
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.synthetic_city import CityCamera, CityDrive, CityFrame, varied_camera
from panoptic_ros.synthetic_city.truth import frame_label

# Drives 500 to 599 tune, 600 to 607 are the test drives; training starts at a million.
TEST_DRIVES = (600, 607)
FRAMES = 20
SIZE = (512, 1024)  # (H, W)
FRAME_RATE = 10.0
# To be raised when the image or the label of any frame changes. 1, which had no number: tiny things were outlined.
REVISION = 2
_NAME = re.compile(r"city(?::(?P<first>\d+)(?:-(?P<last>\d+))?)?(?:x(?P<frames>\d+)(?:/(?P<every>\d+))?)?"
                   r"(?:@(?P<h>\d+)x(?P<w>\d+))?(?P<varied>\+varied)?(?P<tiny>\+tiny)?")


@dataclass(frozen=True)
class CityName:
    """What `city:600-607x40@256x512` says: drives 600 to 607, 40 frames of each, 256 x 512 pixels.

    Frames are consecutive; x40/12 takes every twelfth. With +varied drives vary as real recordings do. With +tiny at
    the end every thing is outlined in the labels, however small, where else tiny ones are a crowd of their class.
    """

    first: int = TEST_DRIVES[0]
    last: int = TEST_DRIVES[1]
    frames: int = FRAMES
    every: int = 1
    size: tuple[int, int] = SIZE
    varied: bool = False
    tiny: bool = False

    @staticmethod
    def parse(text: str) -> CityName | None:
        """`city`, then any of :FIRST-LAST, xFRAMES or xFRAMES/EVERY, @HEIGHTxWIDTH, +varied, +tiny; None for a path.

        Raises InputError where it begins as a city's name and does not go on as one.
        """
        match = _NAME.fullmatch(text)
        if match is None:
            if text.startswith(("city:", "city@", "cityx", "city+")):
                raise InputError(f"'{text}' is no synthetic city: write city, or city:600-607x40@512x1024 for drives "
                                 "600 to 607, 40 frames of each, 512 pixels high and 1024 wide; +tiny at "
                                 "the end outlines tiny things too")
            return None
        first = int(match["first"] or TEST_DRIVES[0])
        last = int(match["last"] or (first if match["first"] else TEST_DRIVES[1]))
        frames, every = int(match["frames"] or FRAMES), int(match["every"] or 1)
        size = (int(match["h"]), int(match["w"])) if match["h"] else SIZE
        if last < first or min(frames, every) < 1 or not all(64 <= side <= 4096 for side in size):
            raise InputError(f"'{text}' names no drives: the last is not before the first, each has at least one "
                             "frame, and images have 64 to 4096 pixels per side")
        return CityName(first, last, frames, every, size, match["varied"] is not None, match["tiny"] is not None)


class City(Dataset):
    """Consecutive frames of whole drives at 10 Hz, in perspective, with everything that can be known of them.

    An object's id is its own for the whole drive. Where it is tiny it is part of a crowd of its class, without an id;
    see `synthetic_city.truth.group_tiny_things`.
    """

    truth = frozenset(Truth)

    def __init__(self, name: CityName | None = None) -> None:
        self._name = name or CityName()
        first, last, frames, every = self._name.first, self._name.last, self._name.frames, self._name.every
        options = ("+varied" if self._name.varied else "") + ("+tiny" if self._name.tiny else "")
        self.name = f"city:{first}-{last}x{frames}" + (f"/{every}" if every > 1 else "") + options
        height, width = self._name.size
        self.revision = f"{REVISION}@{height}x{width}{options}"
        self.classes = load_class_table("cityscapes")
        # A cache keeps images by their names, and must not mix up the two kinds of a drive.
        kind = "_varied" if self._name.varied else ""
        self.entries = [Entry(f"{drive:04d}_{k:06d}{kind}", f"{drive:04d}", round(k * 1e9 / FRAME_RATE), k)
                        for drive in range(first, last + 1) for k in range(0, frames * every, every)]
        # A street that is built for one frame serves the next; an image, its label and its depth are one rendering.
        self._drive: CityDrive | None = None
        self._rendered: tuple[int, CityFrame] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_drive": None, "_rendered": None}

    def image(self, index: int) -> np.ndarray:
        return self._frame(index).image

    def label(self, index: int) -> PanopticLabel:
        return frame_label(self._frame(index), self.classes, self._name.tiny)

    def depth(self, index: int) -> np.ndarray:
        return self._frame(index).depth

    def focal_length(self, index: int) -> float:
        camera = CityCamera.of_size(*self._name.size)
        seed = self._name.first + range(len(self))[index] // self._name.frames
        return (varied_camera(seed, camera) if self._name.varied else camera).fx

    def _frame(self, index: int) -> CityFrame:
        if self._rendered is None or self._rendered[0] != index:
            drive, k = divmod(range(len(self))[index], self._name.frames)
            seed = self._name.first + drive
            if self._drive is None or self._drive.seed != seed:
                self._drive = CityDrive(seed, CityCamera.of_size(*self._name.size), FRAME_RATE, self._name.varied)
            self._rendered = index, self._drive.render(k * self._name.every)
        return self._rendered[1]
