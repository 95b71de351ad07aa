"""The OpenVINO engine: compiles a network for the CPU, once per input shape."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import openvino
import torch
from torch import Tensor, nn

# Compiled shapes that are kept; a stream has one, a few cameras of different sizes have a few.
SHAPES_KEPT = 4


class OpenVinoEngine:
    """See `panoptic_ros.engines.Engine`. Computes in single precision, so that it agrees with torch."""

    name = "openvino"
    device = torch.device("cpu")

    def __init__(self, network: nn.Module) -> None:
        self._network = _AsTuple(network.eval().cpu())
        self._core = openvino.Core()
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        # A small trial shape shows at once whether the network can be converted.
        self._compile((1, 3, 64, 64))
        self._requests.clear()

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        shape = tuple(image.shape)
        if shape not in self._requests:
            self._compile(shape)
        self._requests.move_to_end(shape)
        request = self._requests[shape]
        request.infer([image.contiguous().numpy()], share_inputs=True)
        # The next call overwrites the request's own buffers.
        return {name: torch.from_numpy(request.get_output_tensor(i).data.copy())
                for i, name in enumerate(self._network.names)}

    def _compile(self, shape: tuple[int, ...]) -> None:
        with torch.no_grad():
            converted = openvino.convert_model(self._network, example_input=torch.zeros(shape), input=[shape])
        compiled = self._core.compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32",
                                                               "PERFORMANCE_HINT": "LATENCY"})
        self._requests[shape] = compiled.create_infer_request()
        while len(self._requests) > SHAPES_KEPT:
            self._requests.popitem(last=False)


class _AsTuple(nn.Module):
    """OpenVINO's converter takes tuples of tensors; `names` holds the keys in their order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.names: list[str] = []

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(image)
        self.names = list(outputs)
        return tuple(outputs.values())
