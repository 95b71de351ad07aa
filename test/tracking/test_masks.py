"""Masks moved to where they are expected, and what their overlaps say of merges and splits, on numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.tracking.affinity import box_states
from panoptic_ros.tracking.masks import MaskIntersections, Masks, mask_intersections, merges_and_splits


def box_map(boxes: list[list[int]]) -> np.ndarray:
    """A map (64, 128) of filled boxes: as fine as masks are compared."""
    segment_map = np.zeros((64, 128), np.uint16)
    for number, (x0, y0, x1, y1) in enumerate(boxes, 1):
        segment_map[y0:y1, x0:x1] = number
    return segment_map


def test_a_mask_is_compared_where_its_track_is_expected() -> None:
    before, now = [[10, 10, 30, 30]], [[20, 10, 40, 30], [60, 10, 80, 30]]
    masks = Masks.of(box_map(before), np.array([0]), box_states(np.array(before), 64))
    # expected 5 pixels further right: 15 of 20 columns are shared with the first, none with the second
    expected = box_states(np.array([[15, 10, 35, 30]]), 64)
    overlaps = mask_intersections(masks, expected, box_map(now), np.array([0, 1]))
    assert overlaps.intersection == pytest.approx(np.array([[300.0, 0.0]]))
    assert overlaps.track_area == pytest.approx([400])
    assert overlaps.segment_area.tolist() == [400, 400]
    iou = overlaps.iou(expected, box_states(np.array(now), 64))
    assert iou == pytest.approx(np.array([[300 / 500, 0]]))


def test_a_mask_that_is_expected_to_grow_stands_for_more_pixels() -> None:
    before = [[40, 20, 60, 40]]
    masks = Masks.of(box_map(before), np.array([0]), box_states(np.array(before), 64))
    larger = [[30, 10, 70, 50]]
    overlaps = mask_intersections(masks, box_states(np.array(larger), 64), box_map(larger), np.array([0]))
    assert overlaps.track_area == pytest.approx([1600], rel=1e-4)
    assert overlaps.intersection[0, 0] == pytest.approx(1600, rel=0.02)


def test_a_segment_that_grew_over_a_lost_track_is_a_merge_and_one_that_hides_it_is_not() -> None:
    intersection = np.array([[100.0], [80.0]])  # two tracks of 100 and 80 overlaps, both inside the one segment
    for size, expected in ((180, True), (120, False)):
        overlaps = MaskIntersections(intersection, np.array([100.0, 80.0]), np.array([size]))
        merged, split, part = merges_and_splits(overlaps, np.array([0]), np.array([0]))
        assert (merged.tolist(), split.tolist(), part.tolist()) == ([expected], [False], [False])


def test_a_new_segment_that_was_inside_a_track_is_a_part_of_it_and_one_beside_it_is_not() -> None:
    # a track of 100 pixels is now a segment of 60, beside a new one of 40 that was inside it or was not
    for inside, expected in ((35.0, True), (10.0, False)):
        overlaps = MaskIntersections(np.array([[60.0, inside]]), np.array([100.0]), np.array([60, 40]))
        merged, split, part = merges_and_splits(overlaps, np.array([0]), np.array([0]))
        assert (merged.tolist(), split.tolist(), part.tolist()) == ([False] * 2, [expected, False], [False, expected])
    # a track of 60 that is as large as before has lost nothing to what lies in front of it
    overlaps = MaskIntersections(np.array([[60.0, 35.0]]), np.array([60.0]), np.array([60, 40]))
    assert not merges_and_splits(overlaps, np.array([0]), np.array([0]))[2].any()
