"""The ONNX graph of a network, which ONNX Runtime and TensorRT take."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from contextlib import redirect_stdout
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from panoptic_ros.errors import InputError

INPUT = "image"

_log = logging.getLogger(__name__)


@torch.no_grad()
def export_onnx(network: nn.Module, shape: tuple[int, int, int, int], half: bool = False,
                dynamic_batch: bool = False, opset: int = 20) -> bytes:
    """A network as an ONNX file, by torch.export; its outputs have the names that `forward` gives them.

    network: a `panoptic_ros.methods.Network`. shape: of the input `image`, (B, 3, H, W) float32.
    half: weights and computation in float16, typed in the graph itself, so that no engine has to be told; input and
        outputs stay float32.
    dynamic_batch: the graph takes any number of images of this size. opset: of ONNX.
    Raises InputError where packages are missing, or the network cannot be exported in this way.
    """
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        raise InputError(f"an ONNX graph needs {' and '.join(missing)}: pip install panoptic-ros[onnx]")
    if dynamic_batch and not network.dynamic_size:
        raise InputError("the network goes through the images of a batch one by one: its graph holds for one number of "
                         "them, and cannot have a dynamic batch")
    wrapped = _Float32Outside(copy.deepcopy(network).cpu(), half).eval()
    # A batch of one would be taken for a constant.
    example = torch.zeros(max(shape[0], 2) if dynamic_batch else shape[0], *shape[1:])
    names = list(wrapped(example))
    dynamic = ({0: torch.export.Dim("batch")},) if dynamic_batch else None
    settings: dict[str, Any] = {"opset_version": opset, "input_names": [INPUT], "output_names": names, "verbose": False}
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # it prints its steps
            warnings.simplefilter("ignore")
            try:
                program = torch.onnx.export(wrapped, (example,), dynamo=True, dynamic_shapes=dynamic, **settings)
                assert program is not None
                graph: bytes = program.model_proto.SerializeToString()
                return graph
            except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
                if dynamic_batch:
                    raise
                # What depends on values of its weights, as EoMT's masks do, can be traced alone.
                _log.info("torch.export does not take the network, it is traced: %s", error)
            file: Any = io.BytesIO()
            torch.onnx.export(_AsTuple(wrapped), (example,), file, dynamo=False, **settings)
            return file.getvalue()
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise InputError(f"the network cannot be exported to ONNX: {error}") from error
    finally:
        exporter.setLevel(level)


class _Float32Outside(nn.Module):
    def __init__(self, network: nn.Module, half: bool) -> None:
        super().__init__()
        self.network, self._half = network.half() if half else network, half

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {name: output.float() for name, output in self.network(image.half() if self._half else image).items()}


class _AsTuple(nn.Module):
    def __init__(self, named: nn.Module) -> None:
        super().__init__()
        self.named = named

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.named(image).values())
