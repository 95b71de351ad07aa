"""KITTI-MOTS (Voigtlaender et al. 2019): masks of cars and pedestrians with track ids, a line of text each; depth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from pycocotools import mask as coco_mask

from panoptic_ros.bags.calibration import read_calibration
from panoptic_ros.classes import load_class_table
from panoptic_ros.datasets.coco_content import whole_number
from panoptic_ros.datasets.dataset import Dataset, Entry, Truth
from panoptic_ros.errors import InputError
from panoptic_ros.image_files import check_size, image_files, read_depth_image, read_image, trailing_number
from panoptic_ros.labels import NO_CLASS, PanopticLabel
from panoptic_ros.pixels import LARGEST_IMAGE
from panoptic_ros.timestamps import read_timestamps

IGNORE_CLASS = 10  # a region that is left out of every score
CLASSES = 2  # car 1, pedestrian 2: one more than the row in the class table
# Larger numbers are no data but a fault, and would cost memory.
_LAST_FRAME, _LAST_OBJECT = 1_000_000, 1 << 53
# Of a file that may be anything, characters that are read of a line.
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class ObjectMask:
    """One line of a file: `frame object_id class_id height width rle`.

    class_id: 1 car, 2 pedestrian, 10 ignore. rle: COCO's compressed run lengths.
    """

    frame: int
    object_id: int
    class_id: int
    height: int
    width: int
    rle: str

    @staticmethod
    def parse(line: str) -> ObjectMask:
        """Raises ValueError where the line is not of this kind."""
        *numbers, rle = line.split()
        found = [whole_number(number) for number in numbers]
        if len(found) != 5 or None in found:
            raise ValueError(f"'{line[:40]}' does not begin with five whole numbers")
        frame, object_id, class_id, height, width = (int(number) for number in found if number is not None)
        if class_id not in (*range(1, CLASSES + 1), IGNORE_CLASS):
            raise ValueError(f"class {class_id} is not 1 (car), 2 (pedestrian) or {IGNORE_CLASS} (ignore)")
        if min(frame, object_id) < 0 or min(height, width) < 1:
            raise ValueError("a negative number or an empty image")
        if frame > _LAST_FRAME or object_id > _LAST_OBJECT or height * width > LARGEST_IMAGE:
            raise ValueError(f"frames go to {_LAST_FRAME}, object ids to {_LAST_OBJECT}, images to {LARGEST_IMAGE} "
                             "pixels")
        return ObjectMask(frame, object_id, class_id, height, width, rle)

    def decode(self) -> np.ndarray:
        """(H, W) bool. Raises ValueError where the run lengths are damaged or not those of an image of this size.

        pycocotools decodes such a mask without a word, the missing pixels filled with what was in memory.
        """
        runs: list[int] = []
        number = shift = 0
        for code in self.rle.encode():
            if not 48 <= code < 112:
                raise ValueError(f"'{chr(code)}' is no character of a run length")
            if shift > 30:
                raise ValueError("a run length is larger than any image")
            number |= (code - 48 & 31) << shift
            shift += 5
            if code - 48 & 32 == 0:  # the last five bits, the highest of which is the sign
                number -= (code - 48 & 16) << shift - 4
                runs.append(number + (runs[-2] if len(runs) > 2 else 0))
                number = shift = 0
        if shift or min(runs, default=0) < 0 or sum(runs) != self.height * self.width:
            raise ValueError(f"they are of {sum(runs)} pixels, not of {self.width} x {self.height}")
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return inside.reshape(self.width, self.height).T


def read_lines(file: Path) -> list[str]:
    """The lines of a text file, in UTF-8 with or without a mark. Raises InputError where it is none."""
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as text: {error}") from error


def read_object_masks(file: Path) -> dict[int, list[ObjectMask]]:
    """The masks of each frame that has any. Raises InputError that names the line that cannot be read."""
    masks: dict[int, list[ObjectMask]] = {}
    for number, line in enumerate(read_lines(file), 1):
        if line.strip():
            try:
                mask = ObjectMask.parse(line)
            except ValueError as error:
                raise InputError(f"{file}, line {number}: not 'frame object_id class_id height width rle' as "
                                 f"KITTI-MOTS has it: {error}") from error
            masks.setdefault(mask.frame, []).append(mask)
    return masks


def label_of_masks(masks: Sequence[ObjectMask], size: tuple[int, int]) -> PanopticLabel:
    """The objects of one frame; ignore regions are void, all other pixels are one segment of NO_CLASS.

    Raises InputError where masks overlap, have another size than (height, width), or cannot be decoded.
    """
    number_map = np.ones(size, np.int32)
    objects = [mask for mask in masks if mask.class_id != IGNORE_CLASS]
    if len({mask.object_id for mask in objects}) < len(objects):
        raise InputError(f"frame {masks[0].frame}: an object id is there twice")
    numbers = {id(mask): k for k, mask in enumerate(objects, 2)}
    for mask in masks:
        if (mask.height, mask.width) != size:
            raise InputError(f"frame {mask.frame}, object {mask.object_id}: the mask is {mask.width} x {mask.height} "
                             f"pixels, others of the sequence {size[1]} x {size[0]}")
        try:
            inside = mask.decode()
        except ValueError as error:
            raise InputError(f"frame {mask.frame}, object {mask.object_id}: the run lengths cannot be decoded: "
                             f"{error}") from error
        if (others := np.unique(number_map[inside & (number_map != 1)])).size:
            of = "an ignore region" if others[0] == 0 else f"object {objects[others[0] - 2].object_id}"
            raise InputError(f"frame {mask.frame}: the masks of object {mask.object_id} and of {of} overlap; a pixel "
                             "belongs to one object at most")
        number_map[inside] = numbers.get(id(mask), 0)
    return PanopticLabel.of(number_map, np.array([NO_CLASS, *(mask.class_id - 1 for mask in objects)]),
                            np.array([0, *(mask.object_id for mask in objects)]))


@dataclass(frozen=True)
class MotsSequence:
    """One file of masks and, where they are there, the folders of the images and of the depth that belong to it.

    Their files are named by the numbers of the frames; depth is in PNGs as KITTI has them, metres x 256, 0 = unknown.
    """

    name: str
    file: Path
    images: Path | None
    depth: Path | None = None


def find_mots_sequences(path: Path) -> list[MotsSequence]:
    """The sequences at a path, none where it is no KITTI-MOTS.

    A text file; a folder with instances.txt (and image_02); a folder of text files 0000.txt, 0001.txt ..., or with
    other names where they have lines of this kind; or the official layout, instances_txt/0000.txt and image_02/0000 (in
    training/ or beside it). A sequence has the number that its file's name ends with: KITTI-MOTS-0000.txt is 0000.
    Depth is in depth_02 beside image_02.
    """
    if path.is_file() and path.suffix == ".txt":
        return [MotsSequence(path.stem, path, None)]
    if (path / "instances.txt").is_file():
        return [MotsSequence(path.name, path / "instances.txt", *(
            _first_folder([path / kind]) for kind in ("image_02", "depth_02")))]
    folders = (path / "instances_txt", path / "training" / "instances_txt", path)
    folder, names = next(((f, found) for f in folders if (found := _mots_files(f))), (path, {}))
    roots = (path, path / "training", folder.parent, folder.parent / "training")
    return [MotsSequence(name, file, *(
        _first_folder([root / kind / name for root in roots]) for kind in ("image_02", "depth_02")))
        for name, file in sorted(names.items())]


class KittiMots(Dataset):
    """Sequences with masks of cars and pedestrians; what is neither is a segment of NO_CLASS. Depth, where it is there.

    With images, every image is an entry, and one that the file does not name shows no object. Without, as in the files
    of predictions, the entries are the frames from 0 to the last that is named.
    """

    def __init__(self, path: Path, masks: Sequence[dict[int, list[ObjectMask]]] | None = None) -> None:
        """masks: of each sequence that is there, where they have been read already.

        Raises InputError where no sequence is there or a file cannot be read.
        """
        self.name, self.classes = path.stem, load_class_table("kitti_mots")
        self.sequence_files = find_mots_sequences(path)
        if not self.sequence_files:
            raise InputError(f"{path} has no KITTI-MOTS: give a folder with instances.txt and image_02, one with "
                             "instances_txt/0000.txt and so on, or a text file")
        self.entries: list[Entry] = []
        self._images: list[Path | None] = []
        self._depths: list[Path | None] = []
        self._sequence_of: list[int] = []
        self._masks = masks or [read_object_masks(sequence.file) for sequence in self.sequence_files]
        for number, sequence in enumerate(self.sequence_files):
            images = _images_by_number(sequence.images) if sequence.images else {}
            depths = _images_by_number(sequence.depth) if sequence.depth else {}
            frames = sorted(images) if images else list(range(max(self._masks[number], default=-1) + 1))
            stamps = _stamps(sequence.images, frames)
            self.entries += [Entry(f"{sequence.name}_{k:06d}", sequence.name, stamp, k)
                             for k, stamp in zip(frames, stamps, strict=True)]
            self._images += [images.get(k) for k in frames]
            self._depths += [depths.get(k) for k in frames]
            self._sequence_of += [number] * len(frames)
        self.truth = frozenset({Truth.TRACKS} | ({Truth.DEPTH} if any(self._depths) else set()))

    def image(self, index: int) -> np.ndarray:
        file = self._images[index]
        if file is None:
            raise InputError(f"{self._file(index)} has no images: they are looked for in image_02 beside it")
        image = read_image(file)
        if self._masks[self._sequence_of[index]]:
            check_size(file, image, self.size(index))
        return image

    def label(self, index: int) -> PanopticLabel:
        try:
            return label_of_masks(self.masks(index), self.size(index))
        except InputError as error:
            raise InputError(f"{self._file(index)}, {error}") from error

    def depth(self, index: int) -> np.ndarray:
        if Truth.DEPTH not in self.truth:
            return super().depth(index)
        file = self._depths[index]
        if file is None:
            return np.zeros(self.size(index), np.float32)
        depth = read_depth_image(file)
        check_size(file, depth, self.size(index))
        return depth

    def focal_length(self, index: int) -> float:
        """Of the colour camera on the left, in calib_cam_to_cam.txt beside the masks; 0 without that file."""
        calibration = self._file(index).with_name("calib_cam_to_cam.txt")
        return float(read_calibration(calibration, "image_02").intrinsic[0, 0]) if calibration.is_file() else 0.0

    def image_file(self, index: int) -> Path | None:
        return self._images[index]

    def masks(self, index: int) -> list[ObjectMask]:
        """The lines that an image has in its file."""
        return self._masks[self._sequence_of[index]].get(self.entries[index].number, [])

    def _file(self, index: int) -> Path:
        return self.sequence_files[self._sequence_of[index]].file

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a sequence's images: as its first mask says, or as the image is where there is none."""
        masks = self._masks[self._sequence_of[index]]
        if masks:
            first = masks[min(masks)][0]
            return first.height, first.width
        height, width = self.image(index).shape[:2]
        return height, width


