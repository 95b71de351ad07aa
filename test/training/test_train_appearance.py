"""An appearance head, trained on clips of the city, written into a model folder and used from there."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from panoptic_ros.errors import InputError
from panoptic_ros.model import APPEARANCE, WEIGHTS, load_model, save_appearance_head
from panoptic_ros.networks.appearance_head import AppearanceHead
from panoptic_ros.perception import Perception
from training import train_appearance
from training.train_appearance import Views, main, top1, train_head

DATA = ["--data", "city:1000000-1000001x3/4@64x128", "--validation", "city:500x4/2@64x128", "--workers", "0"]


def views(features: torch.Tensor, object_id: list[int], stamp: list[int], class_id: list[int] | None = None) -> Views:
    count = len(features)
    return Views(features, features, torch.zeros(count, dtype=torch.long), torch.tensor(stamp) * 10**9,
                 torch.tensor(object_id), torch.tensor(class_id or [0] * count), torch.zeros(count, dtype=torch.bool))


@pytest.fixture
def model(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "tiny"))


def test_a_head_is_trained_where_it_is_better_and_then_it_is_the_models(
        model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = load_model(model)
    scores = {"pooled": {"0.2": 0.5}, "appearance": {"0.2": 0.6}}
    monkeypatch.setattr(train_appearance, "compare", lambda head, views: scores)
    assert main(["--model", str(model), "--steps", "20", *DATA]) == 0
    assert "60.0" in capsys.readouterr().out
    after = load_model(model)
    assert before.appearance is None
    assert after.appearance is not None
    assert after.embedding_kind == "appearance"
    assert after.model_id != before.model_id  # vectors of the two cannot be compared
    frame = Perception(after, "torch", "cpu")(np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8))
    assert frame.segments.embedding is not None
    assert frame.segments.embedding.shape == (len(frame), 32)
    scores["appearance"]["0.2"] = 0.5
    written = (model / APPEARANCE).read_bytes()
    assert main(["--model", str(model), "--steps", "2", *DATA]) == 1
    assert "not written" in capsys.readouterr().out
    assert (model / APPEARANCE).read_bytes() == written


def test_training_tells_objects_apart_whose_features_are_drowned_by_what_changes() -> None:
    torch.manual_seed(0)
    objects = torch.randn(40, 4)
    parts = [torch.cat([objects, 6 * torch.randn(40, 4)], 1) for _ in range(8)]
    train = views(torch.cat(parts), [k + 1 for k in range(40)] * 8, [s for s in range(8) for _ in range(40)])
    head = train_head(train, 300)
    new = torch.randn(40, 4)
    scored = views(torch.cat([torch.cat([new, 6 * torch.randn(40, 4)], 1) for _ in range(2)]),
                   [k + 1 for k in range(40)] * 2, [0] * 40 + [1] * 40)
    with torch.inference_mode():
        before, after = (top1(vectors, scored, 10**9)[0] for vectors in (scored.features, head(scored.features)))
    assert before < 0.2
    assert after > 0.5


def test_top1_asks_for_objects_beside_others_of_their_class_that_are_there_again() -> None:
    seen = torch.eye(6)[[0, 1, 2, 3, 0, 1, 4, 3]]
    # Object 3 is gone in the second image, 5 is new, 4 is the only one of its class.
    asked = views(seen, [1, 2, 3, 4, 1, 2, 5, 4], [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0, 1])
    assert top1(seen, asked, 10**9) == (1.0, 2)
    swapped = seen[[0, 1, 2, 3, 1, 0, 6, 7]]
    assert top1(swapped, asked, 10**9) == (0.0, 2)
    assert top1(seen, asked, 3 * 10**9)[1] == 0


def test_a_head_of_other_weights_is_left_out_with_a_warning(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_appearance_head(AppearanceHead(12), model)
    state = load_file(model / WEIGHTS)
    state["head.bias"] += 1
    save_file(state, model / WEIGHTS)
    with caplog.at_level(logging.WARNING):
        assert load_model(model).appearance is None
    assert "other weights" in caplog.text


def test_a_damaged_head_is_named(model: Path) -> None:
    (model / APPEARANCE).write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match="appearance.safetensors is no appearance head"):
        load_model(model)


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--steps", "1"], "at least 2"), (["--data", "city:1000x1@64x128", "--validation", "nowhere"], "nowhere"),
    (["--model", "nowhere"], "nowhere")])
def test_what_cannot_be_trained_is_said(model: Path, arguments: list[str], reason: str,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", str(model), "--steps", "2", *DATA, *arguments]) == 2
    assert reason in capsys.readouterr().err
