"""`panoptic-ros build`: an engine made ready ahead of time."""

from __future__ import annotations

from pathlib import Path

import pytest

from panoptic_ros.cli import main
from panoptic_ros.engines.cache import FOLDER_VARIABLE


def test_what_was_built_is_kept_for_the_size_that_was_asked_for(model_folder: Path, tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str],
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert main(["build", "--model", str(model_folder), "--engine", "openvino", "--device", "cpu", "--size", "100",
                 "100", "--cameras", "2"]) == 0
    said = capsys.readouterr().out
    assert "2 x 3 x 96 x 96" in said
    assert str(tmp_path) in said
    assert len(list(tmp_path.glob("openvino-*"))) == 2


@pytest.mark.parametrize("arguments", [["--size", "0", "5"], ["--cameras", "0"]])
def test_an_impossible_size_is_an_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", *arguments]) == 2
    assert "at least 1" in capsys.readouterr().err


def test_an_engine_that_cannot_run_here_is_an_error(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--model", str(model_folder), "--engine", "tensorrt", "--device", "cpu"]) == 2
    assert "tensorrt" in capsys.readouterr().err
