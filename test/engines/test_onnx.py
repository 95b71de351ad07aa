"""ONNX graphs and the ONNX Runtime engine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from panoptic_ros.engines import build_engine, explain_choice
from panoptic_ros.engines.onnx_graph import export_onnx
from panoptic_ros.errors import InputError
from panoptic_ros.methods.all_scales import Hyperparameters, Network
from panoptic_ros.model import load_model
from training.export import main as export

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")


def test_the_engine_gives_what_torch_gives_for_every_shape_and_half_precision_is_close(model_folder: Path) -> None:
    network = load_model(model_folder).network
    engine = build_engine(network, "onnxruntime", "cpu")
    assert (engine.name, engine.device.type, engine.precision) == ("onnxruntime", "cpu", "single")
    for shape in ((1, 3, 64, 128), (2, 3, 96, 64)):
        image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        reference = build_engine(network, "torch", "cpu", "single")(image)
        outputs = engine(image)
        assert outputs.keys() == reference.keys()
        for name, value in reference.items():
            torch.testing.assert_close(outputs[name], value, atol=1e-3, rtol=1e-3)
    half = build_engine(network, "onnxruntime", "cpu", "half")(image)
    assert (half["embedding"] * reference["embedding"]).sum(1).mean() > 0.99


def test_a_graph_with_a_dynamic_batch_takes_any_number_of_images(model_folder: Path) -> None:
    network = load_model(model_folder).network
    session = onnxruntime.InferenceSession(export_onnx(network, (1, 3, 64, 64), dynamic_batch=True))
    for batch in (1, 3):
        image = torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected = network(image)["embedding"]
        torch.testing.assert_close(torch.from_numpy(session.run(["embedding"], {"image": image.numpy()})[0]), expected,
                                   atol=1e-3, rtol=1e-3)


def test_half_precision_is_typed_in_the_graph_and_stays_inside(model_folder: Path) -> None:
    graph = onnx.load_from_string(export_onnx(load_model(model_folder).network, (1, 3, 64, 64), half=True)).graph
    kinds = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert {x.type.tensor_type.elem_type for x in (*graph.input, *graph.output)} == {onnx.TensorProto.FLOAT}


def test_what_cannot_be_exported_is_an_error() -> None:
    network = Network(Hyperparameters("test_efficientnet", False, 8, 8, atrous_rates=(1,), semantic_channels=8,
                                      mask_convolutions=1, proposals=4, detections=2), [False, True]).eval()
    with pytest.raises(InputError, match="dynamic batch"):
        export_onnx(network, (1, 3, 64, 64), dynamic_batch=True)


def test_a_cuda_device_without_its_provider_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("panoptic_ros.engines._onnx_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match="onnxruntime-gpu"):
        explain_choice("onnxruntime", "cuda")
    assert explain_choice("onnxruntime").device == "cpu"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panoptic_ros.engines.find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(InputError, match="onnxscript"):
        explain_choice("onnxruntime")


def test_the_command_writes_a_file_that_it_has_checked(model_folder: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model.onnx"
    assert export(["--model", str(model_folder), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "embedding 1 x 12 x 16 x 32: differs from torch by" in text
    assert onnx.load(str(out)).graph.input[0].type.tensor_type.shape.dim[3].dim_value == 128


@pytest.mark.parametrize("arguments", [["--size", "60", "64"], ["--batch", "0"]])
def test_an_impossible_input_is_an_error(model_folder: Path, arguments: list[str],
                                         capsys: pytest.CaptureFixture[str]) -> None:
    assert export(["--model", str(model_folder), *arguments]) == 2
    assert "multiples of the network's stride, 32" in capsys.readouterr().err
