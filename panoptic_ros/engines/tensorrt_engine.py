"""The TensorRT engine: a plan for each input shape, built ahead of time and kept on disk.

Written against the Python API that TensorRT 10 and 11 document. Precision is typed in the ONNX graph, so that it needs
no builder flag of version 10 that 11 no longer has.
"""

from __future__ import annotations

import copy
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import tensorrt as trt
import torch
from torch import Tensor, nn

from panoptic_ros.engines.cache import EngineCache, network_hash
from panoptic_ros.engines.onnx_graph import INPUT, export_onnx
from panoptic_ros.engines.torch_engine import TorchEngine
from panoptic_ros.errors import InputError

# Plans that are kept in memory; a stream has one, a few cameras of different sizes have a few.
SHAPES_KEPT = 4

_log = logging.getLogger(__name__)


class _Plan(NamedTuple):
    """An execution context, the engine that has to live as long, and the shapes of the outputs by name."""

    engine: Any
    context: Any
    outputs: dict[str, tuple[int, ...]]


class TensorRtEngine:
    """See `panoptic_ros.engines.Engine` and `BuiltAhead`; half precision is float16.

    progress: told what a build is doing, from the thread that builds.

    A plan is never built while an image waits: shapes that were not prepared are run by torch, with one warning.
    """

    name = "tensorrt"

    def __init__(self, network: nn.Module, device: torch.device, precision: str,
                 progress: Callable[[str], None] | None = None) -> None:
        self.device, self.precision = device, precision
        self._network = copy.deepcopy(network).cpu().eval()
        self._progress = progress or _log.info
        self._logger = trt.Logger(trt.Logger.WARNING)
        self._runtime = trt.Runtime(self._logger)
        self._cache = EngineCache()
        self._key = {"engine": self.name, "version": trt.__version__, "device": torch.cuda.get_device_name(device),
                     "capability": torch.cuda.get_device_capability(device), "precision": precision,
                     "model": network_hash(network)}
        self._plans: OrderedDict[tuple[int, ...], _Plan | None] = OrderedDict()
        self._torch: TorchEngine | None = None

    def prepare(self, shape: tuple[int, int, int, int]) -> bool:
        """Make the plan for images (B, 3, H, W) of this shape, in minutes, unless it was kept; whether there is one.

        A plan that was kept and is not taken, as of another driver, is built anew. Where the build fails, a warning
        says why, and torch takes its place.
        """
        if (plan := self._kept(shape)) is None:
            try:
                with self._on_device():
                    content = self._build(shape)
                self._cache.store({**self._key, "shape": shape}, content)
                plan = self._loaded(content)
                if plan is None:
                    raise RuntimeError("TensorRT does not take the plan that it has built")
            except (InputError, RuntimeError) as error:
                _log.warning("the TensorRT plan for %s could not be built, torch is used instead: %s",
                             " x ".join(map(str, shape)), error)
        self._remember(shape, plan)
        return plan is not None

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        shape = tuple(image.shape)
        if shape not in self._plans:
            plan = self._kept(shape)
            if plan is None:
                size = " x ".join(map(str, shape))
                _log.warning("there is no TensorRT plan for inputs of %s, torch is used: make it ahead with "
                             "panoptic-ros build, or have the node warm up for this size of images", size)
            self._remember(shape, plan)
        self._plans.move_to_end(shape)
        if (plan := self._plans[shape]) is None:
            if self._torch is None:
                self._torch = TorchEngine(self._network, self.device, self.precision)
            return self._torch(image)
        image = image.to(self.device, non_blocking=True).contiguous()
        outputs = {name: torch.empty(size, device=self.device) for name, size in plan.outputs.items()}
        for name, tensor in {INPUT: image, **outputs}.items():
            plan.context.set_tensor_address(name, tensor.data_ptr())
        with self._on_device():
            if not plan.context.execute_async_v3(torch.cuda.current_stream(self.device).cuda_stream):
                raise RuntimeError("TensorRT could not run its plan; its log has the reason")
        return outputs

    def _on_device(self) -> AbstractContextManager[Any]:
        """TensorRT works on whatever device is the current one of the thread."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    def _remember(self, shape: tuple[int, ...], plan: _Plan | None) -> None:
        self._plans[shape] = plan
        if len(self._plans) > SHAPES_KEPT:
            self._plans.popitem(last=False)

    def _kept(self, shape: tuple[int, ...]) -> _Plan | None:
        """The plan on disk; one that is not taken any more is removed."""
        key = {**self._key, "shape": shape}
        content = self._cache.load(key)
        plan = None if content is None else self._loaded(content)
        if content is not None and plan is None:
            _log.warning("a TensorRT plan that was kept is not taken any more: it is removed")
            self._cache.discard(key)
        return plan

    def _loaded(self, content: bytes) -> _Plan | None:
        with self._on_device():
            engine = self._runtime.deserialize_cuda_engine(content)
            context = engine.create_execution_context() if engine is not None else None
        if context is None:
            return None
        names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
        return _Plan(engine, context, {name: tuple(engine.get_tensor_shape(name)) for name in names
                                       if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT})

    def _build(self, shape: tuple[int, int, int, int]) -> bytes:
        graph = export_onnx(self._network, shape, self.precision == "half")
        builder = trt.Builder(self._logger)
        # Version 11 takes the flag and types every network strongly anyway.
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(graph):
            errors = "; ".join(str(parser.get_error(k)) for k in range(parser.num_errors))
            raise RuntimeError(f"TensorRT does not take the ONNX graph: {errors}")
        config = builder.create_builder_config()
        config.progress_monitor = _ProgressMonitor(self._progress)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise RuntimeError("the build failed; TensorRT's log has the reason")
        return bytes(plan)


class _ProgressMonitor(trt.IProgressMonitor):
    """Tells of each tenth of the phases that TensorRT reports; they are nested."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        trt.IProgressMonitor.__init__(self)
        self._tell = tell
        self._steps: dict[str, int] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        self._steps[phase_name] = num_steps

    def step_complete(self, phase_name: str, step: int) -> bool:
        steps = max(1, self._steps.get(phase_name, 1))
        tenth = 10 * (step + 1) // steps
        if tenth != 10 * step // steps:
            self._tell(f"building the TensorRT plan: {phase_name}, {10 * tenth} %")
        return True  # go on

    def phase_finish(self, phase_name: str) -> None:
        self._steps.pop(phase_name, None)
