"""The torch engine: runs a network as it is, on the CPU in channels-last layout or on a CUDA device."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class TorchEngine:
    """See `panoptic_ros.engines.Engine`; half precision is float16 on a GPU and bfloat16 on a CPU."""

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device, precision: str) -> None:
        self.device, self.precision = device, precision
        self._half = torch.float16 if device.type == "cuda" else torch.bfloat16
        self._network: nn.Module = copy.deepcopy(network).eval().to(  # type: ignore[call-overload]
            device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        image = image.to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self._half, enabled=self.precision == "half"):
            outputs = {name: output.float() for name, output in self._network(image).items()}
        if self.device.type == "cuda":
            # The decode waits for the outputs anyway; here the wait counts as the network's time, which it is.
            torch.cuda.synchronize(self.device)
        return outputs
