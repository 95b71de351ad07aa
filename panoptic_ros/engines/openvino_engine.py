"""The OpenVINO engine: compiles a network, or the INT8 graph that was made of it, once per input shape."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import logging
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import openvino
import torch
from torch import Tensor, nn

from panoptic_ros.engines.cache import EngineCache, network_hash
from panoptic_ros.engines.openvino_core import openvino_core

# Compiled shapes that are kept; a stream has one, a few cameras of different sizes have a few.
SHAPES_KEPT = 4

_log = logging.getLogger(__name__)


class OpenVinoEngine:
    """See `panoptic_ros.engines.Engine`; half precision is bfloat16.

    int8: in that precision, the graph as `quantised_graph` made it; what it has in floating point is computed in
    bfloat16 where the CPU has it.
    """

    name = "openvino"
    device = torch.device("cpu")

    def __init__(self, network: nn.Module, precision: str, int8: Path | None = None) -> None:
        self.precision = precision
        self._network = _AsTuple(copy.deepcopy(network).cpu()).eval()
        self._core = openvino_core()
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        stride, self._dynamic_size = int(network.stride), bool(network.dynamic_size)  # type: ignore[arg-type]
        self._cache = EngineCache()
        self._graph: Any = None  # made when a shape is compiled that was not kept
        self._key = {"engine": self.name, "version": openvino.get_version(), "torch": torch.__version__,
                     "device": self._core.get_property("CPU", "FULL_DEVICE_NAME"),
                     "capability": sorted(self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
                     "precision": precision, "model": network_hash(network) if int8 is None or precision != "int8"
                     else _graph_hash(int8)}
        if precision == "int8":
            self._graph = self._core.read_model(int8)
            self._network.names = [output.get_any_name() for output in self._graph.outputs]
            return
        # What cannot be converted is found out now; a network of which a graph was kept can be.
        self._smallest = (1, 3, 2 * stride, 3 * stride)
        marker = {**self._key, "shape": "any"}
        if (names := self._cache.load(marker)) is not None:
            self._network.names = json.loads(names)
        else:
            self._graph = self._convert(self._smallest)
            self._cache.store(marker, json.dumps(self._network.names).encode())

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        shape = tuple(image.shape)
        if shape not in self._requests:
            self._requests[shape] = self._compiled(shape).create_infer_request()
            if len(self._requests) > SHAPES_KEPT:
                self._requests.popitem(last=False)
        self._requests.move_to_end(shape)
        request = self._requests[shape]
        request.infer([image.contiguous().numpy()], share_inputs=True)
        # The next call overwrites the request's own buffers.
        return {name: torch.from_numpy(request.get_output_tensor(i).data.copy())
                for i, name in enumerate(self._network.names)}

    def _compiled(self, shape: tuple[int, ...]) -> Any:
        key = {**self._key, "shape": shape}
        settings = {"INFERENCE_PRECISION_HINT": self._hint(), "PERFORMANCE_HINT": "LATENCY"}
        if (kept := self._cache.load(key)) is not None:
            try:
                return self._core.import_model(io.BytesIO(kept), "CPU", settings)
            except RuntimeError as error:
                _log.warning("a compiled graph that was kept cannot be used and is made anew: %s", error)
                self._cache.discard(key)
        compiled = self._core.compile_model(self.graph(shape), "CPU", settings)
        self._cache.store(key, compiled.export_model().getvalue())
        return compiled

    def graph(self, shape: tuple[int, ...]) -> Any:
        """The graph for images (B, 3, H, W) of this shape, with the network's names for its outputs."""
        if self._graph is None and self._dynamic_size:
            self._graph = self._convert(self._smallest)
        graph = self._graph if self._dynamic_size else self._convert(shape)
        graph.reshape(list(shape))
        for output, name in zip(graph.outputs, self._network.names, strict=True):
            output.get_tensor().set_names({name})
        return graph

    def _hint(self) -> str:
        if self.precision == "int8":
            return "bf16" if "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
        return {"single": "f32", "half": "bf16"}[self.precision]

    @torch.no_grad()
    def _convert(self, shape: tuple[int, ...]) -> Any:
        """The network's OpenVINO graph for images (B, 3, H, W) of this shape."""
        example = torch.zeros(shape)
        with warnings.catch_warnings():
            # torch.jit is on its way out, but converting a torch.export program takes four times as long (16 s on two
            # busy cores) and gives the same graph.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            # Checks of shapes inside torch (group normalisation has one) are traced as passed, which they are.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            traced = torch.jit.freeze(torch.jit.trace(self._network, example, check_trace=False))
            return openvino.convert_model(traced, example_input=example)


def _graph_hash(file: Path) -> str:
    digest = hashlib.sha256(file.read_bytes())
    digest.update(file.with_suffix(".bin").read_bytes())
    return digest.hexdigest()


class _AsTuple(nn.Module):
    """The network with a tuple of tensors in place of a dict, as the tracer needs it; `names` are the dict's."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.names: list[str] = []

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(image)
        self.names = list(outputs)
        return tuple(outputs.values())
