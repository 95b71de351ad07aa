"""Names of cameras are unique, fit for topics, and always the same."""

from __future__ import annotations

import pytest

from panoptic_ros.bags.recording import camera_names


@pytest.mark.parametrize(("wanted", "names", "renamed"), [
    (["left", "right"], ["left", "right"], []),
    (["cam-1", "cam_1"], ["cam_1_2", "cam_1"], ["cam_1_2"]),
    (["cam 1", "cam-1", "cam.1"], ["cam_1", "cam_1_2", "cam_1_3"], ["cam_1_2", "cam_1_3"]),
    (["a-1", "a.1", "a_1_2"], ["a_1", "a_1_3", "a_1_2"], ["a_1_3"]),
    (["2", "-", "größe"], ["camera_2", "camera__", "gr__e"], []),
])
def test_no_two_cameras_have_one_name(wanted: list[str], names: list[str], renamed: list[str]) -> None:
    found, notices = camera_names({f"/{name}": name for name in wanted})
    assert list(found) == [f"/{name}" for name in wanted]
    assert list(found.values()) == names
    assert [notice.split(" is called ")[1].split(",")[0] for notice in notices] == renamed
