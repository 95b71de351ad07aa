"""Several cameras: their tracks, their common ids, and the state that a restart goes on from."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking import CameraTrackers, TrackerSettings

FrameFactory = Callable[..., PanopticFrame]

SETTINGS = TrackerSettings()
RED, GREEN = [1.0, 0, 0], [0, 1.0, 0]
BOXES = [[10, 40, 30, 60], [100, 40, 120, 60]]


def ids_of(trackers: CameraTrackers, frame: PanopticFrame, settings: TrackerSettings = SETTINGS) -> list[int]:
    ids: list[int] = trackers.update(frame, settings).segments.track_id.tolist()
    return ids


def test_each_camera_has_tracks_of_its_own_and_no_two_have_an_id_in_common(make_frame: FrameFactory) -> None:
    trackers = CameraTrackers()
    for k in range(3):
        assert ids_of(trackers, make_frame(0.1 * k, BOXES, [RED, GREEN], camera="left")) == [1, 2]
        assert ids_of(trackers, make_frame(0.1 * k, BOXES, [RED, GREEN], camera="right")) == [3, 4]
    assert trackers.born == 4


def test_one_camera_is_reset_alone(make_frame: FrameFactory) -> None:
    trackers = CameraTrackers()
    for name in ("left", "right"):
        ids_of(trackers, make_frame(0, BOXES, [RED, GREEN], camera=name))
    trackers.reset("left")
    assert ids_of(trackers, make_frame(0.1, BOXES, [RED, GREEN], camera="left")) == [5, 6]
    assert ids_of(trackers, make_frame(0.1, BOXES, [RED, GREEN], camera="right")) == [3, 4]
    trackers.reset()
    assert ids_of(trackers, make_frame(0.2, BOXES, [RED, GREEN], camera="right")) == [7, 8]


def test_an_object_in_two_cameras_is_reidentified_where_that_is_on(make_frame: FrameFactory) -> None:
    settings, trackers = TrackerSettings(cross_camera_reid_distance=0.1), CameraTrackers()
    assert ids_of(trackers, make_frame(0, BOXES, [RED, GREEN], camera="left"), settings) == [1, 2]
    elsewhere = [[50, 40, 70, 60], [150, 10, 190, 90], [0, 0, 9, 9]]
    right = make_frame(0.02, elsewhere, [GREEN, RED, [0, 0, 1.0]], camera="right")
    assert ids_of(trackers, right, settings) == [2, 1, 3]
    # The ids stay when the other camera has lost them.
    trackers.reset("left")
    right = make_frame(0.12, elsewhere, [GREEN, RED, [0, 0, 1.0]], camera="right")
    assert ids_of(trackers, right, settings) == [2, 1, 3]


@pytest.mark.parametrize("what", ["another class", "seen too long ago", "no embedding", "two of one appearance"])
def test_an_object_of_another_camera_lends_its_id_only_to_itself(make_frame: FrameFactory, what: str) -> None:
    settings, trackers = TrackerSettings(cross_camera_reid_distance=0.1), CameraTrackers()
    appearances = None if what == "no embedding" else [RED]
    ids_of(trackers, make_frame(0, BOXES[:1], appearances, camera="left"), settings)
    if what == "two of one appearance":
        right = make_frame(0, BOXES, [RED, RED], camera="right")
        assert sorted(ids_of(trackers, right, settings)) == [1, 2]
        return
    right = make_frame(0.5 if what == "seen too long ago" else 0, BOXES[:1], appearances, camera="right",
                       class_ids=[11] if what == "another class" else None)
    assert ids_of(trackers, right, settings) == [2]


def test_a_restart_goes_on_from_a_saved_state(make_frame: FrameFactory) -> None:
    before = CameraTrackers()
    for k in range(3):
        for name in ("front:left", ""):
            ids = ids_of(before, make_frame(0.1 * k, BOXES, [RED, GREEN], camera=name))
    assert ids == [3, 4]
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **before.state())
    file.seek(0)
    after = CameraTrackers()
    after.restore(dict(np.load(file)))
    for trackers in (before, after):
        assert ids_of(trackers, make_frame(0.3, BOXES, [RED, GREEN], camera="front:left")) == [1, 2]
        assert ids_of(trackers, make_frame(0.3, BOXES[:1], [RED], camera="")) == [3]
        assert ids_of(trackers, make_frame(0.3, BOXES[:1], [RED], camera="new")) == [5]


def test_a_restored_state_takes_back_no_id_that_was_given_out_since(make_frame: FrameFactory) -> None:
    trackers = CameraTrackers()
    state = trackers.state()
    assert ids_of(trackers, make_frame(0, BOXES, [RED, GREEN])) == [1, 2]
    trackers.restore(state)
    assert ids_of(trackers, make_frame(0.1, BOXES, [RED, GREEN])) == [3, 4]


def test_what_is_no_state_is_refused_and_changes_nothing(make_frame: FrameFactory) -> None:
    trackers = CameraTrackers()
    ids_of(trackers, make_frame(0, BOXES, [RED, GREEN]))
    state = trackers.state()
    for missing in ("allocated", "camera:camera:velocity", "camera:camera:mask_track_row"):
        with pytest.raises(InputError, match="another version"):
            trackers.restore({name: value for name, value in state.items() if name != missing})
    assert ids_of(trackers, make_frame(0.1, BOXES, [RED, GREEN])) == [1, 2]


@pytest.mark.parametrize("settings", [
    TrackerSettings(), TrackerSettings(temporal_smoothing=True, cross_camera_reid_distance=0.1)])
@pytest.mark.parametrize("repeats", [False, True])
def test_frames_whose_time_is_not_known_have_no_tracks_and_disturb_no_others(
        make_frame: FrameFactory, settings: TrackerSettings, repeats: bool) -> None:
    trackers, reference = CameraTrackers(), CameraTrackers()
    for k in range(4):
        frame = make_frame(0.1 * k, BOXES, [RED, GREEN])
        assert ids_of(trackers, frame, settings) == ids_of(reference, frame, settings) == [1, 2]
        untimed = make_frame(0.1 * k, BOXES[::-1], [RED, GREEN])
        if not repeats:
            untimed = replace(untimed, image=replace(untimed.image, stamp_ns=None))
        seen = untimed.with_tracks(np.array([8, 9]), np.array([1, 1]))  # of whoever had it before
        result = trackers.update(seen, settings)
        assert result.segments.track_id.tolist() == result.segments.track_age.tolist() == [0, 0]
        assert np.array_equal(result.segment_map, untimed.segment_map)
    assert trackers.born == 2
