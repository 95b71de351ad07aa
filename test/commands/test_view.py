"""`panoptic-ros view` plays what a replay wrote to a browser, and ends with Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from panoptic_ros.cli import main

ROOT = Path(__file__).resolve().parents[2]
CPU = ("--engine", "torch", "--device", "cpu")


@pytest.fixture(scope="module")
def results(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a replay of two cameras wrote."""
    folder = tmp_path_factory.mktemp("view")
    for camera in ("left", "right"):
        (folder / "drive" / camera).mkdir(parents=True)
        for k in range(3):
            cv2.imwrite(str(folder / "drive" / camera / f"{k:04d}.png"), np.full((64, 128, 3), 60 * k + 20, np.uint8))
    assert main(["replay", str(folder / "drive"), "--topic", "left", "--topic", "right", "--model", str(model_folder),
                 "--out", str(folder / "out"), *CPU]) == 0
    return folder / "out"


def test_the_results_of_a_replay_are_played_until_the_user_ends_it(results: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen([sys.executable, "-m", "panoptic_ros.cli", "view", str(results), "--port", "0"],
                               env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    try:
        address = urlsplit(process.stdout.readline().split()[1])
        connection = HTTPConnection(address.netloc, timeout=60)
        connection.request("GET", "/events")
        response = connection.getresponse()
        seen: dict[str, dict[float, int]] = {}
        while not (len(seen) == 2 and all(len(stamps) == 3 and max(stamps.values()) > 1 for stamps in seen.values())):
            line = response.readline()
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                stamps = seen.setdefault(event["camera"], {})
                stamps[event["stamp"]] = stamps.get(event["stamp"], 0) + 1
                assert {"network", "decode"} <= event["latency_ms"].keys()
                assert event["segments"]
        assert seen.keys() == {"left", "right"}
        connection = HTTPConnection(address.netloc, timeout=60)
        connection.request("GET", "/pictures/left")
        response = connection.getresponse()
        head = [response.readline() for _ in range(4)]
        picture = response.read(int(head[2].split(b":")[1]))
        assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).shape == (64, 128, 3)
    finally:
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint


@pytest.mark.parametrize(("gone", "said"), [("result.mcap", "has no result.mcap"), ("overlay", "has no overlay.mp4")])
def test_a_folder_without_results_or_video_is_named(results: Path, tmp_path: Path, gone: str, said: str,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    for file in results.iterdir():
        if not file.name.startswith(gone):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    assert main(["view", str(tmp_path), "--port", "0"]) == 2
    assert said in capsys.readouterr().err


def test_a_speed_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", "out", "--rate", "0"]) == 2
    assert "--rate is 0" in capsys.readouterr().err


def test_a_node_is_not_seen_without_a_ros(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    missing: Callable[[str], None] = lambda name: None  # noqa: E731
    monkeypatch.setattr("panoptic_ros.commands.view.find_spec", missing)
    assert main(["view"]) == 2
    assert "missing: rclpy" in capsys.readouterr().err
