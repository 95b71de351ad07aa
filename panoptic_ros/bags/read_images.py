"""Folders of images as a recording: one camera, or one for each subfolder as in KITTI's drives."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from panoptic_ros.bags.recording import DEFAULT_FRAME_RATE, BrokenFrame, Recording, Stream, camera_names
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.image_files import IMAGE_SUFFIXES, image_files
from panoptic_ros.pixels import BrokenImageError, decode_image_file
from panoptic_ros.timestamps import read_time_table, read_timestamps, times_in_names

# Subfolders that hold a camera's images; others beside them hold truth, depth or scans.
_CAMERA_FOLDER = re.compile(r"(image|cam|rgb|left|right|data$)", re.IGNORECASE)


# Folders that hold those of the cameras: of EuRoC, of nuScenes.
_HOLDERS = ("mav0", "samples")


@dataclass(frozen=True)
class _ImageFolder:
    """The images of a camera and their times. times_from: where these are, in words; empty where they are assumed."""

    camera: str
    files: list[Path]
    stamps_ns: list[int]
    times_from: str

    def rows(self) -> list[tuple[int, Path, str]]:
        """Time, file and camera of each image."""
        return [(stamp, file, self.camera) for stamp, file in zip(self.stamps_ns, self.files, strict=True)]


def open_images(path: Path, cameras: tuple[str, ...] = ()) -> Recording:
    """The images below a folder, turned as their EXIF data say, in the order of their times or else of their names.

    Taken are the folder's own images or those of its subfolders image_02, cam0, rgb, data and the like, as KITTI,
    EuRoC, TUM and nuScenes have them. Times are those of timestamps.txt or times.txt (a line for each
    image, numbers in names by value), of a table of times and names (data.csv, rgb.txt), beside the images or one
    folder above, or those that the names end with; otherwise DEFAULT_FRAME_RATE is assumed.
    cameras: names of the subfolders to take; none given, all are taken.
    Raises InputError where there are no images or times and images do not agree in number.
    """
    names, renamed = camera_names({str(folder): _camera_name(folder, path) for folder in _image_folders(path)})
    folders = {name: Path(folder) for folder, name in names.items()}
    if not folders:
        raise InputError(f"{path} has no images ({', '.join(sorted(IMAGE_SUFFIXES))}), no subfolder such as image_02 "
                         "that has, and no metadata.yaml of a rosbag2")
    unknown = sorted(set(cameras) - folders.keys())
    if unknown:
        raise InputError(f"{path} has no camera {', '.join(unknown)}; it has: {', '.join(folders)}")
    opened = [_open_folder(folder, camera) for camera, folder in folders.items()
              if not cameras or camera in cameras]

    def frames() -> Iterator[CameraImage | BrokenFrame]:
        for stamp_ns, file, camera in heapq.merge(*(folder.rows() for folder in opened), key=lambda row: row[0]):
            yield _read_image(file, stamp_ns, camera)

    untimed = [f.camera for f in opened if not f.times_from]
    notice = f"no timestamps.txt for {', '.join(untimed)}: {DEFAULT_FRAME_RATE:g} frames/s assumed"
    by_name = [f.camera for f in opened if f.times_from == _NAMES]
    named = f"the images of {', '.join(by_name)} have the times in their names"
    streams = tuple(Stream(f.camera, str(f.files[0].parent), "images", len(f.files), _frame_rate(f.stamps_ns))
                    for f in opened)
    return Recording(path, "images", streams, frames,
                     (*renamed, *([notice] if untimed else ()), *([named] if by_name else ())))


def images_in_order(folder: Path) -> list[Path]:
    """The image files of a camera's folder in the order in which `open_images` gives them."""
    return _open_folder(folder, "").files


def _image_folders(path: Path) -> list[Path]:
    if image_files(path):
        return [path]
    for holder in (path, *(path / name for name in _HOLDERS)):
        if holder.is_dir():
            places = [place for place in sorted(holder.iterdir()) if place.is_dir()
                      and _CAMERA_FOLDER.match(place.name)]
            if found := [folder for place in places for folder in (place, place / "data")
                         if folder.is_dir() and image_files(folder)]:
                return found
    return []


def _camera_name(folder: Path, path: Path) -> str:
    """The subfolder's name; `camera` for a folder that was given itself."""
    camera_folder = folder.parent if folder.name == "data" and folder != path else folder
    if camera_folder == path or camera_folder.name == "images":
        return "camera"
    return camera_folder.name.lower()


_NAMES = "the names"


def _open_folder(folder: Path, camera: str) -> _ImageFolder:
    files = image_files(folder)
    for name in ("timestamps.txt", "times.txt"):
        for file in (folder / name, folder.parent / name):
            if file.is_file():
                stamps = read_timestamps(file)
                if len(stamps) != len(files):
                    raise InputError(f"{file} has {len(stamps)} times, but there are {len(files)} images in {folder}: "
                                     "each image needs its line")
                return _ImageFolder(camera, files, stamps, str(file))
    for file in (folder / "data.csv", folder.parent / "data.csv", folder.parent / f"{folder.name}.txt"):
        if file.is_file():
            times = read_time_table(file)
            if missing := [image.name for image in files if image.name not in times]:
                raise InputError(f"{file} has no time for {missing[0]}"
                                 + (f" and {len(missing) - 1} others" if len(missing) > 1 else "")
                                 + f" of {folder}: each image needs its line")
            return _sorted(camera, files, [times[image.name] for image in files], str(file))
    if (named := times_in_names([file.stem for file in files])) is not None:
        return _sorted(camera, files, named, _NAMES)
    return _ImageFolder(camera, files, [round(k * 1e9 / DEFAULT_FRAME_RATE) for k in range(len(files))], "")


def _sorted(camera: str, files: list[Path], stamps_ns: list[int], times_from: str) -> _ImageFolder:
    rows = sorted(zip(stamps_ns, files, strict=True), key=lambda row: row[0])
    return _ImageFolder(camera, [file for _, file in rows], [stamp for stamp, _ in rows], times_from)


def _read_image(file: Path, stamp_ns: int, camera: str) -> CameraImage | BrokenFrame:
    try:
        pixels = decode_image_file(file.read_bytes(), str(file), with_orientation=True)
        return CameraImage(pixels, "bgr8", stamp_ns, camera, camera)
    except BrokenImageError as error:
        return BrokenFrame(camera, error.reason, str(error))
    except OSError as error:
        return BrokenFrame(camera, "image file unreadable", f"{file}: {error.strerror}")


def _frame_rate(stamps_ns: list[int]) -> float:
    steps = [after - before for before, after in pairwise(stamps_ns) if after > before]
    return 1e9 / median(steps) if steps else DEFAULT_FRAME_RATE
