"""Devices, precision and memory format of a training run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .recipe import Precision, Recipe


def make_fabric(recipe: Recipe, accelerator: str = "auto", devices: int | str = 1) -> Fabric:
    """The devices of a run in the recipe's precision.

    accelerator: auto, cpu or cuda. devices: number of them, or auto; under torchrun it is torchrun's.
    """
    settings: dict[str, Any] = {"accelerator": accelerator, "devices": devices}
    if torch.distributed.is_torchelastic_launched():
        # torchrun's own count: Fabric would take each of its processes for a run of its own.
        settings["devices"] = int(os.environ["LOCAL_WORLD_SIZE"])
        settings["num_nodes"] = int(os.environ["WORLD_SIZE"]) // settings["devices"]
    if settings["devices"] != 1:
        # A loss may have no use for an output, as where a batch shows no object.
        settings["strategy"] = "ddp_find_unused_parameters_true"
    on_cpu = accelerator == "cpu" or not torch.cuda.is_available()
    return Fabric(precision=resolve_precision(recipe.precision, on_cpu), **settings)


def resolve_precision(precision: Precision, on_cpu: bool) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    """What `auto` stands for: bf16-mixed where bfloat16 is native, else 32-true.

    A CPU without it falls back to convolutions that take eight times as long as those in single precision.
    """
    if precision != "auto":
        return precision
    native = _has_bfloat16() if on_cpu else torch.cuda.get_device_capability() >= (8, 0)
    return "bf16-mixed" if native else "32-true"


def memory_format(fabric: Fabric) -> torch.memory_format:
    """Memory format of images and weights: channels last, but contiguous for single precision on a CPU.

    There oneDNN's gradient of a convolution's weights takes two to three times as long with channels last.
    """
    if fabric.device.type == "cpu" and fabric.strategy.precision.precision == "32-true":
        return torch.contiguous_format
    return torch.channels_last


def convolution_precision(fabric: Fabric) -> AbstractContextManager[Any]:
    """The context of a step's forward pass: on a CPU in mixed precision, depthwise convolutions compute in float32.

    oneDNN's gradients of those with a stride or a kernel over 3 x 3 take three to fifteen times as long in bfloat16.
    """
    if fabric.device.type == "cpu" and fabric.strategy.precision.precision == "bf16-mixed":
        return _DepthwiseInSinglePrecision()
    return nullcontext()


class _DepthwiseInSinglePrecision(TorchFunctionMode):
    def __torch_function__(self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is not torch.conv2d or not torch.is_autocast_enabled("cpu") or not _is_slow(*args, **kwargs):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(args[0].float(), *args[1:], **kwargs).to(torch.get_autocast_dtype("cpu"))


def _is_slow(image: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
             dilation: Any = 1, groups: int = 1) -> bool:
    strides = stride if isinstance(stride, tuple) else (stride,)
    return groups > 1 and weight.shape[1] == 1 and (max(strides) > 1 or max(weight.shape[2:]) > 3)


def _has_bfloat16() -> bool:
    # A torch that is too old to say so (before 2.10) trains in single precision.
    has: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(has.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
