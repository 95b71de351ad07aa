"""The torch engine: runs a network as it is, on the CPU or, as a CUDA graph for each input shape, on a GPU."""

from __future__ import annotations

import copy
import logging
from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

# CUDA graphs that are kept; a stream has one shape, a few cameras of different sizes have a few.
SHAPES_KEPT = 4
# Runs before a capture, in which libraries choose their algorithms and allocate what they keep.
WARM_UP_RUNS = 3

_log = logging.getLogger(__name__)


class _Captured(NamedTuple):
    """A CUDA graph with the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    image: Tensor
    outputs: dict[str, Tensor]


class TorchEngine:
    """See `panoptic_ros.engines.Engine`; channels last, half precision is float16 on a GPU and bfloat16 on a CPU.

    On a GPU nothing waits for the device: outputs are ready in the order of the current stream.
    with_graphs: on a GPU, whether to launch the network as one CUDA graph for each shape; a network that cannot be
    captured is run kernel by kernel, with a warning.
    """

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device, precision: str, with_graphs: bool = True) -> None:
        self.device, self.precision = device, precision
        self._half = torch.float16 if device.type == "cuda" else torch.bfloat16
        self._network: nn.Module = copy.deepcopy(network).eval().to(  # type: ignore[call-overload]
            device, memory_format=torch.channels_last)
        self._with_graphs = with_graphs and device.type == "cuda"
        self._captured: OrderedDict[tuple[int, ...], _Captured] = OrderedDict()

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        image = image.to(self.device, non_blocking=True)
        captured = self._graph_of(tuple(image.shape)) if self._with_graphs else None
        if captured is None:
            return self._run(image.contiguous(memory_format=torch.channels_last))
        captured.image.copy_(image)
        captured.graph.replay()
        # The next replay overwrites the graph's own outputs.
        return {name: output.clone() for name, output in captured.outputs.items()}

    def _run(self, image: Tensor) -> dict[str, Tensor]:
        # Without the cache of cast weights: a graph would read it after it is gone.
        with torch.autocast(self.device.type, self._half, enabled=self.precision == "half",
                            cache_enabled=not self._with_graphs):
            return {name: output.float() for name, output in self._network(image).items()}

    def _graph_of(self, shape: tuple[int, ...]) -> _Captured | None:
        if shape not in self._captured:
            try:
                self._captured[shape] = self._capture(shape)
            except RuntimeError as error:
                self._with_graphs = False
                _log.warning("the network cannot be captured as a CUDA graph and is run kernel by kernel: %s", error)
                return None
            if len(self._captured) > SHAPES_KEPT:
                self._captured.popitem(last=False)
        self._captured.move_to_end(shape)
        return self._captured[shape]

    def _capture(self, shape: tuple[int, ...]) -> _Captured:
        image = torch.zeros(shape, device=self.device).contiguous(memory_format=torch.channels_last)
        # Warm-up and capture share a stream: some libraries keep a workspace for each.
        stream, current = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                self._run(image)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile: another perception, or the one that publishes.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            outputs = self._run(image)
        current.wait_stream(stream)
        return _Captured(graph, image, outputs)
