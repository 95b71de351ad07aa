"""How a network is executed: one contract, a choice by what the machine has.

An engine is called with an image tensor (B, 3, H, W) float32 and returns what the network's `forward` returns, as
float32 tensors on `engine.device`. It compiles for a new shape when it first meets one.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor, nn

from panoptic_ros.errors import InputError

ENGINES = ("openvino", "torch")

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """name: one of ENGINES. device: where the outputs are."""

    name: str
    device: torch.device

    def __call__(self, image: Tensor) -> dict[str, Tensor]: ...


def explain_choice(name: str = "auto", device: str = "auto") -> tuple[str, str, str]:
    """Which engine and device would be used, and why: (engine, device, reason).

    name: `auto` or one of ENGINES. device: `auto`, `cpu`, `cuda` or `cuda:N`. Raises InputError for a combination that
    cannot run on this machine.
    """
    if name not in ("auto", *ENGINES):
        raise InputError(f"engine '{name}' is not known; there are auto, {', '.join(ENGINES)}")
    if device != "auto" and device != "cpu" and device.split(":")[0] != "cuda":
        raise InputError(f"device '{device}' is not known; there are auto, cpu, cuda, cuda:N")
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise InputError(f"device '{device}' asked for, but torch finds no usable CUDA device; use cpu or auto")
        number = device.partition(":")[2]
        if number and not (number.isdigit() and int(number) < torch.cuda.device_count()):
            raise InputError(f"device '{device}' is not there: torch finds {torch.cuda.device_count()} CUDA device(s)")
        if name == "openvino":
            raise InputError("the openvino engine runs on the CPU; use engine torch with a CUDA device")
    if name == "openvino" and not find_spec("openvino"):
        raise InputError("the openvino engine was asked for, but openvino is not installed: pip install openvino")
    asked = "asked for"
    if name == "torch" or device.startswith("cuda"):
        if device == "auto":
            return "torch", "cuda" if torch.cuda.is_available() else "cpu", asked
        return "torch", device, asked
    if name == "openvino":
        return "openvino", "cpu", asked
    if device == "auto" and torch.cuda.is_available():
        return "torch", "cuda", "a CUDA device is there"
    if find_spec("openvino"):
        return "openvino", "cpu", "on a CPU it is faster than torch"
    return "torch", "cpu", "openvino is not installed (pip install openvino is several times faster on a CPU)"


def build_engine(network: nn.Module, name: str = "auto", device: str = "auto") -> Engine:
    """An engine for a network in evaluation mode; see `explain_choice`.

    With `auto`, an engine that fails to build falls back to torch with a warning that says why.
    """
    from panoptic_ros.engines.torch_engine import TorchEngine

    chosen, chosen_device, _ = explain_choice(name, device)
    if chosen == "openvino":
        try:
            from panoptic_ros.engines.openvino_engine import OpenVinoEngine
            return OpenVinoEngine(network)
        except Exception as error:
            if name != "auto":
                raise InputError(f"the openvino engine could not be built: {error}") from error
            _log.warning("the openvino engine could not be built, torch is used instead: %s", error)
    return TorchEngine(network, torch.device(chosen_device))
