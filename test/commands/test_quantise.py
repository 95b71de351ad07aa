"""`panoptic-ros quantise` and the engine that runs what it writes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from panoptic_ros import Perception
from panoptic_ros.cli import main
from panoptic_ros.engines import build_engine, explain_choice
from panoptic_ros.engines.openvino_core import signal_stack
from panoptic_ros.engines.quantised_graph import DESCRIPTION, GRAPH, quantise
from panoptic_ros.errors import InputError
from panoptic_ros.model import load_model
from panoptic_ros.paths import model_folder as shipped_model

pytest.importorskip("nncf")
pytest.importorskip("openvino")
DATA = "city:500x3/20@64x128"


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shipped model, for small images, quantised by the command."""
    folder = tmp_path_factory.mktemp("quantised") / "small"
    shutil.copytree(shipped_model("city"), folder)
    text = yaml.safe_load((folder / "model.yaml").read_text())
    (folder / "model.yaml").write_text(yaml.safe_dump({**text, "input_size": [64, 128]}))
    assert main(["quantise", "--model", str(folder), "--data", DATA, "--images", "2", "--validation-images", "1",
                 "--max-drop", "100"]) == 0
    return folder


@pytest.fixture
def copy(quantised: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(quantised, tmp_path / "copy"))


def test_the_description_says_what_was_lost_and_on_what(quantised: Path) -> None:
    description = yaml.safe_load((quantised / DESCRIPTION).read_text())
    assert (description["images"], description["validation_images"], description["quality"]) == (2, 1, "PQ")
    assert 0 <= description["after"] <= 1
    assert description["data"]
    assert (quantised / GRAPH).stat().st_size > 0


def test_auto_takes_the_int8_graph_and_it_is_close_to_the_network(quantised: Path) -> None:
    perception = Perception(quantised)
    assert perception.engine.precision == "int8"
    network = perception.model.network
    for shape in ((1, 3, 64, 128), (2, 3, 96, 64)):
        image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        outputs, exact = perception.engine(image), build_engine(network, "openvino", precision="single")(image)
        assert outputs.keys() == exact.keys()
        assert (outputs["embedding"] * exact["embedding"]).sum(1).mean() > 0.8
    assert len(perception(np.zeros((64, 128, 3), np.uint8))) >= 0


def test_an_explicit_precision_is_taken_all_the_same(quantised: Path) -> None:
    assert Perception(quantised, "openvino", precision="single").engine.precision == "single"
    assert Perception(quantised, "torch").engine.name == "torch"


def test_a_graph_of_other_weights_is_left_out_with_a_warning(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = yaml.safe_load((copy / DESCRIPTION).read_text())
    (copy / DESCRIPTION).write_text(yaml.safe_dump({**text, "weights": "0" * 64}))
    with caplog.at_level(logging.WARNING):
        assert load_model(copy).int8 is None
    assert "other weights" in caplog.text


def test_a_graph_without_its_description_is_left_out_with_a_warning(copy: Path,
                                                                    caplog: pytest.LogCaptureFixture) -> None:
    (copy / DESCRIPTION).unlink()
    with caplog.at_level(logging.WARNING):
        assert load_model(copy).int8 is None
    assert "panoptic-ros quantise" in caplog.text


def test_a_damaged_graph_falls_back_with_a_warning_and_is_an_error_where_it_was_asked_for(
        copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    (copy / GRAPH).write_text("<net>")
    with caplog.at_level(logging.WARNING):
        assert Perception(copy, device="cpu").engine.precision in ("single", "half")
    assert "cannot be used" in caplog.text
    with pytest.raises(InputError, match="could not be built"):
        Perception(copy, precision="int8")


def test_int8_without_a_graph_or_on_another_engine_is_refused(model_folder: Path) -> None:
    with pytest.raises(InputError, match="panoptic-ros quantise"):
        Perception(model_folder, precision="int8")
    with pytest.raises(InputError, match="openvino"):
        explain_choice("torch", precision="int8", has_int8=True)


@pytest.mark.parametrize(("changes", "reason"), [
    (["--images", "0"], "at least 1"), (["--data", "city:500x1/20@64x128"], "at least two"),
    (["--model", "nowhere"], "nowhere")])
def test_what_cannot_be_quantised_is_said(model_folder: Path, changes: list[str], reason: str,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quantise", "--model", str(model_folder), "--data", DATA, *changes]) == 2
    assert reason in capsys.readouterr().err
    assert not (model_folder / GRAPH).exists()


class ThreeLayers(nn.Module):
    """As much of a network as an engine needs; its last layer is hard to quantise."""

    stride, dynamic_size = 32, True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1))
        with torch.no_grad():
            self.layers[-1].weight[:, :1].mul_(100)  # type: ignore[index, operator]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"output": self.layers(image)}


def test_layers_go_back_to_floating_point_where_the_score_falls() -> None:
    engine: Any = build_engine(ThreeLayers(), "openvino", precision="single")
    image = torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    exact, graph = engine(image)["output"].numpy(), engine.graph((1, 3, 64, 128))

    def likeness(compiled: Callable[..., Any]) -> float:
        return 1 - float(np.square(compiled([image.numpy()])[0] - exact).mean())

    stack = signal_stack()
    _, plain = quantise(graph.clone(), [image.numpy()], likeness, 1e3)
    assert not plain["with_accuracy_control"]
    allowed = (plain["score_before"] - plain["score_after"]) / 2
    assert allowed > 0
    _, careful = quantise(graph.clone(), [image.numpy()], likeness, allowed)
    assert careful["with_accuracy_control"]
    assert careful["score_after"] >= careful["score_before"] - allowed
    assert signal_stack() == stack  # that of a Core of NNCF's, which is gone, would end the process at a Ctrl-C


def test_a_model_that_finds_nothing_cannot_be_judged() -> None:
    engine: Any = build_engine(ThreeLayers(), "openvino", precision="single")
    with pytest.raises(InputError, match="finds nothing"):
        quantise(engine.graph((1, 3, 64, 128)).clone(), [np.zeros((1, 3, 64, 128), np.float32)], lambda _: 0.0, 1.0)
