"""The values that travel through the pipeline: a camera image on its way in, a panoptic frame on its way out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

# Image encodings (names of sensor_msgs) that are plain 8-bit pixels, with their number of channels.
PIXEL_ENCODINGS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}


@dataclass(frozen=True)
class CameraImage:
    """One image of one camera, as it arrived.

    pixels: (H, W, C) uint8, C as in PIXEL_ENCODINGS; may be a view with row padding, is never written to.
    encoding: a key of PIXEL_ENCODINGS.
    stamp_ns: time of acquisition in nanoseconds.
    camera: name of the stream; tracks are kept per camera.
    frame_id: coordinate frame of the message header.
    """

    pixels: np.ndarray
    encoding: str
    stamp_ns: int = 0
    camera: str = "camera"
    frame_id: str = ""

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    def rgb(self) -> np.ndarray:
        """The pixels as a view (H, W, 3) in the order red, green, blue."""
        if self.encoding == "mono8":
            return np.broadcast_to(self.pixels, (*self.pixels.shape[:2], 3))
        return self.pixels[..., 2::-1] if self.encoding.startswith("bgr") else self.pixels[..., :3]


@dataclass(frozen=True)
class Segments:
    """The N segments of one image, a struct of arrays; row k - 1 describes the pixels k of the segment map.

    Torch tensors on the device of the network when they leave a method's `decode`, NumPy arrays in a PanopticFrame.

    class_id: (N,) int32, index into the class table.
    is_thing: (N,) bool.
    score: (N,) float32 in [0, 1].
    area: (N,) int32, pixels.
    box: (N, 4) int32, x0, y0, x1, y1 in pixels, x1 and y1 exclusive.
    embedding: (N, D) float32 of unit length, or None where the method has none.
    track_id: (N,) int32, 0 = none.
    track_age: (N,) int32, frames since the track was born, 0 = none.
    """

    class_id: Any
    is_thing: Any
    score: Any
    area: Any
    box: Any
    embedding: Any
    track_id: Any
    track_age: Any

    def __len__(self) -> int:
        return int(self.class_id.shape[0])

    def select(self, rows: Any) -> Segments:
        """The segments of these rows (indices or a mask); their numbers in a segment map change with it."""
        return Segments(*(None if (column := getattr(self, f.name)) is None else column[rows] for f in fields(self)))

    def numpy(self) -> Segments:
        """The same segments as NumPy arrays in main memory."""
        return Segments(*(column.detach().cpu().numpy() if hasattr(column := getattr(self, f.name), "detach")
                          else column for f in fields(self)))

    @staticmethod
    def empty(dimension: int | None = None) -> Segments:
        """No segments; with `dimension`, an embedding of shape (0, dimension)."""
        none = np.zeros(0, np.int32)
        embedding = None if dimension is None else np.zeros((0, dimension), np.float32)
        return Segments(none, np.zeros(0, bool), np.zeros(0, np.float32), none, np.zeros((0, 4), np.int32),
                        embedding, none, none)


@dataclass(frozen=True)
class PanopticFrame:
    """What is known of one image: the value that viewing, messages, bags and evaluation take.

    image: the image it was made from.
    segment_map: (H, W) uint16 at the size of the image; 0 = void, k = row k - 1 of `segments`.
    segments: its segments, NumPy arrays.
    timings_ms: milliseconds spent in each stage (preprocess, network, decode, associate).
    """

    image: CameraImage
    segment_map: np.ndarray
    segments: Segments
    timings_ms: dict[str, float] = field(default_factory=dict)

    def semantic_map(self, void: int = 255) -> np.ndarray:
        """Class ids (H, W) uint8, `void` where there is no segment."""
        table = np.concatenate([[void], self.segments.class_id]).astype(np.uint8)
        return table[self.segment_map]

    def with_tracks(self, track_id: np.ndarray, track_age: np.ndarray) -> PanopticFrame:
        """The same frame with track ids and ages (N,)."""
        return replace(self, segments=replace(self.segments, track_id=track_id.astype(np.int32),
                                              track_age=track_age.astype(np.int32)))