class MotsWriter:
    """Writes a KITTI-MOTS text file, line by line: what the benchmark and `panoptic-ros score` take."""

    def __init__(self, file: Path) -> None:
        """Raises InputError where the folder cannot be made."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self._opened: TextIO = file.open("w")

    def add(self, frame: int, label: PanopticLabel) -> None:
        """The objects of one frame, a label in the class table `kitti_mots`; what has no object id is left out."""
        height, width = label.segment_map.shape
        for row in np.nonzero((label.class_id != NO_CLASS) & (label.object_id > 0))[0].tolist():
            inside = np.asfortranarray(label.segment_map == row + 1, np.uint8)
            if inside.any():
                rle = coco_mask.encode(inside)["counts"].decode()
                self._opened.write(f"{frame} {label.object_id[row]} {label.class_id[row] + 1} {height} {width} {rle}\n")

    def close(self) -> None:
        self._opened.close()


def _mots_files(folder: Path) -> dict[str, Path]:
    """The text files of a folder by the names of their sequences: those that are numbers, else those of such lines."""
    files = [file for file in folder.glob("*.txt") if not file.name.startswith(".")] if folder.is_dir() else []
    if numbered := {file.stem: file for file in files if file.stem.isdigit()}:
        return numbered
    found = [file for file in files if _has_masks(file)]
    short = {ending[0]: file for file in found if (ending := re.search(r"\d+$", file.stem))}
    return short if len(short) == len(found) else {file.stem: file for file in found}


def _has_masks(file: Path) -> bool:
    """Whether one of the first lines is of an object."""
    try:
        with file.open(encoding="utf-8-sig") as opened:
            lines = [opened.readline(_LONGEST_LINE) for _ in range(10)]
    except (OSError, UnicodeDecodeError):
        return False
    for line in lines:
        with suppress(ValueError):
            ObjectMask.parse(line)
            return True
    return False


def _first_folder(places: Sequence[Path]) -> Path | None:
    return next((place for place in places if place.is_dir()), None)


def _images_by_number(folder: Path) -> dict[int, Path]:
    files = {trailing_number(file.stem): file for file in image_files(folder)}
    if not files or -1 in files:
        raise InputError(f"{folder} needs images whose names are frame numbers, such as 000000.png")
    return files


def _stamps(images: Path | None, frames: list[int]) -> list[int]:
    """Times of the frames in nanoseconds, 0 where there is no timestamps.txt; line k is of frame k."""
    file = images / "timestamps.txt" if images else None
    if file is None or not file.is_file():
        return [0] * len(frames)
    stamps = read_timestamps(file)
    if frames and frames[-1] >= len(stamps):
        raise InputError(f"{file} has {len(stamps)} times, but there is an image with the number {frames[-1]}")
    return [stamps[k] for k in frames]
