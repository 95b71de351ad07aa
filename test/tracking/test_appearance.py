"""Appearance statistics by hand and brute force, and re-identification by appearance alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking import CameraTrackers, Tracker, TrackerSettings
from panoptic_ros.tracking.appearance import BINS, AppearanceStatistics

FrameFactory = Callable[..., PanopticFrame]

CAR, PERSON = 13, 11


def unit(rng: np.random.Generator, count: int, dimension: int = 16) -> np.ndarray:
    vectors = rng.normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def share(class_id: list[int], classes: int = 3) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[class_id]


def learned(vectors: np.ndarray, class_id: list[int], times: int = 1) -> AppearanceStatistics:
    statistics = AppearanceStatistics.none(vectors.shape[1])
    for _ in range(times):
        statistics = statistics.updated(vectors, share(class_id))
    return statistics


def test_counts_and_means_are_those_of_what_was_seen() -> None:
    rng = np.random.default_rng(0)
    first, second = unit(rng, 4), unit(rng, 3)
    statistics = AppearanceStatistics.none(16).updated(first, share([0, 0, 2, 0])).updated(second, share([2, 0, 0]))
    np.testing.assert_allclose(statistics.count, [5, 0, 2], rtol=0.02)  # what is old is forgotten slowly
    np.testing.assert_allclose(statistics.mean[0], (first[[0, 1, 3]].sum(0) + second[1:].sum(0)) / 5, atol=0.002)
    np.testing.assert_allclose(statistics.mean[2], (first[2] + second[0]) / 2, atol=0.002)


def test_what_a_class_has_in_common_is_taken_away() -> None:
    rng = np.random.default_rng(1)
    common = np.eye(16, dtype=np.float32)[0]
    vectors = common + 0.1 * unit(rng, 40)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = learned(vectors, [1] * 40, 20).centred(vectors, share([1] * 40))
    np.testing.assert_allclose(np.linalg.norm(centred, axis=1), 1, rtol=1e-5)
    different = ~np.eye(40, dtype=bool)
    assert (vectors @ vectors.T)[different].min() > 0.95
    assert abs((centred @ centred.T)[different].mean()) < 0.1


def test_a_class_that_was_never_seen_has_the_mean_of_all() -> None:
    statistics = learned(np.tile(np.eye(16, dtype=np.float32)[:1], (10, 1)), [0] * 10)
    vector = np.array([[0.6, 0.8, *[0] * 14]], np.float32)
    # 10 segments of the first unit vector beside a prior of 10: half of it is common.
    expected = np.array([0.1, 0.8]) / np.hypot(0.1, 0.8)
    np.testing.assert_allclose(statistics.centred(vector, share([2]))[0, :2], expected, rtol=1e-5)


def test_with_nothing_seen_vectors_stay_as_they_are() -> None:
    vectors = unit(np.random.default_rng(2), 5)
    np.testing.assert_allclose(AppearanceStatistics.none(16).centred(vectors, share([0, 1, 2, 0, 1])), vectors,
                               rtol=1e-6)


def test_distances_are_those_of_pairs_of_one_class_in_one_image() -> None:
    vectors = unit(np.random.default_rng(3), 6)
    class_id = [0, 0, 1, 0, 1, 2]
    statistics = learned(vectors, class_id)
    centred = statistics.centred(vectors, share(class_id))
    pairs = [1 - centred[i] @ centred[j] for i in range(6) for j in range(i) if class_id[i] == class_id[j]]
    assert statistics.distances.sum() == len(pairs) == 4
    expected = np.histogram(pairs, BINS, (0, 2))[0]
    np.testing.assert_array_equal(statistics.distances, expected)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_the_false_match_distance_is_exceeded_by_all_pairs_but_the_stated_share(rate: float) -> None:
    rng = np.random.default_rng(4)
    statistics = AppearanceStatistics.none(16)
    for _ in range(30):
        statistics = statistics.updated(unit(rng, 40), share([0] * 40))
    new = unit(rng, 200)
    centred = statistics.centred(new, share([0] * 200))
    apart = (1 - centred @ centred.T)[np.triu_indices(200, 1)]
    assert (apart < statistics.false_match_distance(rate)).mean() == pytest.approx(rate, rel=0.25)


def test_vectors_that_are_zero_or_no_numbers_are_left_out() -> None:
    vectors = unit(np.random.default_rng(5), 4)
    broken = np.concatenate([vectors, np.zeros((1, 16), np.float32), np.full((1, 16), np.nan, np.float32)])
    for a, b in zip(vars(learned(broken, [0] * 6)).values(), vars(learned(vectors, [0] * 4)).values(), strict=True):
        np.testing.assert_array_equal(a, b)


def drive(make_frame: FrameFactory, tracker: Tracker | CameraTrackers, back_at: list[int],
          back_as: list[float], settings: TrackerSettings, gone: float = 5.0) -> int:
    """Six cars that look different stand in a row for two seconds; the first leaves, and after a time one of this
    appearance is there at this box. Returns its track id; that of the one that left is 1."""
    looks = unit(np.random.default_rng(6), 6, 8)
    row = [[10 + 30 * k, 60, 30 + 30 * k, 80] for k in range(6)]
    trackers = tracker if isinstance(tracker, CameraTrackers) else None

    def ids(seconds: float, boxes: list[list[int]], vectors: np.ndarray) -> np.ndarray:
        frame = make_frame(seconds, boxes, vectors)
        if trackers is not None:
            return trackers.update(frame, settings).segments.track_id
        return tracker.update(frame, settings)[0]  # type: ignore[union-attr, return-value]

    for k in range(20):
        assert ids(0.1 * k, row, looks).tolist() == [1, 2, 3, 4, 5, 6]
    steps = round(gone / 0.1)
    for k in range(steps):
        assert ids(2 + 0.1 * k, row[1:], looks[1:]).tolist() == [2, 3, 4, 5, 6]
    again = looks[0] if not back_as else np.array(back_as, np.float32)
    return int(ids(2 + gone, [*row[1:], back_at], np.concatenate([looks[1:], again[None]]))[-1])


SETTINGS = TrackerSettings(max_lost=20.0)


def test_an_object_that_is_back_elsewhere_after_seconds_is_known_by_its_appearance(make_frame: FrameFactory) -> None:
    assert drive(make_frame, Tracker(), [150, 10, 170, 30], [], SETTINGS) == 1


def test_an_object_of_another_appearance_is_a_new_one(make_frame: FrameFactory) -> None:
    other = unit(np.random.default_rng(99), 1, 8)[0].tolist()
    assert drive(make_frame, Tracker(), [150, 10, 170, 30], other, SETTINGS) == 7


def test_without_a_false_match_rate_appearance_alone_brings_none_back(make_frame: FrameFactory) -> None:
    settings = TrackerSettings(max_lost=20.0, reid_false_match_rate=0.0)
    assert drive(make_frame, Tracker(), [150, 10, 170, 30], [], settings) == 7


def test_what_motion_makes_impossible_is_another_object(make_frame: FrameFactory) -> None:
    # Two image heights away after less than half a second.
    assert drive(make_frame, Tracker(), [180, 0, 199, 18], [], SETTINGS, gone=0.4) == 7


def test_statistics_are_saved_and_restored_with_the_tracks(make_frame: FrameFactory) -> None:
    first, second = CameraTrackers(), CameraTrackers()
    assert drive(make_frame, first, [150, 10, 170, 30], [], SETTINGS) == 1
    second.restore(first.state())
    for name, value in first.state().items():
        np.testing.assert_array_equal(second.state()[name], value, name)
    assert first.state()["camera:camera:appearance_distances"].sum() > 100


def test_twins_side_by_side_keep_their_places(make_frame: FrameFactory) -> None:
    tracker = Tracker()
    twin = [0.6, 0.8, 0.0]
    for k in range(20):
        ids, _ = tracker.update(make_frame(0.1 * k, [[10 + k, 40, 40 + k, 70], [45 + k, 40, 75 + k, 70]], [twin, twin]),
                                SETTINGS)
        assert ids.tolist() == [1, 2]


def test_night_that_falls_within_a_drive_changes_no_id(make_frame: FrameFactory) -> None:
    rng = np.random.default_rng(7)
    looks, day, night = unit(rng, 4, 8), *unit(rng, 2, 8)
    tracker = Tracker()
    boxes = [[10 + 45 * k, 50, 35 + 45 * k, 75] for k in range(4)]
    for k in range(100):
        light = np.clip((k - 30) / 40, 0, 1)
        vectors = looks + 2 * ((1 - light) * day + light * night)
        ids, _ = tracker.update(make_frame(0.1 * k, boxes, vectors), SETTINGS)
        assert ids.tolist() == [1, 2, 3, 4], k
