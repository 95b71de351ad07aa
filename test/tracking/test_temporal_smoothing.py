"""Temporal smoothing: steady classes, no false positive of a single frame, short gaps bridged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking import CameraTrackers, TrackerSettings

FrameFactory = Callable[..., PanopticFrame]

SMOOTHED, UNSMOOTHED = TrackerSettings(temporal_smoothing=True), TrackerSettings()
RED, GREEN = [1.0, 0, 0], [0, 1.0, 0]
CAR, TRUCK, ROAD = 13, 14, 0
GROUND = [0, 0, 200, 100]


def street(make_frame: FrameFactory, seconds: float, boxes: list[list[int]], appearances: list[list[float]],
           class_ids: list[int] | None = None, score: float = 0.9) -> PanopticFrame:
    """A road that fills the image, with things of this score on it."""
    return make_frame(seconds, [GROUND, *boxes], [[0, 0, 1.0], *appearances], is_thing=[False] + [True] * len(boxes),
                      class_ids=[ROAD, *(class_ids or [CAR] * len(boxes))], scores=[0.9] + [score] * len(boxes))


def shown(frame: PanopticFrame) -> list[int]:
    """Tracks of the things, after checking that the rows are those of the map."""
    rows = frame.segments
    area = np.bincount(frame.segment_map.ravel(), minlength=len(rows) + 1)
    assert len(area) == len(rows) + 1
    assert area[1:].tolist() == rows.area.tolist()
    for number, box in enumerate(rows.box.tolist(), 1):
        y, x = np.nonzero(frame.segment_map == number)
        assert [x.min(), y.min(), x.max() + 1, y.max() + 1] == box or not rows.is_thing[number - 1]
    ids: list[int] = rows.track_id[rows.is_thing].tolist()
    return ids


def test_a_low_score_object_is_shown_from_its_second_frame_on_and_a_high_score_one_at_once(
        make_frame: FrameFactory) -> None:
    trackers = CameraTrackers()
    assert shown(trackers.update(street(make_frame, 0.0, [[50, 40, 80, 60]], [RED]), SMOOTHED)) == [1]
    trackers = CameraTrackers()
    frames = [trackers.update(street(make_frame, 0.1 * k, [[50, 40, 80, 60]], [RED], score=0.3), SMOOTHED)
              for k in range(3)]
    assert [shown(frame) for frame in frames] == [[], [1], [1]]
    assert (frames[0].segment_map[40:60, 50:80] == 0).all()
    assert (frames[0].segment_map == 0).sum() == 600


def test_a_low_score_object_of_a_single_frame_is_shown_only_without_temporal_smoothing(
        make_frame: FrameFactory) -> None:
    for settings, expected in ((SMOOTHED, set()), (UNSMOOTHED, {0})):
        trackers, seen = CameraTrackers(), set()
        for k in range(8):
            boxes = [[20 * k, 10 * k, 20 * k + 12, 10 * k + 12]] if k % 2 else []
            appearances = [[1.0, 0.5 * k, 0.0]][:len(boxes)]
            seen |= set(shown(trackers.update(street(make_frame, 0.1 * k, boxes, appearances, score=0.3), settings)))
        assert seen == expected


def test_a_class_that_flickers_is_steady_and_one_that_lasts_is_taken_over(make_frame: FrameFactory) -> None:
    trackers, classes = CameraTrackers(), []
    for k in range(20):
        class_id = TRUCK if k in (4, 7) or k >= 12 else CAR
        frame = trackers.update(street(make_frame, 0.1 * k, [[50, 40, 80, 60]], [RED], [class_id]), SMOOTHED)
        classes.append(int(frame.segments.class_id[-1]))
    assert classes[1:14] == [CAR] * 13
    assert classes[16:] == [TRUCK] * 4


def test_a_gap_is_bridged_where_the_object_is_expected_and_only_so_long(make_frame: FrameFactory) -> None:
    trackers, seen = CameraTrackers(), []
    for k in range(12):
        gone = k >= 5
        boxes = [] if gone else [[20 + 5 * k, 40, 50 + 5 * k, 60]]
        frame = trackers.update(street(make_frame, 0.1 * k, boxes, [RED][:len(boxes)]), SMOOTHED)
        seen.append(shown(frame))
        if k in (5, 6, 7):
            assert frame.segments.box[-1].tolist() == [20 + 5 * k, 40, 50 + 5 * k, 60]
            assert frame.segments.area.tolist() == [200 * 100 - 600, 600]
            # 0.9, less by half of the share of the longest gap that has passed
            assert frame.segments.score[-1] < 0.9
            assert frame.segments.track_age[-1] == k + 1
    assert seen == [[1]] * 8 + [[]] * 4


def test_what_is_bridged_stays_behind_other_things(make_frame: FrameFactory) -> None:
    trackers = CameraTrackers()
    for k in range(5):
        boxes = [[50, 40, 80, 60], [65, 30, 95, 70]]
        trackers.update(street(make_frame, 0.1 * k, boxes, [RED, GREEN]), SMOOTHED)
    frame = trackers.update(street(make_frame, 0.5, boxes[1:], [GREEN]), SMOOTHED)
    assert sorted(shown(frame)) == [1, 2]
    number = {int(track): k for k, track in enumerate(frame.segments.track_id, 1)}
    assert (frame.segment_map == number[2]).sum() == 30 * 40
    assert (frame.segment_map == number[1]).sum() == 15 * 20  # what was seen of it before


def test_an_object_that_leaves_the_image_is_not_held_there(make_frame: FrameFactory) -> None:
    trackers = CameraTrackers()
    for k in range(5):
        trackers.update(street(make_frame, 0.1 * k, [[140 + 10 * k, 40, 160 + 10 * k, 60]], [RED]), SMOOTHED)
    assert shown(trackers.update(street(make_frame, 0.5, [], []), SMOOTHED)) == [1]  # 10 of its 20 columns
    assert shown(trackers.update(street(make_frame, 0.6, [], []), SMOOTHED)) == []


def test_stuff_that_is_lost_for_one_frame_is_kept_and_no_longer(make_frame: FrameFactory) -> None:
    trackers, void = CameraTrackers(), []
    for k, hole in enumerate([False, True, True, False]):
        frame = street(make_frame, 0.1 * k, [], [])
        if hole:
            segment_map = frame.segment_map.copy()
            segment_map[10:20, 30:50] = 0
            area = np.array([frame.segments.area[0] - 200], np.int32)
            frame = replace(frame, segment_map=segment_map, segments=replace(frame.segments, area=area))
        steady = trackers.update(frame, SMOOTHED)
        void.append(int((steady.segment_map == 0).sum()))
        assert shown(steady) == []
    assert void == [0, 0, 200, 0]


def test_stuff_that_the_frame_has_nowhere_or_that_is_long_past_is_not_kept(make_frame: FrameFactory) -> None:
    for seconds, classes in ((0.1, [1]), (0.5, [ROAD])):
        trackers = CameraTrackers()
        trackers.update(make_frame(0.0, [GROUND], [[0, 0, 1.0]], is_thing=[False], class_ids=[ROAD]), SMOOTHED)
        half = make_frame(seconds, [[0, 0, 100, 100]], [[0, 0, 1.0]], is_thing=[False], class_ids=classes)
        assert (trackers.update(half, SMOOTHED).segment_map == 0).sum() == 10000


def test_a_jump_of_time_a_reset_and_another_image_size_bridge_nothing(make_frame: FrameFactory) -> None:
    for what in ("back", "reset", "size"):
        trackers = CameraTrackers()
        for k in range(5):
            trackers.update(street(make_frame, 5 + 0.1 * k, [[50, 40, 80, 60]], [RED]), SMOOTHED)
        if what == "reset":
            trackers.reset()
        frame = street(make_frame, 1.0 if what == "back" else 5.5, [], [])
        if what == "size":
            half = replace(frame.segments, area=np.array([10_000], np.int32))
            frame = replace(frame, segment_map=frame.segment_map[:50], segments=half)
        assert shown(trackers.update(frame, SMOOTHED)) == []


def test_the_frames_that_were_given_are_left_as_they_are(make_frame: FrameFactory) -> None:
    trackers = CameraTrackers()
    for k in range(6):
        boxes = [[50, 40, 80, 60]] if k < 5 else []
        frame = street(make_frame, 0.1 * k, boxes, [RED][:len(boxes)], [TRUCK if k == 3 else CAR][:len(boxes)] or None)
        before = frame.segment_map.copy(), frame.segments.class_id.copy()
        trackers.update(frame, SMOOTHED)
        assert np.array_equal(frame.segment_map, before[0])
        assert np.array_equal(frame.segments.class_id, before[1])


def test_semantics_follow_where_an_object_changes_its_class_or_is_filled_in_and_nowhere_else(
        make_frame: FrameFactory) -> None:
    trackers = CameraTrackers()
    raw = np.full((100, 200), ROAD, np.uint8)
    raw[:10] = 8  # whatever the segments say
    for k in range(6):
        boxes = [[50, 40, 80, 60]] if k < 5 else []
        frame = street(make_frame, 0.1 * k, boxes, [RED][:len(boxes)], [TRUCK if k == 4 else CAR] * len(boxes))
        semantics = raw.copy()
        if boxes:
            semantics[40:60, 50:70] = TRUCK if k == 4 else CAR  # of the object's right third the network is not sure
        steady = trackers.update(replace(frame, semantics=semantics), SMOOTHED).semantics
        expected = semantics.copy()
        if k >= 4:
            expected[40:60, 50:80] = CAR
        assert steady is not None
        assert steady.dtype == np.uint8
        assert np.array_equal(steady, expected), k
