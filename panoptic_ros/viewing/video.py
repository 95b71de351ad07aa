"""Writing video files that players and browsers show."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from panoptic_ros.errors import InputError


class VideoWriter:
    """An MP4 file that grows picture by picture: H.264, which browsers and players show.

    Where FFmpeg was built without libx264 it is MPEG-4 Part 2, which players show and browsers do not.
    The first picture decides the size: odd sides lose one pixel, later pictures of another size are fitted into it
    with black bars. Raises InputError when the file cannot be written; on a disk that is full it is taken away.
    """

    def __init__(self, path: str | Path, frame_rate: float) -> None:
        self.path = Path(path)
        if not frame_rate > 0:
            raise InputError(f"a video needs a frame rate above 0, not {frame_rate}")
        if self.path.suffix.lower() != ".mp4":
            raise InputError(f"videos are written as MP4: give {self.path} the ending .mp4")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # FFmpeg gets the file and not its name, in which it would look for protocols.
            self._file = self.path.open("wb")
        except OSError as error:
            raise InputError(f"cannot write the video {self.path}: {error.strerror}") from error
        self._frame_rate = Fraction(max(round(frame_rate, 2), 0.01)).limit_denominator(100)
        self._container: Any = None
        self._stream: Any = None
        self._size = (0, 0)
        self.frames = 0

    def write(self, bgr: np.ndarray) -> None:
        """Append a picture (H, W, 3) uint8, blue first."""
        if self._container is None:
            self._open(bgr.shape[1], bgr.shape[0])
        frame = self._av.VideoFrame.from_ndarray(_fitted(bgr, self._size), format="bgr24")
        frame.pts = self.frames
        self._mux(frame)
        self.frames += 1

    def close(self) -> None:
        """Finish the file; without pictures there is none."""
        try:
            if self._container is not None:
                self._mux(None)
                self._container.close()
            self._file.close()
        except OSError as error:
            raise self._failure(error) from error
        finally:
            with suppress(OSError):  # what it still had to write
                self._file.close()
            if not self.frames:
                self.path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Take away what was written."""
        self._container = None  # nothing more can be added to it
        with suppress(OSError):  # what it still had to write
            self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _open(self, width: int, height: int) -> None:
        try:
            import av
        except ImportError as error:
            raise InputError("videos are written with PyAV, which is not installed: pip install av") from error
        self._av = av
        self._size = (max(width // 2 * 2, 2), max(height // 2 * 2, 2))
        is_h264 = "libx264" in av.codecs_available
        self._container = av.open(self._file, "w", format="mp4")
        self._stream = self._container.add_stream(
            "libx264" if is_h264 else "mpeg4", rate=self._frame_rate,
            options={"preset": "ultrafast", "crf": "23"} if is_h264 else {"q": "4"})
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = 1 / self._frame_rate

    def _mux(self, frame: Any) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except (OSError, self._av.error.FFmpegError) as error:
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> InputError:
        self.discard()
        # What a write to the file raised is the cause of FFmpeg's error.
        reason = getattr(error.__cause__ or error, "strerror", None) or error
        return InputError(f"cannot write the video {self.path}: {reason}")


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
