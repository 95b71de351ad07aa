"""Temporal smoothing: the tracks' past takes the flicker out of the newest segmentation."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from panoptic_ros.classes import VOID
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.segments import Segments
from panoptic_ros.tracking.tracks import Tracks

# Missed objects are filled in when they were seen in so many frames before ..
MIN_HITS_TO_BRIDGE = 3
# .. and for so long, seconds.
MAX_GAP = 0.35


def smooth(frame: PanopticFrame, tracks: Tracks, last_output: PanopticFrame | None,
           last_input: PanopticFrame | None) -> PanopticFrame:
    """The frame (with its track ids) with steady classes, short gaps filled and single-frame false positives removed.

    tracks: the tracker's after this frame. last_input: the frame before, last_output: what this function made of it;
    None for the first. A tracked object has the class with the largest share of its past. A thing without a confirmed
    track, because its score is low and it is new, is removed: it comes one frame late, and nothing else does. An object
    that is missed is shown for up to MAX_GAP at its predicted box, on pixels that are stuff or void; its score falls
    with the time. A pixel that is void now and was stuff in the frame before is that for one frame more, where the
    frame has the class at all. Semantics follow where an object changes its class or is filled in.
    """
    smoothed = _smooth_segments(frame, tracks, last_output, last_input)
    if frame.semantics is None:
        return smoothed
    before, after = (replace(one, semantics=None).semantic_map() for one in (frame, smoothed))
    is_thing = np.append(frame.classes.thing_mask, np.zeros(VOID + 1 - len(frame.classes), bool))
    return replace(smoothed, semantics=np.where(is_thing[after] & (after != before), after, frame.semantics))


def _smooth_segments(frame: PanopticFrame, tracks: Tracks, last_output: PanopticFrame | None,
                     last_input: PanopticFrame | None) -> PanopticFrame:
    """The frame with smoothed segments, its semantics as they were."""
    segments = frame.segments
    row_of_track = np.full(int(max(tracks.track_id.max(initial=0), segments.track_id.max(initial=0))) + 1, -1)
    confirmed = np.flatnonzero(tracks.track_id > 0)
    row_of_track[tracks.track_id[confirmed]] = confirmed
    row = np.where(segments.track_id > 0, row_of_track[segments.track_id], -1)
    followed = row >= 0
    class_id = segments.class_id.copy()
    class_id[followed] = tracks.class_id[row[followed]]
    shown = ~segments.is_thing | (segments.track_id > 0)
    smoothed = _select(replace(frame, segments=replace(segments, class_id=class_id)), shown)
    if last_output is None or last_input is None or last_output.segment_map.shape != frame.segment_map.shape:
        return smoothed
    if _stamp_ns(frame) - _stamp_ns(last_input) <= 1e9 * MAX_GAP:
        smoothed = _fill(smoothed, last_input)
    return _measured(_bridge(smoothed, tracks, row_of_track, last_output))


def _stamp_ns(frame: PanopticFrame) -> int:
    assert frame.image.stamp_ns is not None, "a frame that is followed has a stamp"
    return frame.image.stamp_ns


def _select(frame: PanopticFrame, shown: np.ndarray) -> PanopticFrame:
    if shown.all():
        return frame
    number = np.concatenate([[0], np.cumsum(shown) * shown]).astype(np.uint16)
    return replace(frame, segment_map=number[frame.segment_map], segments=frame.segments.select(shown))


def _fill(frame: PanopticFrame, last_input: PanopticFrame) -> PanopticFrame:
    """The frame with the stuff of the one before where it is void; areas and boxes are as they were."""
    surface = np.flatnonzero(~frame.segments.is_thing)
    classes = 1 + int(max(segments.class_id.max(initial=0) for segments in (frame.segments, last_input.segments)))
    row_of_class = np.zeros(classes, np.uint16)
    row_of_class[frame.segments.class_id[surface]] = surface + 1
    rows = np.where(last_input.segments.is_thing, 0, row_of_class[last_input.segments.class_id]).astype(np.uint16)
    rows = np.concatenate([np.zeros(1, np.uint16), rows])
    return replace(frame, segment_map=np.where(frame.segment_map, frame.segment_map, rows[last_input.segment_map]))


def _bridge(frame: PanopticFrame, tracks: Tracks, row_of_track: np.ndarray,
            last_output: PanopticFrame) -> PanopticFrame:
    """The frame with the last one's objects that are missed now; areas and boxes are as they were."""
    now, height = _stamp_ns(frame), frame.image.height
    before = last_output.segments
    rows = np.flatnonzero(before.is_thing & (before.track_id > 0) & (before.track_id < len(row_of_track))
                          & ~np.isin(before.track_id, frame.segments.track_id))
    track = row_of_track[before.track_id[rows]]
    elapsed = np.where(track >= 0, tracks.elapsed(now)[track], np.inf) if len(tracks) else np.full(len(rows), np.inf)
    kept = (elapsed > 0) & (elapsed <= MAX_GAP)
    kept[kept] = tracks.hits[track[kept]] >= MIN_HITS_TO_BRIDGE
    rows, track, elapsed = rows[kept], track[kept], elapsed[kept]
    if not len(rows):
        return frame

    expected = tracks.predicted(now).box_state[track]
    half = np.exp(expected[:, 2:]) / 2
    corners = np.concatenate([expected[:, :2] - half, expected[:, :2] + half], 1) * height
    target = np.rint(np.clip(corners, 0, [frame.image.width, height] * 2)).astype(int)
    row, x, y = _pixels_of(target)
    source = before.box[rows]
    share = (np.stack([x, y], 1) + 0.5 - corners[row, :2]) / np.maximum(corners[:, 2:] - corners[:, :2], 1e-3)[row]
    at = (source[row, :2] + share * (source[:, 2:] - source[:, :2])[row]).astype(int)
    at = np.clip(at, 0, [frame.image.width - 1, height - 1])
    free = np.concatenate([[True], ~frame.segments.is_thing])
    painted = (last_output.segment_map[at[:, 1], at[:, 0]] == rows[row] + 1) & free[frame.segment_map[y, x]]
    row, x, y = row[painted], x[painted], y[painted]

    segment_map = frame.segment_map.copy()
    segment_map[y, x] = len(frame.segments) + 1 + row
    bridged = before.select(rows)
    bridged = replace(bridged, score=(bridged.score * (1 - elapsed / (2 * MAX_GAP))).astype(np.float32),
                      track_age=tracks.age[track])
    columns: list[Any] = [None if getattr(frame.segments, f.name) is None else np.concatenate(
        [getattr(frame.segments, f.name), getattr(bridged, f.name)]) for f in fields(Segments)]
    joined: Segments[np.ndarray] = Segments(*columns)
    return replace(frame, segment_map=segment_map, segments=joined)


