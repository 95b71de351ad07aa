"""The Python of the README and of docs/python.md works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from panoptic_ros.synthetic_city import CityCamera, CityDrive

README = Path(__file__).parents[2] / "README.md"
PAGE = README.parent / "docs" / "python.md"


@pytest.fixture(scope="module")
def street() -> list[np.ndarray]:
    """Consecutive images of a drive; the first is the one whose overlay the page shows."""
    drive = CityDrive(3, CityCamera.of_size(512, 1024))
    return [drive.render(k).image for k in (40, 41)]


def test_the_page_from_python_does_what_it_says(
        street: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    first, segments, following = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) == [first]
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("street.png", street[0][..., ::-1])
    names: dict[str, Any] = {}
    exec(compile(first, "docs/python.md", "exec"), names)
    picture, shown = (cv2.imread(str(file)) for file in ("from_python.jpg", PAGE.with_name("from_python.jpg")))
    assert picture is not None
    assert shown is not None
    assert picture.shape == shown.shape == (512, 1024, 3)
    # Another machine rounds otherwise, and a segment more or less changes few pixels.
    assert np.mean(np.abs(picture.astype(int) - shown) > 30) < 0.05

    capsys.readouterr()
    exec(compile(segments, "docs/python.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(names["frame"]) > 5
    assert re.fullmatch(r"[a-z ]+, \d+%, \d+ pixels within \(\d+, \d+, \d+, \d+\)", lines[0])
    assert any(line.startswith("car, ") for line in lines)
    assert not names["frame"].segments.track_id.any()

    names["images"] = street
    exec(compile(following, "docs/python.md", "exec"), names)
    ids = [set(map(int, re.findall(r"\d+", line))) - {0} for line in capsys.readouterr().out.splitlines()]
    assert len(ids) == 2
    assert len(ids[0] & ids[1]) > len(ids[0]) / 2
    left, right = (set(names[camera].segments.track_id.tolist()) - {0} for camera in ("left", "right"))
    assert left
    assert right
    assert not left & right
