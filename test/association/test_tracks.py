"""What a track remembers: its motion and its running mean embedding, on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.association.affinity import Cues
from panoptic_ros.association.settings import TrackerSettings
from panoptic_ros.association.tracks import Tracks

SECOND = 1_000_000_000


def cue(x: float, log_width: float = -1.0, embedding: tuple[float, float] = (1, 0)) -> Cues:
    return Cues(np.array([13]), np.array([[x, 0.5, log_width, -1]], np.float32), np.array([embedding], np.float32))


def test_the_first_displacement_is_the_velocity_and_later_ones_are_averaged_in() -> None:
    settings = TrackerSettings(velocity_weight=0.25)
    track = Tracks.born(cue(0.0), 0).seen(cue(0.2), SECOND // 2, settings)
    assert track.velocity[0, 0] == pytest.approx(0.4)
    track = track.seen(cue(0.2), SECOND, settings)
    assert track.velocity[0, 0] == pytest.approx(0.3)
    assert track.predicted(3 * SECOND // 2).place[0, 0] == pytest.approx(0.2 + 0.15)


def test_without_a_velocity_weight_nothing_moves() -> None:
    track = Tracks.born(cue(0.0), 0).seen(cue(0.2), SECOND, TrackerSettings(velocity_weight=0.0))
    assert track.predicted(2 * SECOND).place[0, 0] == pytest.approx(0.2)


def test_a_lost_track_moves_on_for_a_second_and_then_waits() -> None:
    track = Tracks.born(cue(0.0), 0).seen(cue(0.5), SECOND, TrackerSettings())
    assert [track.predicted(k * SECOND).place[0, 0] for k in (1, 2, 3, 9)] == pytest.approx([0.5, 1.0, 1.0, 1.0])


def test_a_size_is_predicted_to_grow_to_twice_at_most() -> None:
    track = Tracks.born(cue(0.0, log_width=-3), 0).seen(cue(0.0, log_width=-2), SECOND // 10, TrackerSettings())
    assert track.predicted(SECOND // 5).place[0, 2] == pytest.approx(-2 + 0.7)


def test_a_repeated_stamp_leaves_the_velocity_as_it_is() -> None:
    track = Tracks.born(cue(0.0), 0).seen(cue(0.5), SECOND, TrackerSettings())
    assert track.seen(cue(0.9), SECOND, TrackerSettings()).velocity[0, 0] == pytest.approx(0.5)


def test_the_embedding_is_a_running_mean_of_unit_length() -> None:
    track = Tracks.born(cue(0.0), 0).seen(cue(0.0, embedding=(0, 1)), SECOND, TrackerSettings(embedding_weight=0.25))
    # 0.75 (1, 0) + 0.25 (0, 1), divided by its length sqrt(0.625)
    assert track.embedding[0] == pytest.approx([0.75 / 0.625**0.5, 0.25 / 0.625**0.5])
