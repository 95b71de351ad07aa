"""The file of the tracks: whole or refused, never half."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.tracking import CameraTrackers, TrackerSettings
from panoptic_ros.tracking.state_file import read_state, write_state


@pytest.fixture
def state(make_frame: Callable[..., PanopticFrame]) -> dict[str, np.ndarray]:
    """Of two cameras with an object each."""
    trackers = CameraTrackers()
    for camera in ("left", "right:2"):
        trackers.update(make_frame(0, [[10, 10, 30, 30]], [[1, 0, 0]], camera=camera), TrackerSettings())
    return trackers.state()


def test_a_file_gives_back_the_ids(state: dict[str, np.ndarray], tmp_path: Path,
                                   make_frame: Callable[..., PanopticFrame]) -> None:
    write_state(tmp_path / "tracks.npz", state)
    write_state(tmp_path / "tracks.npz", state)  # again, over the first
    assert [file.name for file in tmp_path.iterdir()] == ["tracks.npz"]
    after = CameraTrackers()
    after.restore(read_state(tmp_path / "tracks.npz"))
    for camera, track in (("right:2", 2), ("left", 1)):
        frame = make_frame(0.1, [[12, 10, 32, 30], [80, 50, 99, 70]], [[1, 0, 0], [0, 1, 0]], camera=camera)
        assert after.update(frame, TrackerSettings()).segments.track_id[0] == track
    assert after.born == 4


def test_a_file_of_an_earlier_version_gives_back_its_ids(make_frame: Callable[..., PanopticFrame]) -> None:
    # Written by the version before 0.1.0: two cameras, tracks 1 and 2, 3 and 4.
    state = read_state(Path(__file__).with_name("state_before_0.1.0.npz"))
    assert "camera:left:mask_owner" in state
    after = CameraTrackers()
    after.restore(state)
    for camera, ids in (("left", [2, 1, 5]), ("right", [4, 3, 6])):
        frame = make_frame(0.3, [[100, 40, 120, 60], [10, 40, 30, 60], [150, 10, 190, 90]],
                           [[0, 1, 0], [1, 0, 0], [0, 0, 1]], camera=camera)
        assert after.update(frame, TrackerSettings()).segments.track_id.tolist() == ids


def test_a_write_that_fails_leaves_the_last_file_as_it_was(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    file = tmp_path / "tracks.npz"
    write_state(file, state)
    before = file.read_bytes()
    with pytest.raises(ValueError, match="allow_pickle"):
        write_state(file, {**state, "zz": np.array([{}])})
    assert file.read_bytes() == before


def test_a_damaged_file_is_refused_wherever_it_is_cut_or_changed(state: dict[str, np.ndarray], tmp_path: Path) -> None:
    file = tmp_path / "tracks.npz"
    write_state(file, state)
    whole = file.read_bytes()
    for length in range(0, len(whole), len(whole) // 40):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match="tracks.npz holds no tracks"):
            read_state(file)
    value = whole.find(np.int64(0).tobytes(), whole.find(b"allocated.npy"))
    file.write_bytes(whole[:value] + b"\x07" + whole[value + 1:])
    with pytest.raises(InputError, match="CRC"):
        read_state(file)


@pytest.mark.parametrize("content", [b"", b"not a file of arrays", b"\x93NUMPY\x01\x00", b"\x80\x04K\x01."])
def test_a_foreign_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tracks.npz").write_bytes(content)
    with pytest.raises(InputError, match="tracks.npz holds no tracks"):
        read_state(tmp_path / "tracks.npz")


def test_a_single_array_and_a_folder_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(3))
    for file in (tmp_path / "one.npy", tmp_path):
        with pytest.raises(InputError, match="holds no tracks"):
            read_state(file)


@pytest.mark.parametrize(("name", "value", "says"), [
    ("camera:left:age", np.zeros(2, np.int32), "age is int32"),
    ("camera:left:box_state", np.zeros((1, 4), np.float64), "box_state is float64"),
    ("camera:left:embedding", np.zeros(1, np.float32), "embedding is float32"),
    ("camera:left:mask_track_row", np.full(400, 5), "masks"),
    ("camera:left:mask_x", np.zeros(3, np.float32), "masks"),
    ("camera:left:mask_box_state", np.zeros((2, 4), np.float32), "masks"),
    ("camera:left:stamp_ns", np.array("now"), "does not fit"),
    ("allocated", np.zeros(3), "does not fit"),
])
def test_a_state_whose_arrays_do_not_fit_is_refused_and_changes_nothing(
        state: dict[str, np.ndarray], name: str, value: np.ndarray, says: str) -> None:
    trackers = CameraTrackers()
    assert name in state
    with pytest.raises(InputError, match=says):
        trackers.restore({**state, name: value})
    assert trackers.born == 0
    assert list(trackers.state()) == ["allocated"]