def _pixels_of(box: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pixel of every box (K, 4): the row of its box, its x and its y."""
    width, height = np.maximum(box[:, 2:] - box[:, :2], 0).T
    count = width * height
    row = np.repeat(np.arange(len(box)), count)
    index = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return row, box[row, 0] + index % width[row], box[row, 1] + index // width[row]


def _measured(frame: PanopticFrame) -> PanopticFrame:
    """The frame with areas and boxes as its map has them, without segments that have no pixel."""
    count = len(frame.segments)
    flat = frame.segment_map.ravel()
    begin = np.flatnonzero(np.diff(flat, prepend=flat[0] + 1) != 0)
    width = frame.segment_map.shape[1]
    begin = np.union1d(begin, np.arange(0, flat.size, width))
    end = np.append(begin[1:], flat.size)
    label = flat[begin].astype(int)
    area = np.bincount(label, end - begin, count + 1)[1:].astype(np.int32)
    box = np.tile(np.array([width, frame.segment_map.shape[0], 0, 0], np.int32), (count + 1, 1))
    y = begin // width
    for column, pick, values in ((0, np.minimum, begin % width), (1, np.minimum, y),
                                 (2, np.maximum, begin % width + end - begin), (3, np.maximum, y + 1)):
        pick.at(box[:, column], label, values)
    return _select(replace(frame, segments=replace(frame.segments, area=area, box=box[1:])), area > 0)
