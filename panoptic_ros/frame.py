"""PanopticFrame: what is known of one image, the value that everything behind the perception takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import index
from typing import SupportsIndex

import numpy as np

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import VOID, ClassTable
from panoptic_ros.geometry.numpy_label_maps import label_medians
from panoptic_ros.segments import Segment, Segments
from panoptic_ros.viewing.depth import draw_depth
from panoptic_ros.viewing.overlay import OverlayStyle, draw_overlay


@dataclass(frozen=True)
class PanopticFrame:
    """What is known of one image: the value that viewing, messages, bags and evaluation take.

    image: the image it was made from.
    segment_map: (H, W) uint16 at the size of the image; 0 = void, k = row k - 1 of `segments`.
    segments: its segments, NumPy arrays; `for segment in frame` goes through them one by one.
    classes: the table that class ids refer to.
    depth: (H, W) float32 metres at the size of the image, not finite or 0 where it is not known; None where the method
        predicts none.
    timings_ms: milliseconds spent in each stage (preprocess, network, decode, track).
    semantics: (H, W) uint8, the likeliest class of every pixel, whatever the segments; None where it was not asked for
        (`Perception.with_semantics`).
    embedding_kind: what the segments' embeddings are, see `Model.embedding_kind`; empty where it is not known.
    """

    image: CameraImage
    segment_map: np.ndarray
    segments: Segments[np.ndarray]
    classes: ClassTable
    depth: np.ndarray | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    semantics: np.ndarray | None = None
    embedding_kind: str = ""

    def __len__(self) -> int:
        return len(self.segments)

    def __iter__(self) -> Iterator[Segment]:
        rows, names = self.segments, self.classes.names
        columns = zip(rows.class_id.tolist(), rows.is_thing.tolist(), rows.score.tolist(), rows.area.tolist(),
                      rows.box.tolist(), rows.track_id.tolist(), rows.track_age.tolist(), strict=True)
        depths = self.segment_depths
        for k, (class_id, is_thing, score, area, box, track_id, track_age) in enumerate(columns):
            embedding = None if rows.embedding is None else rows.embedding[k]
            depth = math.nan if depths is None else float(depths[k])
            yield Segment(k + 1, class_id, names[class_id], is_thing, score, area, tuple(box), track_id, track_age,
                          embedding, depth)

    def mask(self, segment: Segment | SupportsIndex) -> np.ndarray:
        """Which pixels are a segment's, (H, W) bool; a segment of this frame, or its id. Raises IndexError for none."""
        number = segment.id if isinstance(segment, Segment) else index(segment)
        if not 1 <= number <= len(self.segments):
            raise IndexError(f"there is no segment {number} in this frame: ids are 1 to {len(self.segments)}")
        return self.segment_map == number

    def overlay(self, style: OverlayStyle | None = None) -> np.ndarray:
        """The image painted with its segments, their edges, names and track ids: (H, W, 3) uint8, red first."""
        return self.overlay_bgr(style)[..., ::-1]

    def overlay_bgr(self, style: OverlayStyle | None = None) -> np.ndarray:
        """As `overlay`, blue first: the order of OpenCV and of the camera messages, without a copy."""
        return draw_overlay(self.image, self.segment_map, self.segments, self.classes, style)

    def depth_picture(self) -> np.ndarray | None:
        """The depth in colours, red near and blue far: (H, W, 3) uint8, red first; None where the frame has none."""
        return None if self.depth is None else draw_depth(self.depth)[..., ::-1]

    def semantic_map(self) -> np.ndarray:
        """Class ids (H, W) uint8: `semantics` where the frame has them; else the classes of its segments, 255
        (`classes.VOID`) where there is none."""
        if self.semantics is not None:
            return self.semantics
        table = np.concatenate([[VOID], self.segments.class_id]).astype(np.uint8)
        return table[self.segment_map]

    @cached_property
    def segment_depths(self) -> np.ndarray | None:
        """Median depth (N,) of each segment's pixels, float32 metres, NaN where none is known; None where the frame has
        none. It is computed when it is first asked for."""
        if self.segments.depth is not None or self.depth is None:
            return self.segments.depth
        return label_medians(self.segment_map, self.depth, len(self.segments))

    def with_tracks(self, track_id: np.ndarray, track_age: np.ndarray) -> PanopticFrame:
        """The same frame with track ids and ages (N,)."""
        return replace(self, segments=replace(self.segments, track_id=track_id.astype(np.int32),
                                              track_age=track_age.astype(np.int32)))
