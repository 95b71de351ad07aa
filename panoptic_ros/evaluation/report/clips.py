"""The report's clips: a few seconds of overlay from the beginning of a recording and from where it went worst."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

CLIP_WIDTH = 480
CLIP_FRAMES = 80
DEFAULT_FRAME_RATE = 10.0
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class Picture:
    """A small overlay as JPEG, with the number of its frame and its time."""

    jpeg: bytes
    number: int
    stamp_ns: int


@dataclass(frozen=True)
class Clip:
    """A video that browsers play (VP9 in MP4).

    first, last: numbers of the frames it begins and ends with.
    """

    title: str
    video: bytes
    first: int
    last: int
    size: tuple[int, int]


class ClipKeeper:
    """Keeps the small pictures of one camera that may come to be in a clip: never more than 3 x CLIP_FRAMES."""

    def __init__(self) -> None:
        self._beginning: list[Picture] = []
        self._latest: deque[tuple[Picture, float]] = deque(maxlen=CLIP_FRAMES)
        self._shortfall = 0.0  # the sum over the latest pictures of what their frames lack to a quality of 1
        self.worst: list[Picture] = []
        self.worst_shortfall = 0.0

    def add(self, picture: np.ndarray, number: int, stamp_ns: int, quality: float | None) -> None:
        """Take a frame's overlay (H, W, 3) uint8, blue first; quality: None where nobody knows."""
        done, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        assert done
        kept = Picture(jpeg.tobytes(), number, stamp_ns)
        if len(self._beginning) < CLIP_FRAMES:
            self._beginning.append(kept)
        if len(self._latest) == CLIP_FRAMES:
            self._shortfall -= self._latest[0][1]
        lacks = 0.0 if quality is None else 1 - quality
        self._latest.append((kept, lacks))
        self._shortfall += lacks
        # A hair's breadth more is no news: it may be the rounding of a sum that goes up and down.
        if len(self._latest) == CLIP_FRAMES and self._shortfall > self.worst_shortfall + 1e-9:
            self.worst, self.worst_shortfall = [picture for picture, _ in self._latest], self._shortfall

    @property
    def beginning(self) -> list[Picture]:
        """The first pictures."""
        return self._beginning

    def has_worse_than_beginning(self) -> bool:
        """Whether the worst stretch is another than the beginning."""
        return bool(self.worst) and self.worst[0].number != self._beginning[0].number


def encode_clip(title: str, pictures: list[Picture]) -> Clip | None:
    """The pictures at the rate of their stamps; None where this OpenCV cannot write VP9."""
    first = cv2.imdecode(np.frombuffer(pictures[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert first is not None
    width, height = first.shape[1] // 2 * 2, first.shape[0] // 2 * 2
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"vp09"),
                                 _frame_rate(pictures), (width, height))
        if not writer.isOpened():
            return None
        for picture in pictures:
            bgr = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert bgr is not None
            if bgr.shape != first.shape:  # the camera's image size changed
                bgr = cv2.resize(bgr, first.shape[1::-1])
            writer.write(np.ascontiguousarray(bgr[:height, :width]))
        writer.release()
        return Clip(title, path.read_bytes(), pictures[0].number, pictures[-1].number, (width, height))


def _frame_rate(pictures: list[Picture]) -> float:
    """Frames per second, from 1 to 60, rounded as the format needs it."""
    steps = np.diff([picture.stamp_ns for picture in pictures])
    steps = steps[steps > 0]
    rate = 1e9 / float(np.median(steps)) if len(steps) else DEFAULT_FRAME_RATE
    return round(min(max(rate, 1.0), 60.0), 2)
