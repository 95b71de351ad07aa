"""Which parameter learns at which rate."""

from __future__ import annotations

import pytest
import torch

from panoptic_ros.methods import hle
from training.optimisers import backbone_layers, make_optimiser
from training.recipe import Optimiser


def network(backbone: str) -> hle.Network:
    return hle.Network(hle.Hyperparameters(backbone, decoder_channels=16), [False] * 3)


def groups(optimiser: torch.optim.Optimizer, net: torch.nn.Module) -> dict[str, dict[str, float]]:
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    return {names[id(p)]: group for group in optimiser.param_groups for p in group["params"]}


def test_vectors_and_the_embedding_space_are_not_decayed() -> None:
    net = network("resnet18")
    rows = groups(make_optimiser(Optimiser(weight_decay=0.1), net), net)
    assert rows.keys() == dict(net.named_parameters()).keys()
    assert rows["head.weight"]["weight_decay"] == 0.1
    for name in ("head.bias", "class_mean", "class_log_sigma", "backbone.encoder.bn1.weight"):
        assert rows[name]["weight_decay"] == 0


@pytest.mark.parametrize(("backbone", "first", "last"), [
    ("resnet18", ["backbone.encoder.conv1.weight", "backbone.encoder.bn1.weight"], "backbone.encoder.layer4.1"),
    ("mobilenetv2_100", ["backbone.encoder.conv_stem.weight", "backbone.encoder.bn1.bias"],
     "backbone.encoder.blocks.6"),
])
def test_layers_are_counted_from_the_image(backbone: str, first: list[str], last: str) -> None:
    layers = backbone_layers(network(backbone))
    assert [layers[name] for name in first] == [0, 0]
    top = max(layers.values())
    assert all(layer == top for name, layer in layers.items() if name.startswith(last))
    assert sorted(set(layers.values())) == list(range(top + 1))


def test_the_rate_falls_by_layer_and_by_the_backbones_factor() -> None:
    net = network("resnet18")
    settings = Optimiser(learning_rate=1.0, backbone_rate=0.5, layer_decay=0.1)
    rows = groups(make_optimiser(settings, net), net)
    assert rows["head.weight"]["rate"] == 1
    # layer4 is the last of five layers (stem, layer1 to layer4), one step below the decoder.
    assert rows["backbone.encoder.layer4.0.conv1.weight"]["rate"] == pytest.approx(0.5 * 0.1)
    assert rows["backbone.encoder.layer3.0.conv1.weight"]["rate"] == pytest.approx(0.5 * 0.01)
    assert rows["backbone.encoder.conv1.weight"]["rate"] == pytest.approx(0.5 * 1e-5)


def test_sgd_has_nesterovs_momentum() -> None:
    optimiser = make_optimiser(Optimiser("sgd", momentum=0.8), network("resnet18"))
    assert isinstance(optimiser, torch.optim.SGD)
    assert optimiser.defaults["momentum"] == 0.8
    assert optimiser.defaults["nesterov"]
