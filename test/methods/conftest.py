"""A small network of every method, for the contract that all keep."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from panoptic_ros.classes import ClassTable
from panoptic_ros.methods import METHODS, all_scales, centroid_embedding, dense_detections, einet, hle, universal
from panoptic_ros.model import Model

EXAMPLE = "center_offset"  # of docs/add_a_method.md
# Method -> hyper-parameters of a small network. A new method adds its line.
SMALL: dict[str, Any] = {
    "all_scales": all_scales.Hyperparameters("test_efficientnet", True, 16, 32, anchor_scale=2.0, atrous_rates=(1,),
                                             semantic_channels=16, mask_convolutions=1, candidates=200, proposals=24,
                                             detections=12),
    "centroid_embedding": centroid_embedding.Hyperparameters("test_efficientnet", decoder_channels=16, grid=(20, 40)),
    "dense_detections": dense_detections.Hyperparameters("test_efficientnet", 16, 16, 16, 1),
    "einet": einet.Hyperparameters("test_efficientnet", output_stride=32, embedding_dimension=8, atrous_rates=(1,),
                                   decoder_channels=16),
    "hle": hle.Hyperparameters("test_efficientnet", output_stride=32, atrous_rates=(1,), decoder_channels=16),
    "universal": universal.Hyperparameters("eomt", runpy.run_path(
        str(Path(__file__).parents[1] / "universal_configs.py"))["CONFIGS"]["eomt"]),
}
CLASSES = ClassTable("five", ("road", "sky", "car", "person", "tree"), (False, False, True, True, False),
                     tuple((40 * k, 0, 0) for k in range(5)))


@pytest.fixture(params=[*sorted(METHODS), EXAMPLE])
def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A small model with random weights that finds something of everything in a random image.

    Of every method, and of the one that docs/add_a_method.md adds.
    """
    if request.param == EXAMPLE:
        add_example_method = runpy.run_path(str(Path(__file__).parents[1] / "example_method.py"))["add_example_method"]
        monkeypatch.setitem(SMALL, EXAMPLE, add_example_method(monkeypatch.setitem))
    torch.manual_seed(0)
    method, hyperparameters = METHODS[request.param], SMALL[request.param]
    network: Any = method.network(hyperparameters, CLASSES.is_thing).eval()
    # Heads of random networks hardly differ from pixel to pixel: spread them. Statistics as after some training.
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.startswith("backbone.") and parameter.ndim == 4 and parameter.shape[1] > 1:
                parameter.mul_(3)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return Model(request.param, hyperparameters, network, CLASSES, (64, 128), network.mean, network.std,
                 method.thresholds(), "", {})
