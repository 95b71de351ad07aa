"""Engines give the same outputs, and the choice of one is explained."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from panoptic_ros.engines import ENGINES, build_engine, engine_report, explain_choice
from panoptic_ros.engines.openvino_core import signal_stack
from panoptic_ros.engines.torch_engine import TorchEngine
from panoptic_ros.errors import InputError
from panoptic_ros.model import load_model


@pytest.mark.parametrize("shape", [(1, 3, 64, 128), (2, 3, 96, 64)])
def test_openvino_agrees_with_torch(model_folder: Path, shape: tuple[int, ...]) -> None:
    pytest.importorskip("openvino")
    network = load_model(model_folder).network
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    reference = build_engine(network, "torch", "cpu", "single")(image)
    outputs = build_engine(network, "openvino", precision="single")(image)
    assert outputs.keys() == reference.keys()
    for name in reference:
        torch.testing.assert_close(outputs[name], reference[name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_half_precision_stays_close_to_single(model_folder: Path, engine: str) -> None:
    pytest.importorskip("openvino")
    network = load_model(model_folder).network
    image = torch.randn(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    single = build_engine(network, engine, "cpu", "single")(image)
    half = build_engine(network, engine, "cpu", "half")
    assert half.precision == "half"
    cosine = (half(image)["embedding"] * single["embedding"]).sum(1)
    assert cosine.mean() > 0.95
    assert all(output.dtype == torch.float32 for output in half(image).values())


def test_engines_that_come_and_go_leave_the_signal_stack_alone(model_folder: Path) -> None:
    network = load_model(model_folder).network
    engines = [build_engine(network, "openvino", "cpu", "single")]
    stack = signal_stack()
    engines.append(build_engine(network, "openvino", "cpu", "single"))
    for engine in engines:
        engine(torch.zeros(1, 3, 32, 64))
    while engines:  # the first that came goes first
        del engines[0]
        gc.collect()
    del engine
    gc.collect()
    assert signal_stack() == stack


def test_openvino_outputs_outlive_the_next_call(model_folder: Path) -> None:
    pytest.importorskip("openvino")
    engine = build_engine(load_model(model_folder).network, "openvino")
    first = engine(torch.zeros(1, 3, 64, 64))
    before = first["embedding"].clone()
    engine(torch.ones(1, 3, 64, 64))
    assert torch.equal(first["embedding"], before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(model_folder: Path) -> None:
    network = load_model(model_folder).network
    image = torch.randn(1, 3, 64, 128)
    reference = build_engine(network, "torch", "cpu", "single")(image)
    for name, output in build_engine(load_model(model_folder).network, "torch", "cuda", "single")(image).items():
        torch.testing.assert_close(output.cpu(), reference[name], atol=1e-3, rtol=1e-3)


def test_auto_prefers_what_is_faster_on_this_machine() -> None:
    choice = explain_choice()
    expected = ("torch", "cuda") if torch.cuda.is_available() else ("openvino", "cpu")
    assert (choice.engine, choice.device) == expected
    assert choice.precision in ("single", "half")
    assert choice.reason


def test_what_is_asked_for_is_taken() -> None:
    assert explain_choice("torch", "cpu", "single")[:3] == ("torch", "cpu", "single")
    assert explain_choice("torch", "cpu")[:3] == ("torch", "cpu", "single")
    assert explain_choice("auto", "cpu", "half")[:3] == ("openvino", "cpu", "half")


@pytest.mark.parametrize(("choice", "reason"), [
    (("warp", "auto", "auto"), "engine 'warp' is not known"),
    (("auto", "tpu", "auto"), "device 'tpu' is not known"),
    (("auto", "auto", "quarter"), "precision 'quarter' is not known"),
    (("openvino", "cuda:99", "auto"), "CUDA device"),
])
def test_an_impossible_choice_is_refused_with_the_reason(choice: tuple[str, str, str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        explain_choice(*choice)


def test_the_report_says_of_every_engine_why_it_is_taken_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    report = engine_report()
    assert set(report) == set(ENGINES)
    assert [name for name, why in report.items() if why.startswith("chosen")] == [explain_choice().engine]
    assert all(len(why) > 30 for why in report.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["single", "half"])
def test_a_cuda_graph_gives_what_the_kernels_give_for_each_shape(model_folder: Path, precision: str) -> None:
    network = load_model(model_folder).network
    captured = TorchEngine(network, torch.device("cuda"), precision)
    plain = TorchEngine(network, torch.device("cuda"), precision, with_graphs=False)
    for shape in ((1, 3, 64, 128), (2, 3, 96, 64), (1, 3, 64, 128)):
        image = torch.randn(shape, device="cuda")
        first, expected = captured(image), plain(image)
        captured(torch.zeros_like(image))
        for name, value in expected.items():
            torch.testing.assert_close(first[name], value, atol=2e-2, rtol=2e-2)
    assert len(captured._captured) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_network_that_cannot_be_captured_is_run_kernel_by_kernel(model_folder: Path,
                                                                   caplog: pytest.LogCaptureFixture) -> None:
    network = load_model(model_folder).network
    network.register_forward_pre_hook(lambda module, inputs: float(inputs[0].sum()) and None)
    engine = TorchEngine(network, torch.device("cuda"), "single")
    assert engine(torch.randn(1, 3, 64, 64, device="cuda"))["seed"].shape == (1, 1, 16, 16)
    assert "cannot be captured" in caplog.text
