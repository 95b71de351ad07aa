"""What engines compile is kept on disk under all that it depends on, and is never needed."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from panoptic_ros.engines import build_engine, cache
from panoptic_ros.engines.cache import ENTRIES_KEPT, FOLDER_VARIABLE, EngineCache, cache_folder, network_hash
from panoptic_ros.model import load_model

KEY = {"engine": "warp", "version": "1", "shape": (1, 3, 64, 64)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_kept_comes_back_under_its_key_alone(folder: Path) -> None:
    EngineCache().store(KEY, b"plan")
    assert EngineCache().load(KEY) == b"plan"
    for other in ({"version": "2"}, {"shape": (2, 3, 64, 64)}, {"precision": "half"}):
        assert EngineCache().load(KEY | other) is None
    assert [file.suffix for file in folder.iterdir()] == [".plan"]
    EngineCache().discard(KEY)
    assert EngineCache().load(KEY) is None


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: b"", lambda whole: whole[:-1] + b"x"])
def test_a_damaged_entry_counts_as_not_there(folder: Path, damage: Any, caplog: pytest.LogCaptureFixture) -> None:
    EngineCache().store(KEY, b"plan")
    [file] = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert EngineCache().load(KEY) is None
    assert "damaged" in caplog.text
    EngineCache().store(KEY, b"plan")
    assert EngineCache().load(KEY) == b"plan"


def test_a_folder_that_cannot_be_written_or_is_full_is_told_once(folder: Path, caplog: pytest.LogCaptureFixture,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write_text("a file in the place of the folder")
    for number in range(2):
        EngineCache().store(KEY | {"version": number}, b"plan")
    assert caplog.text.count("are not kept in") == 1
    assert EngineCache().load(KEY) is None
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder.parent / "full"))

    def full(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.Path, "write_bytes", full)
    EngineCache().store(KEY, b"plan")
    assert "No space left on device" in caplog.text
    assert list((folder.parent / "full").iterdir()) == []


def test_the_oldest_entries_go(folder: Path) -> None:
    for number in range(ENTRIES_KEPT + 3):
        EngineCache().store(KEY | {"version": number}, b"plan")
    assert len(list(folder.iterdir())) == ENTRIES_KEPT
    assert EngineCache().load(KEY | {"version": ENTRIES_KEPT + 2}) is not None


def test_without_a_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "")
    assert cache_folder() is None
    EngineCache().store(KEY, b"plan")
    assert EngineCache().load(KEY) is None


def test_a_hash_tells_networks_with_other_weights_apart(model_folder: Path) -> None:
    first, second = load_model(model_folder).network, load_model(model_folder).network
    assert network_hash(first) == network_hash(second)
    with torch.no_grad():
        second.head.bias[0] += 1
    assert network_hash(first) != network_hash(second)


def test_openvino_compiles_once_and_gives_the_same_from_the_cache(model_folder: Path, folder: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    from panoptic_ros.engines.openvino_engine import OpenVinoEngine

    network, image = load_model(model_folder).network, torch.randn(1, 3, 64, 96)
    expected = build_engine(network, "openvino", "cpu", "single")(image)
    with monkeypatch.context() as patch:
        patch.setattr(OpenVinoEngine, "_convert", lambda *_: pytest.fail("converted once more"))
        found = build_engine(network, "openvino", "cpu", "single")(image)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    # Another shape is made from the network, which is converted only now.
    assert build_engine(network, "openvino", "cpu", "single")(image[:, :, :, :64])["seed"].shape == (1, 1, 16, 16)
    assert len(list(folder.iterdir())) == 3


def test_openvino_makes_anew_what_it_does_not_take(model_folder: Path, folder: Path,
                                                   caplog: pytest.LogCaptureFixture,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    network, image = load_model(model_folder).network, torch.zeros(1, 3, 64, 64)
    engine: Any = build_engine(network, "openvino", "cpu", "single")
    expected = engine(image)
    EngineCache().store({**engine._key, "shape": tuple(image.shape)}, b"a graph of another time")
    found = build_engine(network, "openvino", "cpu", "single")(image)
    assert "made anew" in caplog.text
    assert all(torch.equal(found[name], expected[name]) for name in expected)
