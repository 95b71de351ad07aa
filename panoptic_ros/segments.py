"""Segments: the segments of one image as a struct of arrays, and Segment, one row of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:  # code that only reads frames needs no torch
    from torch import Tensor

Array = TypeVar("Array", np.ndarray, "Tensor")


@dataclass(frozen=True)
class Segment:
    """One segment of an image.

    id: its value in the segment map, from 1.
    class_id: index into the class table; class_name: its name there. is_thing: whether it is one object, not a
        surface. score: 0 to 1.
    area: pixels. box: x0, y0, x1, y1 in pixels, x1 and y1 exclusive.
    track_id: the same in every frame that shows the object, 0 = none. track_age: frames since the track was born.
    embedding: (D,) float32 of unit length, or None where the method has none.
    depth: median depth of its pixels in metres, NaN where it is not known.
    """

    id: int
    class_id: int
    class_name: str
    is_thing: bool
    score: float
    area: int
    box: tuple[int, int, int, int]
    track_id: int
    track_age: int
    embedding: np.ndarray | None
    depth: float = math.nan


@dataclass(frozen=True)
class Segments(Generic[Array]):
    """The N segments of one image, a struct of arrays; row k - 1 describes the pixels k of the segment map.

    `Segments[Tensor]` on the device of the network when they leave a method's `decode`, `Segments[np.ndarray]` in a
    PanopticFrame.

    class_id: (N,) int32, index into the class table.
    is_thing: (N,) bool.
    score: (N,) float32 in [0, 1].
    area: (N,) int32, pixels.
    box: (N, 4) int32, x0, y0, x1, y1 in pixels, x1 and y1 exclusive.
    embedding: (N, D) float32 of unit length, zero for stuff that has none, or None where the method has none.
    track_id: (N,) int32, 0 = none.
    track_age: (N,) int32, frames since the track was born, 0 = none.
    depth: (N,) float32 metres, the median of its pixels', NaN where none is known, as a message has it; None where it
        is not known, or is left to `PanopticFrame.segment_depths`.
    """

    class_id: Array
    is_thing: Array
    score: Array
    area: Array
    box: Array
    embedding: Array | None
    track_id: Array
    track_age: Array
    depth: Array | None = None

    def __len__(self) -> int:
        return int(self.class_id.shape[0])

    def select(self, rows: Any) -> Segments[Array]:
        """The segments of these rows (indices or a mask); their numbers in a segment map change with it."""
        return Segments(*(None if (column := getattr(self, f.name)) is None else column[rows] for f in fields(self)))

    def numpy(self) -> Segments[np.ndarray]:
        """The same segments as NumPy arrays in main memory."""
        return Segments(*(column.detach().cpu().numpy() if hasattr(column := getattr(self, f.name), "detach")
                          else column for f in fields(self)))

    @staticmethod
    def empty(dimension: int | None = None) -> Segments[np.ndarray]:
        """No segments; with `dimension`, an embedding of shape (0, dimension)."""
        none = np.zeros(0, np.int32)
        embedding = None if dimension is None else np.zeros((0, dimension), np.float32)
        return Segments(none, np.zeros(0, bool), np.zeros(0, np.float32), none, np.zeros((0, 4), np.int32),
                        embedding, none, none)
