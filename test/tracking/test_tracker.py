"""Track management: birth, confirmation, occlusion, deletion, and ids that are never given twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking import Tracker, TrackerSettings, TrackIdAllocator
from panoptic_ros.tracking import tracker as tracker_module

FrameFactory = Callable[..., PanopticFrame]

SETTINGS = TrackerSettings(max_lost=2.0)
RED, GREEN, BLUE = [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]


def square(x: int, y: int = 40, side: int = 20) -> list[int]:
    return [x, y, x + side, y + side]


def test_a_track_is_born_on_its_first_frame_and_grows_older(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    seen = [tracker.update(make_frame(0.1 * k, [square(10 + 2 * k)], [RED]), SETTINGS) for k in range(4)]
    assert [int(ids[0]) for ids, _ in seen] == [1, 1, 1, 1]
    assert [int(age[0]) for _, age in seen] == [1, 2, 3, 4]
    assert seen[0][0].dtype == seen[0][1].dtype == np.int32
    assert len(tracker) == 1


def test_stuff_has_no_track(make_frame: FrameFactory) -> None:
    frame = make_frame(0, [square(0), square(50), square(100)], [RED, GREEN, BLUE], is_thing=[False, True, False])
    ids, age = Tracker().update(frame, SETTINGS)
    assert ids.tolist() == [0, 1, 0]
    assert age.tolist() == [0, 1, 0]


def test_a_low_score_object_gets_its_id_when_it_was_seen_three_times_in_a_row(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    settings = TrackerSettings(high_score_threshold=0.6, min_hits=3)
    seen = [tracker.update(make_frame(0.1 * k, [square(10)], [RED], scores=[0.3]), settings) for k in range(4)]
    assert [int(ids[0]) for ids, _ in seen] == [0, 0, 1, 1]
    assert [int(age[0]) for _, age in seen] == [0, 0, 1, 2]


def test_a_low_score_object_that_is_missed_once_starts_anew(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    settings = TrackerSettings(high_score_threshold=0.6, min_hits=3)
    for k in range(10):
        boxes = [square(10)] if k % 3 < 2 else []
        ids, _ = tracker.update(make_frame(0.1 * k, boxes, [RED] * len(boxes), scores=[0.3] * len(boxes)), settings)
        assert not ids.any()


def test_a_low_score_segment_continues_a_track_missed_for_a_moment_and_brings_none_back_later(
        make_frame: FrameFactory) -> None:
    for missed, expected in ((0.3, 1), (0.5, 0)):
        tracker = Tracker()
        for k in range(4):
            tracker.update(make_frame(0.1 * k, [square(10)], [RED]), SETTINGS)
        tracker.update(make_frame(0.4), SETTINGS)
        ids, _ = tracker.update(make_frame(0.3 + missed, [square(10)], [RED], scores=[0.3]), SETTINGS)
        assert ids.tolist() == [expected]


@pytest.mark.parametrize("with_embedding", [True, False])
def test_an_object_keeps_its_id_through_a_second_of_occlusion(make_frame: FrameFactory, with_embedding: bool) -> None:
    tracker = Tracker()
    first: list[int] = []
    for k in range(30):
        hidden = 10 <= k < 20
        boxes = [] if hidden else [square(10 + 3 * k)]
        ids, age = tracker.update(make_frame(0.1 * k, boxes, [RED] * len(boxes) if with_embedding else None), SETTINGS)
        first += ids.tolist()
    assert set(first) == {1}
    assert age.tolist() == [30]  # the frames out of sight count


def test_a_track_dies_when_it_is_lost_for_too_long(make_frame: FrameFactory) -> None:
    settings = TrackerSettings(max_lost=1.0)
    for gap, expected in ((0.9, 1), (1.1, 2)):
        tracker = Tracker()
        tracker.update(make_frame(0, [square(10)], [RED]), settings)
        ids, _ = tracker.update(make_frame(gap, [square(10)], [RED]), settings)
        assert ids.tolist() == [expected]


def test_empty_frames_age_tracks_until_none_is_left(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    tracker.update(make_frame(0, [square(10)], [RED]), SETTINGS)
    lengths = []
    for k in range(1, 30):
        ids, age = tracker.update(make_frame(0.1 * k), SETTINGS)
        assert len(ids) == len(age) == 0
        lengths.append(len(tracker))
    assert lengths[:19] == [1] * 19
    assert lengths[-1] == 0


def test_two_objects_that_cross_are_told_apart_by_their_embeddings(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    for k in range(21):
        # They stand on the same place in frame 10 and turn round there: motion alone would swap them.
        x = abs(10 - k) * 4
        boxes, appearances = [square(90 - x), square(90 + x)], [RED, GREEN]
        if k % 2:
            boxes, appearances = boxes[::-1], appearances[::-1]
        ids, _ = tracker.update(make_frame(0.1 * k, boxes, appearances), SETTINGS)
        assert ids.tolist() == ([2, 1] if k % 2 else [1, 2])


def test_without_embeddings_objects_that_pass_each_other_are_told_apart_by_their_motion(
        make_frame: FrameFactory) -> None:
    tracker = Tracker()
    for k in range(21):
        boxes = [square(20 + 6 * k, y=40), square(140 - 6 * k, y=44)]
        ids, _ = tracker.update(make_frame(0.1 * k, boxes), SETTINGS)
        assert ids.tolist() == [1, 2]


def test_a_change_of_class_keeps_the_track_unless_it_is_forbidden(make_frame: FrameFactory) -> None:
    for factor, expected in ((0.1, 1), (0.0, 2)):
        tracker = Tracker()
        settings = TrackerSettings(class_mismatch_factor=factor)
        tracker.update(make_frame(0, [square(10)], [RED], class_ids=[13]), settings)
        ids, _ = tracker.update(make_frame(0.1, [square(10)], [RED], class_ids=[14]), settings)
        assert ids.tolist() == [expected]


def test_time_that_jumps_back_starts_anew_and_gives_no_id_twice(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    tracker.update(make_frame(10.0, [square(10)], [RED]), SETTINGS)
    ids, age = tracker.update(make_frame(9.9, [square(10)], [RED]), SETTINGS)
    assert (ids.tolist(), age.tolist()) == ([2], [1])
    ids, age = tracker.update(make_frame(10.0, [square(10)], [RED]), SETTINGS)
    assert (ids.tolist(), age.tolist()) == ([2], [2])


def test_no_id_is_given_twice_after_a_reset(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    given = []
    for k in range(3):
        ids, _ = tracker.update(make_frame(0.1 * k, [square(10), square(100)], [RED, GREEN]), SETTINGS)
        given += ids.tolist()
        tracker.reset()
    assert given == [1, 2, 3, 4, 5, 6]


def test_trackers_that_share_an_id_allocator_have_no_id_in_common(make_frame: FrameFactory) -> None:
    allocator = TrackIdAllocator()
    left, right = Tracker(allocator), Tracker(allocator)
    frame = make_frame(0, [square(10), square(100)], [RED, GREEN])
    assert left.update(frame, SETTINGS)[0].tolist() == [1, 2]
    assert right.update(frame, SETTINGS)[0].tolist() == [3, 4]
    assert allocator.allocated == 4


@pytest.mark.parametrize("untimed", ["no stamp", "the last stamp again"])
def test_a_frame_whose_time_is_not_known_has_no_tracks_and_changes_nothing(
        make_frame: FrameFactory, untimed: str) -> None:
    tracker, reference = Tracker(), Tracker()
    for k in range(4):
        timed = make_frame(0.1 * k, [square(10 + 5 * k)], [RED])
        expected = [values.tolist() for values in reference.update(timed, SETTINGS)]
        assert [values.tolist() for values in tracker.update(timed, SETTINGS)] == expected == [[1], [k + 1]]
        # Without a time nobody knows which of these is the object: the nearer one, or the one that moved on.
        for _ in range(10):
            frame = make_frame(0.1 * k, [square(10 + 5 * k), square(60)], [RED, RED])
            if untimed == "no stamp":
                frame = replace(frame, image=replace(frame.image, stamp_ns=None))
            assert not tracker.can_follow(frame)
            ids, age = tracker.update(frame, SETTINGS)
            assert (ids.tolist(), age.tolist()) == ([0, 0], [0, 0])
        assert {name: value.tolist() for name, value in tracker.state().items()} == {
            name: value.tolist() for name, value in reference.state().items()}


def test_a_camera_whose_clock_begins_at_zero_is_followed_from_the_first_frame_on(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    for k in range(3):
        assert tracker.update(make_frame(0.1 * k, [square(10)], [RED]), SETTINGS)[0].tolist() == [1]
    tracker.reset()
    assert tracker.update(make_frame(0.2, [square(10)], [RED]), SETTINGS)[0].tolist() == [2]


def test_a_moving_object_is_looked_for_where_it_will_be(make_frame: FrameFactory) -> None:
    # Two equal objects, half an image height per second: at 2 Hz each arrives near the other's last place.
    tracker = Tracker()
    ids, _ = tracker.update(make_frame(0.0, [square(20), square(45)]), SETTINGS)
    for k in range(1, 6):
        ids, _ = tracker.update(make_frame(0.1 * k, [square(20 + 5 * k), square(45 + 5 * k)]), SETTINGS)
    ids, _ = tracker.update(make_frame(1.0, [square(70), square(95)]), SETTINGS)
    assert ids.tolist() == [1, 2]


def test_another_embedding_space_starts_anew(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    tracker.update(make_frame(0, [square(10)], [RED]), SETTINGS)
    ids, _ = tracker.update(make_frame(0.1, [square(10)], [[1.0, 0]]), SETTINGS)
    assert ids.tolist() == [2]


def test_an_embedding_that_is_not_a_number_disturbs_no_other_track(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    for k in range(3):
        appearances = [RED, [np.nan] * 3] if k else [RED, GREEN]
        ids, _ = tracker.update(make_frame(0.1 * k, [square(10), square(100)], appearances), SETTINGS)
        assert ids[0] == 1


def test_the_same_frames_give_the_same_ids(make_frame: FrameFactory) -> None:
    def run() -> list[list[int]]:
        rng = np.random.default_rng(1)
        tracker = Tracker()
        return [tracker.update(make_frame(0.1 * k, [square(int(x)) for x in rng.integers(0, 180, 8)],
                                          rng.normal(size=(8, 4)), scores=rng.uniform(0, 1, 8)), SETTINGS)[0].tolist()
                for k in range(50)]

    assert run() == run()


def test_a_thousand_frames_of_noise_leave_nothing_behind_and_use_no_id_twice(make_frame: FrameFactory) -> None:
    rng = np.random.default_rng(0)
    tracker = Tracker()
    last_seen: dict[int, int] = {}
    sizes = []
    for k in range(1000):
        count = int(rng.integers(0, 12))
        frame = make_frame(0.1 * k, [square(int(x), int(y)) for x, y in rng.integers(0, 80, (count, 2))],
                           rng.normal(size=(count, 3)), scores=rng.uniform(0.3, 1, count))
        ids, _ = tracker.update(frame, SETTINGS)
        known = ids[ids > 0]
        assert len(set(known.tolist())) == len(known)
        for track in known.tolist():
            assert k - last_seen.get(track, k) <= 20  # 2 s at 10 Hz: after that an id never comes back
            last_seen[track] = k
        sizes.append(len(tracker))
    assert sorted(last_seen) == list(range(1, len(last_seen) + 1))
    assert max(sizes[500:]) <= 12 * 21


def test_a_clock_that_hardly_moves_does_not_fill_the_memory(
        make_frame: FrameFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_module, "MAX_TRACKS", 50)
    rng = np.random.default_rng(0)
    tracker = Tracker()
    for k in range(100):
        tracker.update(make_frame(1e-9 * k, [square(int(x)) for x in rng.integers(0, 180, 5)], rng.normal(size=(5, 3))),
                       TrackerSettings(min_affinity=0.5))
    assert 50 <= len(tracker) <= 55  # the lost ones, and those of the last frame


def test_objects_that_merge_and_part_again_keep_their_ids(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    red, orange, mixed = [1, 0, 0], [1, 0.4, 0], [1, 0.2, 0]
    for k in range(12):
        merged = 5 <= k < 8
        boxes = [[40, 40, 80, 60]] if merged else [square(40), square(60)]
        ids, _ = tracker.update(make_frame(0.1 * k, boxes, [mixed] if merged else [red, orange]), SETTINGS)
        assert ids.tolist() == ([ids[0]] if merged else [1, 2])
        assert set(ids.tolist()) <= {1, 2}


def test_a_part_that_splits_off_gets_an_id_only_when_it_lasts(make_frame: FrameFactory) -> None:
    tracker, seen = Tracker(), []
    for k in range(10):
        split = k >= 5
        # The right third of the object comes off behind a pole.
        boxes = [[40, 40, 76, 70], [80, 40, 100, 70]] if split else [[40, 40, 100, 70]]
        ids, _ = tracker.update(make_frame(0.1 * k, boxes, [RED] * len(boxes)), TrackerSettings(min_hits=3))
        seen.append(ids.tolist())
    assert seen[:5] == [[1]] * 5
    assert seen[5:7] == [[1, 0]] * 2
    assert seen[7:] == [[1, 2]] * 3


def test_a_new_object_beside_another_is_no_part_of_it(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    tracker.update(make_frame(0, [square(40)], [RED]), SETTINGS)
    ids, _ = tracker.update(make_frame(0.1, [square(40), square(60)], [RED, RED]), SETTINGS)
    assert ids.tolist() == [1, 2]


def test_two_objects_that_swap_places_keep_their_ids(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    for k in range(4):
        places = [40, 52] if k < 3 else [52, 40]  # 12 pixels within a tenth of a second
        ids, _ = tracker.update(make_frame(0.1 * k, [square(x) for x in places], [RED, GREEN]), SETTINGS)
        assert ids.tolist() == [1, 2]


def test_camera_motion_compensation_shifts_the_tracks_with_the_image(make_frame: FrameFactory) -> None:
    for compensation, expected in ((True, True), (False, False)):
        tracker = Tracker()
        settings = TrackerSettings(camera_motion_compensation=compensation, max_lost=2.0)
        places, heights = np.array([10, 40, 60, 90]), [10, 30, 50, 70]
        appearances = [[1, 0.1 * k, 0] for k in range(4)]
        for k in range(4):
            ids, _ = tracker.update(make_frame(0.1 * k, [square(x, y, 8) for x, y in zip(places, heights, strict=True)],
                                               appearances), settings)
        turned = [square(x + 60, y, 8) for x, y in zip(places, heights, strict=True)]
        after, _ = tracker.update(make_frame(0.4, turned, appearances), settings)
        assert (after.tolist() == ids.tolist()) == expected


def test_a_state_restores_everything_that_the_next_ids_depend_on(make_frame: FrameFactory) -> None:
    rng = np.random.default_rng(0)
    frames = []
    for k in range(40):
        count = int(rng.integers(0, 8))
        frames.append(make_frame(0.1 * k, [square(int(x), int(y)) for x, y in rng.integers(0, 80, (count, 2))],
                                 rng.normal(size=(count, 3)), class_ids=rng.integers(11, 19, count)))
    whole = Tracker()
    through = [[part.tolist() for part in whole.update(frame, SETTINGS)] for frame in frames]
    first = Tracker(track_ids := TrackIdAllocator())
    for frame in frames[:20]:
        first.update(frame, SETTINGS)
    second = Tracker(TrackIdAllocator(track_ids.allocated))
    second.restore({name: value.copy() for name, value in first.state().items()})
    assert [[part.tolist() for part in second.update(frame, SETTINGS)] for frame in frames[20:]] == through[20:]


@pytest.mark.parametrize(("name", "value"), [("sigma_embedding", 0.0), ("max_lost", -1.0), ("min_affinity", 2.0),
                                             ("high_score_threshold", float("nan")), ("min_hits", 0)])
def test_a_setting_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        TrackerSettings(**{name: value})  # type: ignore[arg-type]
