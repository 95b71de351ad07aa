"""`panoptic-ros fetch` makes a model folder of what transformers saves, and refuses what is none."""

from __future__ import annotations

import json
import runpy
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from panoptic_ros import Perception
from panoptic_ros.cli import main
from panoptic_ros.model import load_model

transformers = pytest.importorskip("transformers")

CONFIGS = runpy.run_path(str(Path(__file__).parents[1] / "universal_configs.py"))["CONFIGS"]
LABELS = ("road", "sky", "car", "person", "hovercraft")
Printed = pytest.CaptureFixture[str]
MakeSource = Callable[..., Path]


@pytest.fixture
def make_source(tmp_path: Path) -> MakeSource:
    """`make_source(architecture, name="tiny-panoptic", labels=LABELS)`: a folder as the library's own save it."""

    def make(architecture: str, name: str = "tiny-panoptic", labels: tuple[str, ...] = LABELS) -> Path:
        folder = tmp_path / name
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(
            architecture, id2label=dict(enumerate(labels)), label2id={n: k for k, n in enumerate(labels)},
            **CONFIGS[architecture])
        transformers.AutoModelForUniversalSegmentation.from_config(config).save_pretrained(folder)
        if architecture == "oneformer":
            from tokenizers import Tokenizer, models, pre_tokenizers

            words = {word: k for k, word in enumerate(("<pad>", "<unk>", "the", "task", "is", "panoptic"))}
            tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
            tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
            transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>",
                                                 unk_token="<unk>").save_pretrained(folder)
            (folder / "preprocessor_config.json").write_text(json.dumps(
                {"size": {"shortest_edge": 64, "longest_edge": 128}, "image_mean": [0.4, 0.5, 0.6],
                 "image_std": [0.2, 0.2, 0.3], "do_normalize": True, "metadata": {"thing_ids": [4]}}))
        else:
            kind = {"mask2former": "Mask2FormerImageProcessor", "eomt": "EomtImageProcessor"}[architecture]
            getattr(transformers, kind)(size={"shortest_edge": 64, "longest_edge": 128}, image_mean=[0.4, 0.5, 0.6],
                                        image_std=[0.2, 0.2, 0.3]).save_pretrained(folder)
        (folder / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
        return folder

    return make


@pytest.mark.parametrize("architecture", sorted(CONFIGS))
def test_what_the_library_saved_becomes_a_model_that_runs(architecture: str, make_source: MakeSource, tmp_path: Path,
                                                          capsys: Printed) -> None:
    source, out = make_source(architecture), tmp_path / "out"
    assert main(["fetch", str(source), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "licence of the weights: mit" in printed.err
    model = load_model(out)
    assert model.method == "universal"
    assert (model.input_size, model.mean, model.std) == ((64, 128), (0.4, 0.5, 0.6), (0.2, 0.2, 0.3))
    assert model.classes.names == LABELS
    assert model.classes.is_thing == (False, False, True, True, architecture == "oneformer")
    assert model.classes.colors[2] == (0, 0, 142)  # of a car in cityscapes' table
    assert ("hovercraft" in printed.err) == (architecture != "oneformer")
    assert model.thresholds.rule == architecture
    assert model.training["source"]["licence"] == "mit"
    assert len(model.training["source"]["weights_sha256"]) == 64
    if architecture == "oneformer":
        assert model.hyperparameters.task_tokens == (2, 3, 4, 5, 0, 0, 0)
    library = transformers.AutoModelForUniversalSegmentation.from_pretrained(source).eval()
    image = torch.randn(1, 3, 64, 64)
    keywords = {"task_inputs": torch.tensor([[2, 3, 4, 5, 0, 0, 0]])} if architecture == "oneformer" else {}
    with torch.no_grad():
        ours, theirs = model.network(image), library(pixel_values=image, **keywords)
    # Ours are stored in half precision.
    assert (ours["class_logits"] - theirs.class_queries_logits).abs().median() < 0.02
    frame = Perception(model, "torch", "cpu")(np.zeros((60, 90, 3), np.uint8))
    assert frame.segment_map.shape == (60, 90)


def test_things_that_no_table_knows_can_be_named_and_the_input_size_given(make_source: MakeSource,
                                                                          tmp_path: Path) -> None:
    source, out = make_source("eomt"), tmp_path / "out"
    assert main(["fetch", str(source), "--out", str(out), "--thing", "hovercraft", "--input-size", "96x64"]) == 0
    model = load_model(out)
    assert model.classes.is_thing == (False, False, True, True, True)
    assert model.input_size == (96, 64)
    assert main(["fetch", str(source), "--out", str(out)]) == 2  # it is there


def fault(folder: Path, kind: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    weights = folder / "model.safetensors"
    if kind == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif kind == "no weights":
        weights.unlink()
    elif kind == "damaged":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif kind == "another network":
        (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 5}))
    elif kind == "another type":
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "segformer"}))
    elif kind == "no processor":
        (folder / "preprocessor_config.json").unlink()
    elif kind == "no config":
        (folder / "config.json").unlink()


@pytest.mark.parametrize(("name", "labels", "kind", "text"), [
    ("tiny-panoptic", LABELS, "pickle", "pytorch_model.bin alone, a pickle"),
    ("tiny-panoptic", LABELS, "no weights", "has no weights"),
    ("tiny-panoptic", LABELS, "damaged", "cannot be loaded"),
    ("tiny-panoptic", LABELS, "another network", "lacks"),
    ("tiny-panoptic", LABELS, "another type", "a model of the type 'segformer'"),
    ("tiny-panoptic", LABELS, "no processor", "has no preprocessor_config.json"),
    ("tiny-panoptic", LABELS, "no config", "has no config.json"),
    ("tiny-semantic", LABELS, "", "it is not panoptic"),
    ("tiny_instance_segmentation", LABELS, "", "it is not panoptic"),
    ("tiny", ("road", "sky"), "", "none of the classes of tiny is known to be a thing"),
    ("tiny", ("car", "person"), "", "all classes of tiny are things"),
])
def test_what_cannot_be_taken_is_refused_with_the_reason(name: str, labels: tuple[str, ...], kind: str, text: str,
                                                         make_source: MakeSource, tmp_path: Path,
                                                         capsys: Printed) -> None:
    source = make_source("eomt", name, labels)
    fault(source, kind)
    assert main(["fetch", str(source), "--out", str(tmp_path / "out")]) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_connection_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Printed) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    assert main(["fetch", "nobody/nothing", "--out", str(tmp_path / "out")]) == 2
    assert "huggingface.co cannot be reached: no route to host" in capsys.readouterr().err


def connected() -> bool:
    try:
        socket.create_connection(("huggingface.co", 443), timeout=3).close()
    except OSError:
        return False
    return True


@pytest.mark.timeout(900)
def test_real_weights_find_things_and_stuff_in_a_real_picture(tmp_path: Path) -> None:
    if not connected():
        pytest.skip("no connection to huggingface.co")
    name, out = "facebook/mask2former-swin-tiny-cityscapes-panoptic", tmp_path / "real"
    assert main(["fetch", name, "--out", str(out)]) == 0
    model = load_model(out)
    assert len(model.classes) == 19
    assert sum(model.classes.is_thing) == 8
    assert len(model.training["source"]["revision"]) == 40
    picture = Path(__file__).parents[1] / "model/fixed_frames/frame_0.jpg"
    import cv2

    frame = Perception(model, "torch", "cpu")(np.ascontiguousarray(cv2.imread(str(picture))[..., ::-1]))
    assert {segment.class_name for segment in frame} >= {"road"}
