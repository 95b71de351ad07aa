"""The report's clips: a few seconds of overlay from the beginning of a recording and from where it went worst."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from panoptic_ros.evaluation.report.pictures import webp

CLIP_WIDTH = 512
CLIP_FRAMES = 60
# Of faster recordings, frames are left out.
SHORTEST_STEP_NS = 80_000_000
DEFAULT_STEP_MS = 100.0
_JPEG_QUALITY = 92
_WEBP_QUALITY = 55


@dataclass(frozen=True)
class Picture:
    """A small overlay as JPEG, with its frame's number, time and quality (both None where unknown)."""

    jpeg: bytes
    number: int
    stamp_ns: int | None
    quality: float | None


@dataclass(frozen=True)
class Clip:
    """Pictures that the page plays itself: OpenCV's wheels write no video that all browsers take in little time.

    pictures: WebP files, one for each frame. size: of the first, (width, height). step_ms: from each to the next.
    """

    title: str
    pictures: tuple[bytes, ...]
    numbers: tuple[int, ...]
    qualities: tuple[float | None, ...]
    size: tuple[int, int]
    step_ms: float


class ClipKeeper:
    """Keeps the small pictures of one camera that may come to be in a clip: never more than 3 x CLIP_FRAMES.

    worst: the pictures of the stretch whose frames lack most to a quality of 1, empty without a whole stretch.
    worst_shortfall: the sum of what they lack.
    """

    def __init__(self) -> None:
        self.beginning: list[Picture] = []
        self.worst: list[Picture] = []
        self.worst_shortfall = 0.0
        self._latest: deque[Picture] = deque(maxlen=CLIP_FRAMES)
        self._shortfall = 0.0  # of the latest pictures
        self._stamp_ns: int | None = None

    def wants(self, stamp_ns: int | None) -> bool:
        """Whether the frame of this time is to be added: not where the one before is hardly older."""
        return stamp_ns is None or self._stamp_ns is None or not 0 < stamp_ns - self._stamp_ns < SHORTEST_STEP_NS

    def add(self, overlay: np.ndarray, number: int, stamp_ns: int | None, quality: float | None) -> None:
        """Take a frame's overlay (H, W, 3) uint8, blue first."""
        done, jpeg = cv2.imencode(".jpg", overlay, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        assert done
        picture = Picture(jpeg.tobytes(), number, stamp_ns, quality)
        self._stamp_ns = stamp_ns
        if len(self.beginning) < CLIP_FRAMES:
            self.beginning.append(picture)
        if len(self._latest) == CLIP_FRAMES:
            self._shortfall -= _lack(self._latest[0])
        self._latest.append(picture)
        self._shortfall += _lack(picture)
        # A hair's breadth more is no news: it may be the rounding of a sum that goes up and down.
        if len(self._latest) == CLIP_FRAMES and self._shortfall > self.worst_shortfall + 1e-9:
            self.worst, self.worst_shortfall = list(self._latest), self._shortfall

    def has_worse_than_beginning(self) -> bool:
        """Whether the worst stretch is another than the beginning: where it shares less than half of it."""
        return bool(self.worst) and self.worst[0].number > self.beginning[CLIP_FRAMES // 2].number


def make_clip(title: str, pictures: Sequence[Picture]) -> Clip:
    """A clip of these pictures, at the pace of their stamps."""
    overlays = [cv2.imdecode(np.frombuffer(p.jpeg, np.uint8), cv2.IMREAD_COLOR) for p in pictures]
    steps = np.diff([p.stamp_ns for p in pictures if p.stamp_ns is not None])
    steps = steps[steps > 0]
    step_ms = float(np.median(steps)) / 1e6 if len(steps) else DEFAULT_STEP_MS
    assert overlays[0] is not None
    height, width = overlays[0].shape[:2]
    return Clip(title, tuple(webp(o, _WEBP_QUALITY) for o in overlays if o is not None),
                tuple(p.number for p in pictures), tuple(p.quality for p in pictures), (width, height),
                min(max(step_ms, 20.0), 1000.0))


def _lack(picture: Picture) -> float:
    return 0.0 if picture.quality is None else 1 - picture.quality
