"""What `precision: auto` stands for, and how tensors lie in memory."""

from __future__ import annotations

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from training.devices import convolution_precision, memory_format, resolve_precision


@pytest.mark.parametrize(("has", "precision"), [
    ({"avx2": True, "avx512_bf16": False}, "32-true"), ({"avx512_bf16": True}, "bf16-mixed"),
    ({"bf16": True}, "bf16-mixed"), ({}, "32-true")])
def test_auto_is_bfloat16_where_the_cpu_has_it(has: dict[str, bool], precision: str,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert resolve_precision("auto", on_cpu=True) == precision


def test_a_torch_that_does_not_know_the_cpu_trains_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert resolve_precision("auto", on_cpu=True) == "32-true"


def test_a_precision_that_is_asked_for_is_taken() -> None:
    assert resolve_precision("bf16-mixed", on_cpu=True) == "bf16-mixed"


def test_channels_come_last_but_for_single_precision_on_a_cpu() -> None:
    for precision, expected in (("32-true", torch.contiguous_format), ("bf16-mixed", torch.channels_last)):
        assert memory_format(Fabric(accelerator="cpu", devices=1, precision=precision)) is expected


@pytest.mark.parametrize(("kernel", "stride", "groups", "single"), [
    (5, 1, 16, True), (3, 2, 16, True), (3, 1, 16, False), (5, 2, 1, False)])
def test_the_depthwise_convolutions_that_are_slow_in_bfloat16_compute_in_single_precision(
        kernel: int, stride: int, groups: int, single: bool) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(16, 16, kernel, stride, groups=groups)
    image = torch.randn(2, 16, 12, 12).bfloat16()
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    exact = convolution(image.float())
    with torch.autocast("cpu", torch.bfloat16), convolution_precision(fabric):
        output = convolution(image)
    assert output.dtype == torch.bfloat16
    # In single precision the output is rounded once; in bfloat16 the weights are too.
    assert torch.equal(output, exact.bfloat16()) == single


def test_without_autocast_convolutions_stay_as_they_are() -> None:
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    with convolution_precision(fabric):
        output = nn.Conv2d(4, 4, 5, groups=4)(torch.zeros(1, 4, 8, 8))
    assert output.dtype == torch.float32
