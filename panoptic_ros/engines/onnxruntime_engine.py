"""The ONNX Runtime engine: a session for each input shape, on the CPU or on a CUDA device."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from panoptic_ros.engines.cache import cache_folder
from panoptic_ros.engines.onnx_graph import INPUT, export_onnx

# Sessions that are kept; a stream has one, a few cameras of different sizes have a few.
SHAPES_KEPT = 4
# Execution providers by kind of device, the fastest first; those that are installed are taken.
PROVIDERS = {"cpu": ("CPUExecutionProvider",),
             "cuda": ("NvTensorRTRTXExecutionProvider", "TensorrtExecutionProvider", "CUDAExecutionProvider",
                      "CPUExecutionProvider")}


class OnnxRuntimeEngine:
    """See `panoptic_ros.engines.Engine`; half precision is float16, typed in the graph."""

    name = "onnxruntime"

    def __init__(self, network: nn.Module, device: torch.device, precision: str) -> None:
        self.device, self.precision = device, precision
        self._network = copy.deepcopy(network).cpu().eval()
        self._sessions: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        stride = int(network.stride)  # type: ignore[arg-type]
        # Now, so that what cannot be exported is found out before the first image.
        self._session((1, 3, 2 * stride, 3 * stride))

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        session = self._session(tuple(image.shape))
        names = [output.name for output in session.get_outputs()]
        if self.device.type == "cpu":
            values = session.run(None, {INPUT: image.cpu().contiguous().numpy()})
            return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}
        # On the device from end to end: the input is torch's memory, the outputs become torch's.
        image = image.to(self.device).contiguous()
        torch.cuda.current_stream(self.device).synchronize()
        binding, index = session.io_binding(), self.device.index or 0
        binding.bind_input(INPUT, "cuda", index, np.float32, tuple(image.shape), image.data_ptr())
        outputs = {}
        for output in session.get_outputs():
            outputs[output.name] = torch.empty(output.shape, device=self.device)
            binding.bind_output(output.name, "cuda", index, np.float32, output.shape, outputs[output.name].data_ptr())
        session.run_with_iobinding(binding)
        return outputs

    def _session(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._sessions:
            batch, channels, height, width = shape
            graph = export_onnx(self._network, (batch, channels, height, width), self.precision == "half")
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            self._sessions[shape] = onnxruntime.InferenceSession(graph, options, providers=providers(self.device))
            if len(self._sessions) > SHAPES_KEPT:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(shape)
        return self._sessions[shape]


def providers(device: torch.device) -> list[tuple[str, dict[str, str]]]:
    """The execution providers that are tried, with their options: TensorRT's keep what they build for minutes."""
    folder, index = cache_folder(), str(device.index or 0)
    kept = {"TensorrtExecutionProvider": {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)},
            "NvTensorRTRTXExecutionProvider": {"nv_runtime_cache_path": str(folder)}} if folder else {}
    available = onnxruntime.get_available_providers()
    return [(name, {} if name.startswith("CPU") else {"device_id": index, **kept.get(name, {})})
            for name in PROVIDERS[device.type] if name in available]
