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
RED, GREEN, BLUE = [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]
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


CROSS_CAMERA = TrackerSettings(cross_camera_reid_distance=0.2)


def after_a_while(make_frame: FrameFactory, common: float = 0.0) -> CameraTrackers:
    """Trackers of two cameras that have seen things of many kinds, all out of sight and mind by the time 0.

    common: how much of a fourth dimension all have in common, as pooled features do.
    """
    trackers, rng = CameraTrackers(), np.random.default_rng(0)
    for k in range(30):
        for name in ("left", "right"):
            looks = np.pad(rng.normal(size=(2, 3)), ((0, 0), (0, 1)), constant_values=common)
            trackers.update(make_frame(0.1 * k - 100, BOXES, looks, camera=name), SETTINGS)
    return trackers


def looks(*vectors: list[float], common: float = 0.0) -> list[list[float]]:
    return [[*vector, common] for vector in vectors]


@pytest.mark.parametrize("common", [0.0, 10.0])
def test_an_object_in_two_cameras_is_reidentified_where_that_is_on(make_frame: FrameFactory, common: float) -> None:
    trackers = after_a_while(make_frame, common)
    red, green = ids_of(trackers, make_frame(0, BOXES, looks(RED, GREEN, common=common), camera="left"), CROSS_CAMERA)
    elsewhere = [[50, 40, 70, 60], [150, 10, 190, 90], [0, 0, 9, 9]]
    three = looks(GREEN, RED, BLUE, common=common)
    ids = ids_of(trackers, make_frame(0.02, elsewhere, three, camera="right"), CROSS_CAMERA)
    assert ids == [green, red, max(red, green) + 1]
    # The ids stay when the other camera has lost them.
    trackers.reset("left")
    assert ids_of(trackers, make_frame(0.12, elsewhere, three, camera="right"), CROSS_CAMERA) == ids


@pytest.mark.parametrize("what", ["another class", "seen too long ago", "no embedding", "two of one appearance",
                                  "too little is known"])
def test_an_object_of_another_camera_lends_its_id_only_to_itself(make_frame: FrameFactory, what: str) -> None:
    trackers = CameraTrackers() if what == "too little is known" else after_a_while(make_frame)
    appearances = None if what == "no embedding" else looks(RED)
    [red] = ids_of(trackers, make_frame(0, BOXES[:1], appearances, camera="left"), CROSS_CAMERA)
    if what == "two of one appearance":
        right = make_frame(0, BOXES, looks(RED, RED), camera="right")
        assert sorted(ids_of(trackers, right, CROSS_CAMERA)) == [red, red + 1]
        return
    right = make_frame(0.5 if what == "seen too long ago" else 0, BOXES[:1], appearances, camera="right",
                       class_ids=[11] if what == "another class" else None)
    assert ids_of(trackers, right, CROSS_CAMERA) == [red + 1]


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
