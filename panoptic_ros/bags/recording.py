"""Recording: the interface of bags, videos and image folders: streams of camera images, broken ones reported."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from panoptic_ros.camera_image import CameraImage

# Frames per second of recordings that do not say it.
DEFAULT_FRAME_RATE = 10.0


@dataclass(frozen=True)
class Stream:
    """The images of one camera.

    camera: its name, unique in the recording and allowed as part of a ROS topic's name.
    topic: where they come from: a topic, a folder or a file.
    kind: type of the messages, `images` or `video`.
    frames: how many there should be, or None where that is unknown.
    frame_rate: images per second, for writing them as a video.
    """

    camera: str
    topic: str
    kind: str
    frames: int | None
    frame_rate: float = DEFAULT_FRAME_RATE


@dataclass(frozen=True)
class BrokenFrame:
    """A place in a recording where an image should be and is not, or is not one.

    reason: in a few words, the same for all frames that are broken in the same way; they are counted by it.
    detail: what exactly is wrong.
    frames: how many images are lost here, 0 where that is unknown.
    """

    camera: str
    reason: str
    detail: str
    frames: int = 1


@dataclass(frozen=True)
class Recording:
    """A recording that can be read, once or several times, image by image in the order of time.

    kind: `rosbag2`, `video` or `images`.
    notices: what a user should know of it before it is read.
    frames: called, it reads the recording from its start; images of several cameras come interleaved.
    """

    path: Path
    kind: str
    streams: tuple[Stream, ...]
    frames: Callable[[], Iterator[CameraImage | BrokenFrame]]
    notices: tuple[str, ...] = ()

    def with_focal_length(self, pixels: float) -> Recording:
        """The same recording, all of whose images are of cameras with this focal length, pixels of the images."""
        def frames() -> Iterator[CameraImage | BrokenFrame]:
            return (replace(item, focal_length=pixels) if isinstance(item, CameraImage) else item
                    for item in self.frames())

        return replace(self, frames=frames)

    @property
    def frame_count(self) -> int | None:
        """How many images there should be in all, or None where that is unknown."""
        counts = [stream.frames for stream in self.streams]
        return sum(count for count in counts if count is not None) if None not in counts else None


def camera_names(wanted: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Names for cameras, unique and allowed as part of a ROS topic's name; and a notice for each that had to change.

    wanted: source (a topic, a folder) -> what its camera should be called. Whatever a topic's name cannot have becomes
    `_`. Of several sources that want one name, one that has it from the start keeps it, else the first; the others are
    numbered from 2. The order of `wanted` decides, so give it sorted.
    """
    legal = {source: _topic_word(name) for source, name in wanted.items()}
    names: dict[str, str] = {}
    notices = []
    for source in sorted(legal, key=lambda source: wanted[source] != legal[source]):
        name, number = legal[source], 1
        while name in names.values() or (number > 1 and name in legal.values()):
            number += 1
            name = f"{legal[source]}_{number}"
        names[source] = name
        if number > 1:
            others = ", ".join(other for other in names if legal[other] == legal[source] and other != source)
            notices.append(f"the camera of {source} is called {name}, for {legal[source]} is the one of {others}")
    return {source: names[source] for source in wanted}, tuple(notices)


def _topic_word(name: str) -> str:
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return word if word[:1].isalpha() else f"camera_{word}"
