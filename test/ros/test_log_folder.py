"""The node starts where ROS could not write its logs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from panoptic_ros.ros.log_folder import have_log_folder


@pytest.mark.parametrize("place", ["HOME", "ROS_HOME", "ROS_LOG_DIR"])
def test_a_place_that_cannot_be_written_is_replaced_by_a_temporary_folder(
        monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str) -> None:
    for name in ("ROS_HOME", "ROS_LOG_DIR"):
        monkeypatch.setenv(name, "")  # so that it is as before when the test ends
        monkeypatch.delenv(name)
    monkeypatch.setenv(place, "/proc/nothing/here")
    have_log_folder()
    assert os.access(os.environ["ROS_LOG_DIR"], os.W_OK)
    assert "cannot be written; ROS logs to" in capsys.readouterr().err


def test_a_place_that_can_be_written_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    have_log_folder()
    assert os.environ["ROS_LOG_DIR"] == str(tmp_path / "log")
