"""Inference engines: how a network is executed, and which engine `auto` takes on this machine.

An engine works on a copy of the network, which stays as and where it was. It is called with an image tensor
(B, 3, H, W) float32 and returns what the network's `forward` returns, as float32 tensors on `engine.device`. It
compiles for a new shape when it first meets one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from panoptic_ros.errors import InputError

ENGINES = ("openvino", "torch", "onnxruntime", "tensorrt")
PRECISIONS = ("single", "half", "int8")

_ONNX_CUDA = "CUDAExecutionProvider"

# Why `auto` does not take an engine that works.
_WHY_NOT = {"openvino": "a GPU is faster", "torch": "slower on a CPU than openvino",
            "onnxruntime": "on a CPU it took about twice openvino's time, and on a GPU it was not measured",
            "tensorrt": "it builds a plan for minutes first (panoptic-ros build)"}

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """name: one of ENGINES. device: where the outputs are. precision: one of PRECISIONS."""

    name: str
    device: torch.device
    precision: str

    def __call__(self, image: Tensor) -> dict[str, Tensor]: ...


@runtime_checkable
class BuiltAhead(Protocol):
    """An engine that takes minutes to be made ready for a shape, and does not do so while images wait."""

    def prepare(self, shape: tuple[int, int, int, int]) -> bool:
        """Make it ready for images (B, 3, H, W) of this shape; whether it is."""


class Choice(NamedTuple):
    """The engine, one of ENGINES, its torch device and its precision, one of PRECISIONS; and why."""

    engine: str
    device: str
    precision: str
    reason: str


def explain_choice(name: str = "auto", device: str = "auto", precision: str = "auto",
                   has_int8: bool = False) -> Choice:
    """Which engine, device and precision would be used, and why.

    name: `auto` or one of ENGINES. device: `auto`, `cpu`, `cuda` or `cuda:N`. precision: `auto` or one of PRECISIONS;
    half is float16 on a GPU and in ONNX graphs, else bfloat16, and `auto` takes it where the hardware computes with it
    natively; int8 is OpenVINO's, for models that have such a graph, and `auto` takes it there. has_int8: whether the
    model has one.
    Raises InputError for a combination that cannot run on this machine.
    """
    if name not in ("auto", *ENGINES):
        raise InputError(f"engine '{name}' is not known; there are auto, {', '.join(ENGINES)}")
    if device not in ("auto", "cpu") and device.split(":")[0] != "cuda":
        raise InputError(f"device '{device}' is not known; there are auto, cpu, cuda, cuda:N")
    if precision not in ("auto", *PRECISIONS):
        raise InputError(f"precision '{precision}' is not known; there are auto, {', '.join(PRECISIONS)}")
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise InputError(f"device '{device}' asked for, but torch finds no usable CUDA device; use cpu or auto")
        number = device.partition(":")[2]
        if number and not (number.isdigit() and int(number) < torch.cuda.device_count()):
            raise InputError(f"device '{device}' is not there: torch finds {torch.cuda.device_count()} CUDA device(s)")
        if name == "openvino":
            raise InputError("the openvino engine runs on the CPU; use engine torch with a CUDA device")
    if name == "tensorrt":
        _check_tensorrt(device)
    if precision == "int8":
        if name not in ("auto", "openvino") or device.startswith("cuda"):
            raise InputError("precision int8 is the openvino engine's, on the CPU; use half with torch or CUDA")
        if not has_int8:
            raise InputError("precision int8 asked for, but the model has no INT8 graph; panoptic-ros quantise makes "
                             "it")
        name = "openvino"
    if name == "openvino" and not find_spec("openvino"):
        raise InputError("the openvino engine was asked for, but openvino is not installed: pip install openvino")
    if name == "onnxruntime":
        _check_onnxruntime(device)
    if device == "auto":
        serves_cuda = name != "openvino" and (name != "onnxruntime" or _ONNX_CUDA in _onnx_providers())
        device = "cuda" if torch.cuda.is_available() and serves_cuda else "cpu"
        reason = "a CUDA device is there" if device == "cuda" else "no CUDA device is used"
    else:
        reason = "asked for"
    if name == "auto":
        name = "openvino" if device == "cpu" and find_spec("openvino") else "torch"
        if device == "cpu":
            reason += ", and on a CPU openvino is faster than torch" if name == "openvino" else \
                ", and openvino, which is faster on a CPU, is not installed (pip install openvino)"
        elif find_spec("tensorrt"):
            reason += "; tensorrt, which is installed, builds for minutes and is used where it is asked for"
    if precision == "auto" and name == "openvino" and has_int8 and "INT8" in _capabilities():
        precision = "int8"
        reason += "; the model has an INT8 graph"
    if precision == "auto":
        precision = "half" if _is_half_native(name, device) else "single"
    return Choice(name, device, precision, reason)


def engine_report() -> dict[str, str]:
    """For each of ENGINES whether `auto` takes it on this machine, and why or why not."""
    chosen = explain_choice()
    report = {}
    for name in ENGINES:
        if name == chosen.engine:
            report[name] = f"chosen, on {chosen.device} in {chosen.precision} precision: {chosen.reason}"
            continue
        try:
            other = explain_choice(name)
        except InputError as error:
            report[name] = f"cannot be used: {error}"
        else:
            report[name] = f"can be asked for, on {other.device} in {other.precision} precision; {_WHY_NOT[name]}"
    return report


def build_engine(network: nn.Module, name: str = "auto", device: str = "auto", precision: str = "auto",
                 int8: Path | None = None, progress: Callable[[str], None] | None = None) -> Engine:
    """An engine for a copy of the network, in evaluation mode; see `explain_choice`.

    network: a `panoptic_ros.methods.Network`. int8: the file of the INT8 graph that was made of it, where it has one.
    progress: told what an engine that builds for minutes is doing.

    With `auto`, an engine that fails to build falls back to the next with a warning that says why.
    """
    from panoptic_ros.engines.torch_engine import TorchEngine

    choice = explain_choice(name, device, precision, int8 is not None)
    if choice.engine == "openvino":
        try:
            from panoptic_ros.engines.openvino_engine import OpenVinoEngine
            return OpenVinoEngine(network, choice.precision, int8)
        except Exception as error:
            if choice.precision == "int8" and precision == "auto":
                _log.warning("the INT8 graph %s cannot be used, another precision is: %s", int8, error)
                return build_engine(network, name, device)
            if name != "auto" or choice.precision == "int8":
                raise InputError(f"the openvino engine could not be built: {error}") from error
            _log.warning("the openvino engine could not be built, torch is used instead: %s", error)
    if choice.engine == "onnxruntime":
        from panoptic_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
        return OnnxRuntimeEngine(network, torch.device(choice.device), choice.precision)
    if choice.engine == "tensorrt":
        from panoptic_ros.engines.tensorrt_engine import TensorRtEngine
        return TensorRtEngine(network, torch.device(choice.device), choice.precision, progress)
    return TorchEngine(network, torch.device(choice.device), choice.precision)


def _check_tensorrt(device: str) -> None:
    if missing := [package for package in ("tensorrt", "onnx", "onnxscript") if find_spec(package) is None]:
        raise InputError(f"the tensorrt engine was asked for, but there is no {', '.join(missing)}: install NVIDIA's "
                         "TensorRT (its Python package is not on PyPI in whole), and panoptic-ros[onnx]")
    if device == "cpu" or not torch.cuda.is_available():
        raise InputError("the tensorrt engine needs a CUDA device" + (
            "" if device == "cpu" else ", and torch finds none") + "; use openvino or torch on a CPU")


def _check_onnxruntime(device: str) -> None:
    missing = [package for package in ("onnxruntime", "onnx", "onnxscript") if find_spec(package) is None]
    if missing:
        raise InputError(f"the onnxruntime engine was asked for, but there is no {', '.join(missing)}: pip install "
                         "panoptic-ros[onnx]")
    if device.startswith("cuda") and _ONNX_CUDA not in _onnx_providers():
        raise InputError("the onnxruntime that is installed serves the CPU alone; with a CUDA device: pip install "
                         "onnxruntime-gpu in its place")


def _onnx_providers() -> list[str]:
    import onnxruntime
    providers: list[str] = onnxruntime.get_available_providers()
    return providers


def _is_half_native(name: str, device: str) -> bool:
    """Whether half precision is faster there, and not only emulated."""
    return "BF16" in _capabilities() if name == "openvino" else device != "cpu"


def _capabilities() -> list[str]:
    """What OpenVINO computes natively on this CPU, such as BF16 and INT8."""
    from panoptic_ros.engines.openvino_core import openvino_core
    capabilities: list[str] = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return capabilities
