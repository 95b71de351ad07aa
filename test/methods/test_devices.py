"""Decode and loss of every method run where their inputs are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from panoptic_ros.methods import METHODS
from panoptic_ros.model import Model, load_model
from training.objectives import OBJECTIVES

SIZE = (64, 128)
FOLDERS = {"dense_detections": "dense_model", "hle": "model_folder"}


@pytest.fixture(params=sorted(METHODS))
def model(request: pytest.FixtureRequest) -> Model:
    return load_model(request.getfixturevalue(FOLDERS[request.param]))


def outputs_of(model: Model) -> dict[str, Tensor]:
    with torch.no_grad():
        return model.network(torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)))


def decode(model: Model, outputs: dict[str, Tensor], is_thing: Tensor) -> tuple[Tensor, Any]:
    everything = {**outputs, **{name: value.detach() for name, value in model.network.decode_parameters().items()}}
    found = METHODS[model.method].decode(everything, is_thing, model.thresholds, SIZE)
    return found.segment_map, found.segments[0]


def losses(model: Model, outputs: dict[str, Tensor], is_thing: Tensor) -> dict[str, Tensor]:
    """Of a car on a road below the sky."""
    class_map, instance_map = torch.zeros((2, 1, *SIZE), dtype=torch.int32, device=is_thing.device)
    class_map[:, :20], class_map[:, 30:50, 40:90], instance_map[:, 30:50, 40:90] = 10, 13, 1
    kind = OBJECTIVES[model.method]
    with torch.device(is_thing.device):
        objective = kind(model.network, kind.settings_type(), model.classes)
    batch = {"class_map": class_map, "instance_map": instance_map, "clip": torch.zeros(1, device=is_thing.device)}
    terms = objective.loss(outputs, batch)
    return {name: term.detach() for name, term in terms.items()}


def _on_the_cpu(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torchvision's own, which makes a number without a device and sends it to that of the boxes."""
    def run(*args: Any) -> Tensor:
        with torch.device("cpu"):
            return operation(*args)
    return run


def test_nothing_is_made_on_another_device(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, is_thing = outputs_of(model), torch.as_tensor(model.classes.thing_mask)
    expected, terms = decode(model, outputs, is_thing)[0], losses(model, outputs, is_thing)
    # Every tensor that is made without a device now has no memory, and cannot be mixed with those on the CPU.
    monkeypatch.setattr("panoptic_ros.methods.dense_detections.boxes.batched_nms", _on_the_cpu(batched_nms))
    with torch.device("meta"):
        maps, segments = decode(model, outputs, is_thing)
    assert torch.equal(maps, expected)
    assert segments.box.device.type == "cpu"
    assert len(segments) > 0
    with torch.device("meta"):
        again = losses(model, outputs, torch.as_tensor(model.classes.thing_mask, device="cpu"))
    assert {name: float(term) for name, term in again.items()} == {name: float(term) for name, term in terms.items()}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu(model: Model) -> None:
    outputs, is_thing = outputs_of(model), torch.as_tensor(model.classes.thing_mask)
    expected, terms = decode(model, outputs, is_thing)[0], losses(model, outputs, is_thing)
    model.network.cuda()
    moved = {name: output.cuda() for name, output in outputs.items()}
    maps, segments = decode(model, moved, is_thing.cuda())
    assert maps.device.type == segments.box.device.type == "cuda"
    assert (maps.cpu() == expected).float().mean() > 0.99  # rounding decides at the edges
    for name, term in losses(model, moved, is_thing.cuda()).items():
        torch.testing.assert_close(term.cpu(), terms[name], rtol=1e-3, atol=1e-4)
