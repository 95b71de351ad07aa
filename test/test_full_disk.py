"""A disk that is full: the reason is told, files are whole or not there, and what was there before is untouched."""

from __future__ import annotations

import functools
import json
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from panoptic_ros.atomic_write import write_all_atomically, write_atomically
from panoptic_ros.cli import main
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.results import write_result
from panoptic_ros.image_files import write_image
from panoptic_ros.model import load_model, save_model
from panoptic_ros.tracking.state_file import read_state, write_state

KIB = 1024


@pytest.fixture(params=["disk", "limit"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Path, int], None]]:
    """`full(folder, size)`: no file in the folder can be larger than so many bytes.

    disk: a file system of that size is mounted there, where that is allowed. limit: of the size of files (setrlimit).
    """
    mounted: list[Path] = []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def make(folder: Path, size: int) -> None:
        if request.param == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
            return
        folder.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
                              capture_output=True, check=False)
        if done.returncode:
            pytest.skip("needs the right to mount a file system")
        mounted.append(folder)

    test = request.node.obj

    @functools.wraps(test)
    def without_limit_afterwards(**arguments: Any) -> None:
        # Not in the fixture's end alone: before it pytest writes its report, perhaps into a file larger than the limit.
        try:
            test(**arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    request.node.obj = without_limit_afterwards
    yield make
    signal.signal(signal.SIGXFSZ, handler)
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def files(folder: Path) -> dict[str, bytes]:
    """Each file below a folder, with its content."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Images that cannot be compressed."""
    folder = tmp_path / "noise"
    folder.mkdir()
    for k in range(8):
        pixels = np.random.default_rng(k).integers(0, 255, (128, 256, 3), np.uint8)
        (folder / f"{k}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return folder


def test_a_file_that_cannot_be_written_is_what_it_was_before(full: Callable[[Path, int], None], tmp_path: Path) -> None:
    place = tmp_path / "full"
    place.mkdir()
    full(place, 64 * KIB)
    write_atomically(place / "a", "before")
    with pytest.raises(InputError, match=f"{place}/a cannot be written"):
        write_atomically(place / "a", os.urandom(100 * KIB))
    with pytest.raises(InputError, match=f"{place}/b cannot be written"):
        write_all_atomically([(place / "a", "after"), (place / "b", os.urandom(100 * KIB))])
    with pytest.raises(InputError, match="c.png cannot be written"):
        write_image(place / "c.png", np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8))
    assert files(place) == {"a": b"before"}


def test_a_model_and_results_and_tracks_of_before_are_whole(
        full: Callable[[Path, int], None], tmp_path: Path, model_folder: Path) -> None:
    model = load_model(model_folder)
    place = tmp_path / "full"
    place.mkdir()
    size = sum(len(content) for content in files(model_folder).values())
    full(place, size // 2)
    with pytest.raises(InputError, match="weights.safetensors cannot be written"):
        save_model(model, place / "model")
    write_result(place / "evaluation.json", {"miou": 0.5})
    write_state(place / "tracks.npz", {"ids": np.arange(3)})
    with pytest.raises(InputError, match="evaluation.json cannot be written"):
        write_result(place / "evaluation.json", {"notes": "x" * size})
    with pytest.raises(InputError, match="tracks.npz cannot be written"):
        write_state(place / "tracks.npz", {"ids": np.arange(size)})
    assert json.loads((place / "evaluation.json").read_text()) == {"miou": 0.5}
    assert read_state(place / "tracks.npz")["ids"].tolist() == [0, 1, 2]
    assert sorted(files(place)) == ["evaluation.json", "tracks.npz"]


def test_a_training_says_so_and_keeps_its_checkpoint(full: Callable[[Path, int], None], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra `training`")
    from training.checkpoints import load_checkpoint, save_checkpoint
    from training.monitor import Monitor

    place = tmp_path / "full"
    place.mkdir()
    full(place, 64 * KIB)
    save_checkpoint(place / "checkpoint.pt", {"step": 7})
    with pytest.raises(InputError, match="the checkpoint before is whole"):
        save_checkpoint(place / "checkpoint.pt", {"step": 8, "weights": torch.rand(100_000)})
    assert load_checkpoint(place / "checkpoint.pt", torch.device("cpu")) == {"step": 7}
    monitor = Monitor(place, 0, 10_000)

    def train() -> None:
        for step in range(10_000):
            monitor.step(step, {"total": 0.5}, 0.1, 0.2)

    with pytest.raises(InputError, match="goes on from its last checkpoint"):
        train()
    monitor.close()
    assert load_checkpoint(place / "checkpoint.pt", torch.device("cpu")) == {"step": 7}


@pytest.mark.parametrize("command", [
    "replay", "replay without overlay", "bag", "bag file", "city", "city bag", "label"])
def test_a_command_says_so_and_leaves_no_file_that_is_not_whole(
        full: Callable[[Path, int], None], tmp_path: Path, model_folder: Path, noise: Path, command: str,
        capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panoptic_ros.commands.city.usable_processes", lambda _: 1)
    place = tmp_path / "full"
    place.mkdir()
    out, model = str(place / "out"), ["--model", str(model_folder), "--engine", "torch"]
    arguments, size = {
        "replay": (["replay", str(noise), "--out", out, *model], 20 * KIB),
        "replay without overlay": (["replay", str(noise), "--out", out, "--no-overlay", *model], 8 * KIB),
        "bag": (["bag", str(noise), "--out", out], 256 * KIB),
        "bag file": (["bag", str(noise), "--out", f"{out}.mcap"], 256 * KIB),
        "city": (["city", "--out", out, "--frames", "4", "--size", "64x128"], 8 * KIB),
        "city bag": (["city", "--bag", "--out", out, "--frames", "4", "--size", "64x128"], 16 * KIB),
        "label": (["label", str(noise), "--out", out, *model], 4 * KIB),
    }[command]
    full(place, size)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error or "File too large" in error
    # Labels that were begun are gone on with by the same command; these files are whole.
    assert [name for name in files(place) if not name.startswith("out/predictions/")] == []
    assert not [name for name in files(place) if "partial" in name]
