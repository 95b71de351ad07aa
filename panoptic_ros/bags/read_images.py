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
from panoptic_ros.timestamps import read_timestamps

# Subfolders that hold a camera's images; others beside them hold truth, depth or scans.
_CAMERA_FOLDER = re.compile(r"(image|cam|rgb|left|right|data$)", re.IGNORECASE)


@dataclass(frozen=True)
class _ImageFolder:
    camera: str
    files: list[Path]
    stamps_ns: list[int]
    timestamps: Path | None

    def rows(self) -> list[tuple[int, Path, str]]:
        """Time, file and camera of each image."""
        return [(stamp, file, self.camera) for stamp, file in zip(self.stamps_ns, self.files, strict=True)]


def open_images(path: Path, cameras: tuple[str, ...] = ()) -> Recording:
    """The images below a folder, in the order of their names (numbers by value) and at the times of `timestamps.txt`.

    Taken are the folder's own images or those of its subfolders image_02, image_03, images, data and the like; times
    lie beside the images or one folder above, otherwise DEFAULT_FRAME_RATE is assumed.
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

    untimed = [f.camera for f in opened if f.timestamps is None]
    notice = f"no timestamps.txt for {', '.join(untimed)}: {DEFAULT_FRAME_RATE:g} frames/s assumed"
    streams = tuple(Stream(f.camera, str(f.files[0].parent), "images", len(f.files), _frame_rate(f.stamps_ns))
                    for f in opened)
    return Recording(path, "images", streams, frames, (*renamed, *([notice] if untimed else ())))


def _image_folders(path: Path) -> list[Path]:
    if image_files(path):
        return [path]
    places = [place for place in sorted(path.iterdir()) if place.is_dir() and _CAMERA_FOLDER.match(place.name)]
    return [folder for place in places for folder in (place, place / "data")
            if folder.is_dir() and image_files(folder)]


def _camera_name(folder: Path, path: Path) -> str:
    """The subfolder's name; `camera` for a folder that was given itself."""
    camera_folder = folder.parent if folder.name == "data" and folder != path else folder
    if camera_folder == path or camera_folder.name == "images":
        return "camera"
    return camera_folder.name.lower()


def _open_folder(folder: Path, camera: str) -> _ImageFolder:
    files = image_files(folder)
    places = [folder / "timestamps.txt", folder.parent / "timestamps.txt"]
    timestamps = next((place for place in places if place.is_file()), None)
    if timestamps is None:
        return _ImageFolder(camera, files, [round(k * 1e9 / DEFAULT_FRAME_RATE) for k in range(len(files))], None)
    stamps = read_timestamps(timestamps)
    if len(stamps) != len(files):
        raise InputError(f"{timestamps} has {len(stamps)} times, but there are {len(files)} images in {folder}: "
                         "each image needs its line")
    return _ImageFolder(camera, files, stamps, timestamps)


def _read_image(file: Path, stamp_ns: int, camera: str) -> CameraImage | BrokenFrame:
    try:
        return CameraImage(decode_image_file(file.read_bytes(), str(file)), "bgr8", stamp_ns, camera, camera)
    except BrokenImageError as error:
        return BrokenFrame(camera, error.reason, str(error))
    except OSError as error:
        return BrokenFrame(camera, "image file unreadable", f"{file}: {error.strerror}")


def _frame_rate(stamps_ns: list[int]) -> float:
    steps = [after - before for before, after in pairwise(stamps_ns) if after > before]
    return 1e9 / median(steps) if steps else DEFAULT_FRAME_RATE
