"""Where processes cannot share locks, one does the work."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from panoptic_ros.cli import main
from panoptic_ros.processes import usable_processes


@pytest.fixture
def no_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine whose /dev/shm is read-only, or that has none."""

    def refuse(self: Any, *_: Any, **__: Any) -> Any:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(multiprocessing.context.BaseContext, "Lock", refuse)
    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", refuse)


def test_so_many_processes_as_were_asked_for_where_they_can_be() -> None:
    assert usable_processes(3) == 3


def test_one_process_where_there_is_no_shared_memory(
        no_shared_memory: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert [usable_processes(count) for count in (0, 1, 4)] == [0, 1, 1]
    assert usable_processes(2, 0) == 0
    assert "/dev/shm cannot be used" in capsys.readouterr().err


def test_camvid_is_checked_and_a_city_rendered_without_shared_memory(no_shared_memory: None, tmp_path: Path) -> None:
    for k in range(40):
        for folder, pixels in (("val", np.zeros((2, 3, 3), np.uint8)), ("valannot", np.full((2, 3), 3, np.uint8))):
            (tmp_path / "camvid" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "camvid" / folder / f"0016E5_{k:05d}.png"), pixels)
    assert main(["dataset", "check", str(tmp_path / "camvid")]) == 0
    assert main(["city", "--frames", "2", "--size", "64x128", "--out", str(tmp_path / "city")]) == 0
    assert main(["score", str(tmp_path / "city"), str(tmp_path / "city"), "--workers", "2"]) == 0
