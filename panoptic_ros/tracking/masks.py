"""Where the masks of the last frame should be now, and what they share with those of this frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.tracking.affinity import box_iou

# Masks are compared at this many rows; that tells objects apart and takes a few hundred microseconds.
ROWS = 64
# Masks with fewer pixels than this say less than their boxes.
FEWEST_PIXELS = 4


@dataclass(frozen=True)
class Masks:
    """The masks of the first K tracks, as last seen, P pixels in all.

    place: (K, 4) float32 as `Cues.place`, then. x, y: (P,) float32, image heights. owner: (P,) int, row of the track.
    pixels_per_height: how many pixels an image height has.
    """

    place: np.ndarray
    x: np.ndarray
    y: np.ndarray
    owner: np.ndarray
    pixels_per_height: float

    @staticmethod
    def none() -> Masks:
        """No masks."""
        pixels = np.zeros(0, np.float32)
        return Masks(np.zeros((0, 4), np.float32), pixels, pixels, np.zeros(0, np.int64), ROWS)

    @staticmethod
    def of(segment_map: np.ndarray, rows: np.ndarray, place: np.ndarray) -> Masks:
        """The masks of the segments `rows` (K,) of a map (H, W), the track of each in the same order."""
        coarse, step = _coarse(segment_map)
        owner_of = np.full(int(max(coarse.max(initial=0), rows.max(initial=-1) + 1)) + 1, -1)
        owner_of[rows + 1] = np.arange(len(rows))
        owner = owner_of[coarse]
        at_y, at_x = np.nonzero(owner >= 0)
        height = segment_map.shape[0]
        x, y = ((at * step + step / 2) / height for at in (at_x, at_y))
        return Masks(place, x.astype(np.float32), y.astype(np.float32), owner[at_y, at_x], height / step)


@dataclass(frozen=True)
class SharedPixels:
    """What M predicted masks share with N segments, in pixels of the coarse maps.

    shared: (M, N). tracks: (M,) size of each predicted mask inside the image. segments: (N,) size of each segment.
    """

    shared: np.ndarray
    tracks: np.ndarray
    segments: np.ndarray

    def iou(self, expected: np.ndarray, place: np.ndarray) -> np.ndarray:
        """(M, N); that of the boxes where a mask is too small, or out of sight. expected: (M, 4), place: (N, 4)."""
        union = self.tracks[:, None] + self.segments - self.shared
        known = np.minimum.outer(self.tracks, self.segments) >= FEWEST_PIXELS
        return np.where(known, self.shared / np.maximum(union, 1), box_iou(expected, place))


def shared_pixels(masks: Masks, expected: np.ndarray, segment_map: np.ndarray, rows: np.ndarray) -> SharedPixels:
    """The masks, moved and scaled to where their tracks are expected, over the segments `rows` (N,) of a map (H, W).

    expected: (M, 4) as `Cues.place`, M >= K; tracks without a mask have no pixels.
    """
    coarse, step = _coarse(segment_map)
    count = len(rows)
    number = np.full(int(max(coarse.max(initial=0), rows.max(initial=-1) + 1)) + 1, count)
    number[rows + 1] = np.arange(count)
    segments = np.bincount(number[coarse].ravel(), minlength=count + 1)[:count]

    known = len(masks.place)
    scale = np.exp(expected[:known, 2:] - masks.place[:, 2:])
    offset = expected[:known, :2] - scale * masks.place[:, :2]
    per_height = segment_map.shape[0] / step
    owner = masks.owner
    at_x = ((masks.x * scale[owner, 0] + offset[owner, 0]) * per_height).astype(np.int32)
    at_y = ((masks.y * scale[owner, 1] + offset[owner, 1]) * per_height).astype(np.int32)
    inside = (at_x >= 0) & (at_x < coarse.shape[1]) & (at_y >= 0) & (at_y < coarse.shape[0])
    owner = owner[inside]
    # A mask that grows has its old pixels further apart: each stands for more.
    weight = (scale.prod(axis=1) * (per_height / masks.pixels_per_height)**2)[owner]
    key = owner * (count + 1) + number[coarse[at_y[inside], at_x[inside]]]
    table = np.bincount(key, weight, len(expected) * (count + 1)).reshape(len(expected), count + 1)
    return SharedPixels(table[:, :count], table.sum(1), segments)


def merges_and_splits(pixels: SharedPixels, track_rows: np.ndarray,
                      segment_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which of N segments show several objects or a part of one, given which segment each track was matched with.

    track_rows, segment_rows: (K,) the pairs. Returns three (N,) bool:
    merged: the segment has grown over a track that found none, and is as large as if it had taken it in; not so where
    it only hides it. split: another part of the same object lies beside it. part: is that other part, not matched.
    """
    merged, split, part = np.zeros((3, len(pixels.segments)), bool)
    if not len(track_rows):
        return merged, split, part
    track_of = np.full(len(pixels.segments), -1)
    segment_of = np.full(len(pixels.tracks), -1)
    track_of[segment_rows], segment_of[track_rows] = track_rows, segment_rows

    alone = np.flatnonzero((segment_of < 0) & (pixels.tracks >= FEWEST_PIXELS))
    into = pixels.shared[alone].argmax(axis=1)
    taken = track_of[into]
    is_merge = ((pixels.shared[alone, into] * 2 > pixels.tracks[alone]) & (taken >= 0)
                & (pixels.tracks[taken] > 0)
                & (pixels.segments[into] >= pixels.tracks[taken] + pixels.tracks[alone] / 2))
    merged[into[is_merge]] = True

    fresh = np.flatnonzero((track_of < 0) & (pixels.segments >= FEWEST_PIXELS))
    of = pixels.shared[:, fresh].argmax(axis=0)
    rest = segment_of[of]
    is_split = ((pixels.shared[of, fresh] * 2 > pixels.segments[fresh]) & (rest >= 0)
                & (pixels.tracks[of] >= pixels.segments[rest] + pixels.segments[fresh] / 2))
    part[fresh[is_split]] = True
    split[rest[is_split]] = True
    return merged, split, part


def _coarse(segment_map: np.ndarray) -> tuple[np.ndarray, int]:
    step = max(1, segment_map.shape[0] // ROWS)
    return segment_map[step // 2::step, step // 2::step], step
