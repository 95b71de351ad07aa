"""The TensorRT engine: all but the build itself, against a stand-in of TensorRT's Python API; with a GPU, all of it."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from panoptic_ros.engines import BuiltAhead, build_engine, explain_choice
from panoptic_ros.engines.cache import FOLDER_VARIABLE
from panoptic_ros.errors import InputError
from panoptic_ros.model import load_model

SHAPE = (1, 3, 64, 96)
OUTPUTS = {"embedding": (1, 12, 16, 24), "log_sigma": (1, 1, 16, 24), "seed": (1, 1, 16, 24)}
ENGINE_MODULE = "panoptic_ros.engines.tensorrt_engine"
needs_tensorrt = pytest.mark.skipif(not find_spec("tensorrt") or not torch.cuda.is_available(),
                                    reason="needs TensorRT and a CUDA device")


class FakeTensorRt(ModuleType):
    """What the engine uses of the API, with plans that begin with the version that made them."""

    def __init__(self) -> None:
        super().__init__("tensorrt")
        self.__version__ = "10.9.0"
        self.builds: list[bytes] = []
        self.addresses: dict[str, int] = {}
        self.accepts_graph = self.builds_plan = True
        fake = self

        class Logger:
            WARNING = 2

            def __init__(self, severity: int) -> None: ...

        class ProgressMonitor:
            def __init__(self) -> None: ...

        class Network:
            graph = b""

        class Parser:
            num_errors = 1

            def __init__(self, network: Any, logger: Any) -> None:
                self.network = network

            def parse(self, graph: bytes) -> bool:
                self.network.graph = graph
                return fake.accepts_graph

            def get_error(self, number: int) -> str:
                return "unknown operator"

        class Builder:
            def __init__(self, logger: Any) -> None: ...

            def create_network(self, flags: int) -> Any:
                assert flags == 1 << 4
                return Network()

            def create_builder_config(self) -> Any:
                return SimpleNamespace(progress_monitor=None)

            def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
                fake.builds.append(network.graph)
                config.progress_monitor.phase_start("Tactics", None, 20)
                for step in range(20):
                    assert config.progress_monitor.step_complete("Tactics", step)
                config.progress_monitor.phase_finish("Tactics")
                return fake.__version__.encode() if fake.builds_plan else None

        class Context:
            def set_tensor_address(self, name: str, address: int) -> bool:
                fake.addresses[name] = address
                return True

            def execute_async_v3(self, stream: int) -> bool:
                return set(fake.addresses) == {"image", *OUTPUTS}

        class Engine:
            num_io_tensors = 1 + len(OUTPUTS)

            def get_tensor_name(self, number: int) -> str:
                return ["image", *OUTPUTS][number]

            def get_tensor_mode(self, name: str) -> str:
                return "in" if name == "image" else "out"

            def get_tensor_shape(self, name: str) -> tuple[int, ...]:
                return OUTPUTS[name]

            def create_execution_context(self) -> Any:
                return Context()

        class Runtime:
            def __init__(self, logger: Any) -> None: ...

            def deserialize_cuda_engine(self, plan: bytes) -> Any:
                return Engine() if plan == fake.__version__.encode() else None

        self.Logger, self.IProgressMonitor, self.OnnxParser, self.Builder = Logger, ProgressMonitor, Parser, Builder
        self.Runtime = Runtime
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=4)
        self.TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeTensorRt]:
    fake = FakeTensorRt()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    sys.modules.pop(ENGINE_MODULE, None)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0))
    # What is exported has tests of its own.
    module = importlib.import_module(ENGINE_MODULE)
    monkeypatch.setattr(module, "export_onnx", lambda network, shape, half: f"{shape} {half}".encode())
    yield fake
    sys.modules.pop(ENGINE_MODULE, None)


def engine_of(model_folder: Path, precision: str = "single", **settings: Any) -> Any:
    from panoptic_ros.engines.tensorrt_engine import TensorRtEngine
    engine = TensorRtEngine(load_model(model_folder).network, torch.device("cpu"), precision, **settings)
    assert isinstance(engine, BuiltAhead)
    return engine


def test_a_plan_is_built_once_told_of_and_kept(model_folder: Path, tensorrt: FakeTensorRt) -> None:
    told: list[str] = []
    engine = engine_of(model_folder, progress=told.append)
    assert engine.prepare(SHAPE)
    assert told[0] == "building the TensorRT plan: Tactics, 10 %"
    assert len(told) == 10
    outputs = engine(torch.zeros(SHAPE))
    assert {name: tuple(x.shape) for name, x in outputs.items()} == OUTPUTS
    assert {name: tensorrt.addresses[name] for name in OUTPUTS} == {n: x.data_ptr() for n, x in outputs.items()}
    again = engine_of(model_folder)
    assert again.prepare(SHAPE)
    assert again(torch.zeros(SHAPE)).keys() == OUTPUTS.keys()
    assert len(tensorrt.builds) == 1


def test_another_version_precision_or_gpu_has_a_plan_of_its_own(model_folder: Path, tensorrt: FakeTensorRt,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    engine_of(model_folder).prepare(SHAPE)
    tensorrt.__version__ = "11.0.0"
    engine_of(model_folder).prepare(SHAPE)
    engine_of(model_folder, "half").prepare(SHAPE)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    engine_of(model_folder).prepare(SHAPE)
    assert len(tensorrt.builds) == 4
    # Half precision is typed in the graph.
    assert tensorrt.builds == [f"{SHAPE} {half}".encode() for half in (False, False, True, False)]


def test_a_plan_that_is_not_taken_any_more_is_built_anew(model_folder: Path, tensorrt: FakeTensorRt,
                                                         caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_of(model_folder)
    engine._cache.store({**engine._key, "shape": SHAPE}, b"of another driver")
    assert engine.prepare(SHAPE)
    assert "not taken any more" in caplog.text
    assert len(tensorrt.builds) == 1


@pytest.mark.parametrize(("what", "reason"), [("accepts_graph", "unknown operator"), ("builds_plan", "build failed")])
def test_where_a_build_fails_torch_takes_its_place_and_says_why(model_folder: Path, tensorrt: FakeTensorRt, what: str,
                                                                reason: str, caplog: pytest.LogCaptureFixture) -> None:
    setattr(tensorrt, what, False)
    engine, image = engine_of(model_folder), torch.randn(SHAPE)
    assert not engine.prepare(SHAPE)
    assert reason in caplog.text
    expected = build_engine(load_model(model_folder).network, "torch", "cpu", "single")(image)
    torch.testing.assert_close(engine(image)["embedding"], expected["embedding"])


def test_a_network_that_cannot_be_exported_is_run_by_torch(model_folder: Path, tensorrt: FakeTensorRt,
                                                           caplog: pytest.LogCaptureFixture,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> bytes:
        raise InputError("the network cannot be exported to ONNX")

    monkeypatch.setattr(sys.modules[ENGINE_MODULE], "export_onnx", refuse)
    assert not engine_of(model_folder).prepare(SHAPE)
    assert "cannot be exported" in caplog.text


def test_nothing_is_built_while_an_image_waits(model_folder: Path, tensorrt: FakeTensorRt,
                                               caplog: pytest.LogCaptureFixture) -> None:
    engine = engine_of(model_folder)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert engine(torch.zeros(SHAPE))["seed"].shape == OUTPUTS["seed"]
    assert tensorrt.builds == []
    assert caplog.text.count("no TensorRT plan") == 1
    assert "1 x 3 x 64 x 96" in caplog.text


def test_it_is_refused_with_the_reason_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panoptic_ros.engines.find_spec", lambda name: None if name == "tensorrt" else object())
    with pytest.raises(InputError, match="there is no tensorrt"):
        explain_choice("tensorrt")
    monkeypatch.setattr("panoptic_ros.engines.find_spec", lambda name: object())
    with pytest.raises(InputError, match="needs a CUDA device"):
        explain_choice("tensorrt", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert explain_choice("tensorrt")[:3] == ("tensorrt", "cuda", "half")
    assert explain_choice()[0] == "torch"


@needs_tensorrt
def test_a_built_plan_agrees_with_torch(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    network, image = load_model(model_folder).network, torch.randn(SHAPE, device="cuda")
    engine: Any = build_engine(network, "tensorrt", "cuda", "single")
    assert engine.prepare(SHAPE)
    expected = build_engine(network, "torch", "cuda", "single")(image)
    for name, value in engine(image).items():
        torch.testing.assert_close(value, expected[name], atol=1e-2, rtol=1e-2)
