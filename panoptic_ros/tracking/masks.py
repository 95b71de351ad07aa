"""Mask propagation: the last masks moved to the predicted boxes, and their intersections with this frame's segments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.tracking.affinity import box_iou

# Masks are compared at this many rows, downsampled; that tells objects apart and takes a few hundred microseconds.
ROWS = 64
# Masks with fewer pixels than this say less than their boxes.
FEWEST_PIXELS = 4


@dataclass(frozen=True)
class Masks:
    """The downsampled masks of the first K tracks, as last seen, as a list of P pixels in all.

    box_state: (K, 4) float32 as `Cues.box_state`, at that time. x, y: (P,) float32, image heights.
    track_row: (P,) int, index of each pixel's track. pixels_per_height: how many pixels an image height has.
    """

    box_state: np.ndarray
    x: np.ndarray
    y: np.ndarray
    track_row: np.ndarray
    pixels_per_height: float

    @staticmethod
    def none() -> Masks:
        """No masks."""
        pixels = np.zeros(0, np.float32)
        return Masks(np.zeros((0, 4), np.float32), pixels, pixels, np.zeros(0, np.int64), ROWS)

    @staticmethod
    def of(segment_map: np.ndarray, rows: np.ndarray, box_state: np.ndarray) -> Masks:
        """The masks of the segments `rows` (K,) of a map (H, W), the track of each in the same order."""
        coarse, step = _coarse(segment_map)
        row_of = np.full(int(max(coarse.max(initial=0), rows.max(initial=-1) + 1)) + 1, -1)
        row_of[rows + 1] = np.arange(len(rows))
        track_row = row_of[coarse]
        at_y, at_x = np.nonzero(track_row >= 0)
        height = segment_map.shape[0]
        x, y = ((at * step + step / 2) / height for at in (at_x, at_y))
        return Masks(box_state, x.astype(np.float32), y.astype(np.float32), track_row[at_y, at_x], height / step)


@dataclass(frozen=True)
class MaskIntersections:
    """Intersections of M predicted masks with N segments, in pixels of the downsampled maps.

    intersection: (M, N). track_area: (M,) of each predicted mask inside the image. segment_area: (N,).
    """

    intersection: np.ndarray
    track_area: np.ndarray
    segment_area: np.ndarray

    def iou(self, expected: np.ndarray, box_state: np.ndarray) -> np.ndarray:
        """Mask IoU (M, N); box IoU where a mask is too small, or out of sight. expected: (M, 4), box_state: (N, 4)."""
        union = self.track_area[:, None] + self.segment_area - self.intersection
        result = self.intersection / np.maximum(union, 1)
        tracks, segments = (np.flatnonzero(area < FEWEST_PIXELS) for area in (self.track_area, self.segment_area))
        result[tracks] = box_iou(expected[tracks], box_state)
        result[:, segments] = box_iou(expected, box_state[segments])
        return result


def mask_intersections(masks: Masks, expected: np.ndarray, segment_map: np.ndarray,
                       rows: np.ndarray) -> MaskIntersections:
    """Of the masks, moved and scaled to their tracks' predicted boxes, with the segments `rows` (N,) of a map (H, W).

    expected: (M, 4) as `Cues.box_state`, M >= K; tracks without a mask have no pixels.
    """
    coarse, step = _coarse(segment_map)
    count = len(rows)
    number = np.full(int(max(coarse.max(initial=0), rows.max(initial=-1) + 1)) + 1, count)
    number[rows + 1] = np.arange(count)
    segments = np.bincount(number[coarse].ravel(), minlength=count + 1)[:count]

    with_mask = len(masks.box_state)
    scale = np.exp(expected[:with_mask, 2:] - masks.box_state[:, 2:])
    offset = expected[:with_mask, :2] - scale * masks.box_state[:, :2]
    per_height = segment_map.shape[0] / step
    track_row = masks.track_row
    at_x = ((masks.x * scale[track_row, 0] + offset[track_row, 0]) * per_height).astype(np.int32)
    at_y = ((masks.y * scale[track_row, 1] + offset[track_row, 1]) * per_height).astype(np.int32)
    inside = (at_x >= 0) & (at_x < coarse.shape[1]) & (at_y >= 0) & (at_y < coarse.shape[0])
    track_row = track_row[inside]
    # A mask that grows has its old pixels further apart: each stands for more.
    weight = (scale.prod(axis=1) * (per_height / masks.pixels_per_height)**2)[track_row]
    key = track_row * (count + 1) + number[coarse[at_y[inside], at_x[inside]]]
    table = np.bincount(key, weight, len(expected) * (count + 1)).reshape(len(expected), count + 1)
    return MaskIntersections(table[:, :count], table.sum(1), segments)


def merges_and_splits(overlaps: MaskIntersections, track_rows: np.ndarray,
                      segment_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detect merged and split segments among N, given which segment each track was matched with.

    track_rows, segment_rows: (K,) the pairs. Returns three (N,) bool:
    merged: the segment has grown over a track that found none, and is as large as if it had taken it in; not so where
    it only hides it. split: another part of the same object lies beside it. part: is that other part, not matched.
    """
    merged, split, part = np.zeros((3, len(overlaps.segment_area)), bool)
    if not len(track_rows):
        return merged, split, part
    track_of = np.full(len(overlaps.segment_area), -1)
    segment_of = np.full(len(overlaps.track_area), -1)
    track_of[segment_rows], segment_of[track_rows] = track_rows, segment_rows

    alone = np.flatnonzero((segment_of < 0) & (overlaps.track_area >= FEWEST_PIXELS))
    into = overlaps.intersection[alone].argmax(axis=1)
    taken = track_of[into]
    is_merge = ((overlaps.intersection[alone, into] * 2 > overlaps.track_area[alone]) & (taken >= 0)
                & (overlaps.track_area[taken] > 0)
                & (overlaps.segment_area[into] >= overlaps.track_area[taken] + overlaps.track_area[alone] / 2))
    merged[into[is_merge]] = True

    fresh = np.flatnonzero((track_of < 0) & (overlaps.segment_area >= FEWEST_PIXELS))
    of = overlaps.intersection[:, fresh].argmax(axis=0)
    rest = segment_of[of]
    is_split = ((overlaps.intersection[of, fresh] * 2 > overlaps.segment_area[fresh]) & (rest >= 0)
                & (overlaps.track_area[of] >= overlaps.segment_area[rest] + overlaps.segment_area[fresh] / 2))
    part[fresh[is_split]] = True
    split[rest[is_split]] = True
    return merged, split, part


def _coarse(segment_map: np.ndarray) -> tuple[np.ndarray, int]:
    step = max(1, segment_map.shape[0] // ROWS)
    return segment_map[step // 2::step, step // 2::step], step
