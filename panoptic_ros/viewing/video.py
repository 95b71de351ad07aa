"""Writing video files that common players open."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from panoptic_ros.errors import InputError


class VideoWriter:
    """An MP4 file (MPEG-4 Part 2) that grows picture by picture; VLC, mpv and QuickTime play it.

    Browsers want H.264, which OpenCV's wheels cannot write because its free encoders are under the GPL:
    `ffmpeg -i overlay.mp4 -pix_fmt yuv420p overlay_web.mp4` makes it.

    The first picture decides the size: odd sides lose one pixel, later pictures of another size are fitted into it
    with black bars. Raises InputError when the file cannot be written.
    """

    def __init__(self, path: str | Path, frame_rate: float) -> None:
        self.path = Path(path)
        if not frame_rate > 0:
            raise InputError(f"a video needs a frame rate above 0, not {frame_rate}")
        # OpenCV says nothing of the reason when it cannot write, so see first whether the file can be made.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.open("ab").close()
        except OSError as error:
            raise InputError(f"cannot write the video {self.path}: {error.strerror}") from error
        self._frame_rate = max(round(frame_rate, 2), 0.01)  # the format keeps it as a fraction of 16-bit numbers
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self.frames = 0

    def write(self, bgr: np.ndarray) -> None:
        """Append a picture (H, W, 3) uint8, blue first."""
        if self._writer is None:
            self._open(bgr.shape[1], bgr.shape[0])
        assert self._writer is not None
        self._writer.write(_fitted(bgr, self._size))
        self.frames += 1

    def close(self) -> None:
        """Finish the file; without pictures there is none."""
        if self._writer is not None:
            self._writer.release()
        if not self.frames:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _open(self, width: int, height: int) -> None:
        self._size = (max(width // 2 * 2, 2), max(height // 2 * 2, 2))
        self._writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"),
                                       self._frame_rate, self._size)
        if not self._writer.isOpened():
            raise InputError(f"OpenCV cannot write the video {self.path} with {width} x {height} pixels: give it the "
                             "ending .mp4, and see in the output of `panoptic-ros doctor` whether OpenCV has FFMPEG")


def _fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture at this size (width, height): the same, cropped by an odd pixel, or scaled between black bars."""
    width, height = size
    if picture.shape[1] // 2 * 2 == width and picture.shape[0] // 2 * 2 == height:
        return np.ascontiguousarray(picture[:height, :width])
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = max(1, round(scale * picture.shape[1])), max(1, round(scale * picture.shape[0]))
    x0, y0 = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[y0:y0 + inner[1], x0:x0 + inner[0]] = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    return canvas
