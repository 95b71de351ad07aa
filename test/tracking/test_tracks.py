"""Track states: constant velocity, EMA of the embedding, on numbers worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from panoptic_ros.tracking.affinity import Cues
from panoptic_ros.tracking.settings import TrackerSettings
from panoptic_ros.tracking.tracks import Tracks

SECOND = 1_000_000_000


def cue(x: float, log_width: float = -1.0, embedding: tuple[float, float] = (1, 0)) -> Cues:
    box_state = np.array([[x, 0.5, log_width, -1]], np.float32)
    return Cues(np.array([[1, 0]], np.float32), box_state, np.array([embedding], np.float32))


def test_the_first_displacement_is_the_velocity_and_later_ones_are_averaged_in() -> None:
    settings = TrackerSettings(velocity_ema_weight=0.25)
    for frames, left in ((1, 0.75), (2, 0.75 * 0.75)):  # of 0.1 s: the longer, the more the newest counts
        time = frames * SECOND // 10
        track = Tracks.born(cue(0.0), 0).updated(cue(0.2 * frames), time, settings)
        assert track.velocity[0, 0] == pytest.approx(2)
        track = track.updated(cue(0.2 * frames), 2 * time, settings)
        assert track.velocity[0, 0] == pytest.approx(2 * left)
        assert track.predicted(3 * time).box_state[0, 0] == pytest.approx(0.2 * frames + 0.2 * frames * left)


def test_without_a_velocity_weight_nothing_moves() -> None:
    track = Tracks.born(cue(0.0), 0).updated(cue(0.2), SECOND, TrackerSettings(velocity_ema_weight=0.0))
    assert track.predicted(2 * SECOND).box_state[0, 0] == pytest.approx(0.2)


def test_a_lost_track_moves_on_for_a_second_and_then_waits() -> None:
    track = Tracks.born(cue(0.0), 0).updated(cue(0.5), SECOND, TrackerSettings())
    assert [track.predicted(k * SECOND).box_state[0, 0] for k in (1, 2, 3, 9)] == pytest.approx([0.5, 1.0, 1.0, 1.0])


def test_a_size_is_predicted_to_grow_to_twice_at_most() -> None:
    track = Tracks.born(cue(0.0, log_width=-3), 0).updated(cue(0.0, log_width=-2), SECOND // 10, TrackerSettings())
    assert track.predicted(SECOND // 5).box_state[0, 2] == pytest.approx(-2 + math.log(2))


def test_what_the_camera_drives_towards_is_predicted_where_a_pinhole_camera_will_see_it() -> None:
    def seen_from(depth: float) -> Cues:  # 2 m beside the way and 1 m below the camera, 1.8 m wide and 1.5 m high
        row = [0.9 + 2 / depth, 0.5 + 1 / depth, math.log(1.8 / depth), math.log(1.5 / depth)]
        return Cues(np.array([[1, 0]], np.float32), np.array([row], np.float32), None)

    for speed in (8.0, -8.0):
        track = Tracks.born(seen_from(20), 0).updated(seen_from(20 - speed / 2), SECOND // 2, TrackerSettings())
        for seconds in (0.6, 1.0):
            predicted = track.predicted(round(seconds * SECOND)).box_state
            np.testing.assert_allclose(predicted, seen_from(20 - speed * seconds).box_state, rtol=1e-5)


def test_a_repeated_stamp_leaves_the_velocity_as_it_is() -> None:
    track = Tracks.born(cue(0.0), 0).updated(cue(0.5), SECOND, TrackerSettings())
    assert track.updated(cue(0.9), SECOND, TrackerSettings()).velocity[0, 0] == pytest.approx(0.5)


def test_the_embedding_is_an_ema_of_unit_length() -> None:
    settings = TrackerSettings(embedding_ema_weight=0.25, sigma_embedding=1.0)
    track = Tracks.born(cue(0.0), 0).updated(cue(0.0, embedding=(0.8, 0.6)), SECOND, settings)
    # 0.75 (1, 0) + 0.25 (0.8, 0.6), divided by its length sqrt(0.95^2 + 0.15^2)
    assert track.embedding[0] == pytest.approx([0.95 / 0.925**0.5, 0.15 / 0.925**0.5])


def test_an_outlier_of_the_embedding_is_left_out_until_it_persists() -> None:
    settings = TrackerSettings(sigma_embedding=0.2, embedding_drift_time=60.0)
    track = Tracks.born(cue(0.0), 0)
    for k in range(1, 4):  # a right angle: 1 / (2 * 0.04) = 12.5 and more than 3
        track = track.updated(cue(0.0, embedding=(0, 1)), k * SECOND // 10, settings)
        assert track.embedding[0] == pytest.approx([1, 0])
    track = track.updated(cue(0.0, embedding=(0, 1)), 4 * SECOND // 10, settings)
    assert track.embedding[0] == pytest.approx([0, 1])


def test_a_single_outlier_is_forgotten() -> None:
    settings = TrackerSettings(sigma_embedding=0.2, embedding_drift_time=60.0)
    track = Tracks.born(cue(0.0), 0)
    for k in range(1, 20):
        track = track.updated(cue(0.0, embedding=(0, 1) if k % 2 else (1, 0)), k * SECOND // 10, settings)
        assert track.embedding[0] == pytest.approx([1, 0])


def test_the_class_flips_when_it_was_another_four_times_in_a_row_not_sooner() -> None:
    truck = replace(cue(0.0), class_share=np.array([[0, 1]], np.float32))
    track, seen_as = Tracks.born(cue(0.0), 0), []
    for k in range(1, 6):
        track = track.updated(truck, k * SECOND // 10, TrackerSettings())
        seen_as.append(int(track.class_id[0]))
    # 0.8, 0.64, 0.512, 0.41 of the evidence is for the first class
    assert seen_as == [0, 0, 0, 1, 1]


def test_a_segment_that_shows_other_objects_too_moves_a_track_and_changes_nothing_else() -> None:
    track = Tracks.born(cue(0.0), 0).updated(cue(0.1), SECOND, TrackerSettings())
    other = replace(cue(0.5, embedding=(0.9, 0.44)), class_share=np.array([[0, 1]], np.float32))
    merged = track.updated(other, 2 * SECOND, TrackerSettings(), merged=np.array([True]))
    assert merged.box_state[0, 0] == pytest.approx(0.5)
    for name in ("velocity", "embedding", "class_share"):
        assert np.array_equal(getattr(merged, name), getattr(track, name))
    changed = track.updated(other, 2 * SECOND, TrackerSettings(sigma_embedding=1.0))
    for name in ("velocity", "embedding", "class_share"):
        assert not np.array_equal(getattr(changed, name), getattr(track, name))
