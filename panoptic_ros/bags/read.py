"""Opens a recording of any supported kind: a bag, a video or a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from panoptic_ros.bags.bag import BAG_SUFFIXES, is_bag_file, is_storage_file
from panoptic_ros.bags.read_bag import open_bag
from panoptic_ros.bags.read_images import open_images
from panoptic_ros.bags.read_video import VIDEO_SUFFIXES, open_video
from panoptic_ros.bags.recording import Recording
from panoptic_ros.errors import InputError


def open_recording(path: str | Path, topics: Sequence[str] = ()) -> Recording:
    """Open a rosbag2 folder, an .mcap, .db3 or .bag (ROS 1) file, a video, or a folder of images.

    topics: the image topics of a bag, or the subfolders of a folder of images, that are wanted.
    Raises InputError when there is nothing at the path, it is of another kind, cannot be read, or has no images.
    """
    path = Path(path).expanduser()
    wanted = tuple(dict.fromkeys(topics))
    try:
        if path.is_dir():
            return open_bag(path, wanted) if _is_bag_folder(path) else open_images(path, wanted)
        if not path.exists():
            raise InputError(f"there is no {path}")
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty")
        suffix = path.suffix.lower()
        if is_bag_file(path):
            return open_bag(path, wanted)
        if suffix in VIDEO_SUFFIXES:
            if wanted:
                raise InputError(f"{path} is a video: it has no topics to choose from ({', '.join(wanted)})")
            return open_video(path)
    except PermissionError as error:
        raise InputError(f"{error.filename or path} may not be read: {error.strerror}") from error
    raise InputError(f"{path} is of an unknown format; taken are a rosbag2 folder, {', '.join(sorted(BAG_SUFFIXES))}, "
                     f"a video ({', '.join(sorted(VIDEO_SUFFIXES))}) and a folder of images")


def _is_bag_folder(path: Path) -> bool:
    # A recorder that was killed leaves no metadata.yaml.
    return (path / "metadata.yaml").is_file() or any(map(is_storage_file, path.iterdir()))
