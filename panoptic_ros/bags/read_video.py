"""Video of every codec that FFmpeg has: files as a recording of one camera, and packets in the messages of bags."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from panoptic_ros.bags.recording import BrokenFrame, Recording, Stream
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.pixels import LARGEST_IMAGE

VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".3gp", ".flv",
                  ".m2ts", ".mts", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".ivf", ".ogv"}
_FALLBACK_FRAME_RATE = 25.0


def open_video(path: Path) -> Recording:
    """A video that FFmpeg can decode, as players show it: turned as it says, at its own times, the first image at 0.

    What cannot be decoded is a BrokenFrame where it is, and what follows is read. A file that ends before as many
    frames as its index promises ends with a BrokenFrame that counts the rest.
    Raises InputError when it cannot be opened, or has no pictures.
    """
    with path.open("rb") as file:
        video = _Video(path, file)
        promised, rate = video.stream.frames, float(video.stream.average_rate or video.stream.guessed_rate or 0)
        video.container.close()
    rate_known = math.isfinite(rate) and 0 < rate <= 1000
    frame_rate = rate if rate_known else _FALLBACK_FRAME_RATE
    notices = () if rate_known else (f"the video does not say its frame rate: {frame_rate:g} frames/s assumed",)

    def frames() -> Iterator[CameraImage | BrokenFrame]:
        with path.open("rb") as file:
            yield from _Video(path, file).images(round(1e9 / frame_rate))

    stream = Stream("camera", str(path), "video", promised if promised > 0 else None, frame_rate)
    return Recording(path, "video", (stream,), frames, notices)


class _Video:
    """A video file that is open. FFmpeg gets the file and not its name, in which it would look for protocols."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._av = av = _pyav()
        try:
            self.container = av.open(file, "r", metadata_errors="replace")
            self.stream = self.container.streams.best("video")
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(f"{path} cannot be decoded as a video: it is damaged (an .mp4 that was cut off while it "
                             "was recorded has no index), or no video; `ffmpeg -i` tells which "
                             f"({_reason(error)})") from error
        if self.stream is None:
            raise InputError(f"{path} has no pictures: sound and text alone")
        if self.stream.codec_context is None:
            raise InputError(f"{path} has a codec that FFmpeg does not know")
        self.stream.codec_context.options = {"max_pixels": str(LARGEST_IMAGE)}

    def images(self, step_ns: int) -> Iterator[CameraImage | BrokenFrame]:
        """step_ns: from a frame without a time to the one before."""
        convert, first, stamp_ns, packets = _Conversion(), None, -step_ns, 0
        for packet in self._packets():
            if isinstance(packet, BrokenFrame):
                yield packet
                continue
            if packet.dts is not None or packet.size:
                packets += 1
                if not packet.size:  # AVI: the image of the packet before, once more
                    continue
            try:
                decoded = packet.decode()
            except (self._av.error.FFmpegError, ValueError, MemoryError) as error:
                place = "" if packet.pts is None else f" at {float(packet.pts * packet.time_base):.3f} s"
                yield BrokenFrame("camera", "video damaged", f"{self._path}{place}: {_reason(error)}")
                continue
            for frame in decoded:
                if frame.pts is None:
                    stamp_ns += step_ns
                else:
                    time_ns = round(frame.pts * frame.time_base * 1_000_000_000)
                    first = time_ns if first is None else first
                    stamp_ns = time_ns - first
                yield CameraImage(convert(frame), "bgr8", stamp_ns, "camera", "camera")
        promised = self.stream.frames
        if packets < promised:
            yield BrokenFrame("camera", "video ends early",
                              f"{self._path} promises {promised} frames; {packets} are there", promised - packets)
        self.container.close()

    def _packets(self) -> Iterator[Any]:
        packets, is_broken = self.container.demux(self.stream), False
        while True:
            try:
                yield next(packets)
                is_broken = False
            except StopIteration:
                return
            except self._av.error.FFmpegError as error:
                yield BrokenFrame("camera", "video damaged", f"{self._path}: {_reason(error)}", 0)
                if is_broken:
                    return
                packets, is_broken = self.container.demux(self.stream), True


class PacketDecoder:
    """Decodes the packets of video in a topic's messages, which follow each other: one without those before is nothing.

    codec: FFmpeg's name of it. Raises InputError where PyAV is missing.
    """

    def __init__(self, codec: str) -> None:
        self._av = _pyav()
        self._context = self._av.CodecContext.create(codec, "r")
        self._context.options = {"max_pixels": str(LARGEST_IMAGE)}
        # An image for each packet at once; with threads it would come some packets later.
        self._context.thread_count = 1
        self._context.flags |= self._av.codec.context.Flags.low_delay
        self._convert = _Conversion()

    def decode(self, content: bytes | None, number: int) -> list[tuple[int, np.ndarray]]:
        """The images that are complete with this packet, (H, W, 3) uint8 blue first, with the numbers of their packets.

        content: None at the end, for what is left. Raises ValueError for what cannot be decoded.
        """
        packet = None
        if content is not None:
            packet = self._av.Packet(content)
            packet.pts = packet.dts = number
        try:
            return [(frame.pts if frame.pts is not None else number, self._convert(frame))
                    for frame in self._context.decode(packet)]
        except (self._av.error.FFmpegError, MemoryError) as error:
            raise ValueError(_reason(error)) from error


class _Conversion:
    """Frames as pixels, upright."""

    def __init__(self) -> None:
        self._reformatter = _pyav().video.reformatter.VideoReformatter()

    def __call__(self, frame: Any) -> np.ndarray:
        pixels = self._reformatter.reformat(frame, format="bgr24").to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise InputError("video is read with PyAV, which is not installed: pip install av") from error
    return av
