"""Which parameter learns at which rate."""

from __future__ import annotations

import pytest
import torch

from panoptic_ros.errors import InputError
from panoptic_ros.methods import hle
from panoptic_ros.networks.backbones import Backbone
from panoptic_ros.networks.panoptic_network import PanopticNetwork
from training.optimisers import freeze_layers, make_optimiser
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
    net = network(backbone)
    layers = list(net.layers().values())
    assert set(first) <= set(layers[0])
    assert {name for name, _ in net.named_parameters() if name.startswith(last)} <= set(layers[-2])
    assert layers[-1][-1] == "head.bias"
    assert sorted(name for names in layers for name in names) == sorted(name for name, _ in net.named_parameters())


def test_the_rate_falls_by_layer_and_by_the_backbones_factor() -> None:
    net = network("resnet18")
    settings = Optimiser(learning_rate=1.0, backbone_multiplier=0.5, layer_decay=0.1)
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


def test_the_layers_of_a_vision_transformer_are_its_blocks_and_its_positions_are_not_decayed() -> None:
    net = PanopticNetwork()
    net.backbone = Backbone("test_vit", strides=(16, 16))
    net.head = torch.nn.Linear(2, 2)
    layers = net.layers()
    depth = len(net.backbone.encoder.blocks)
    assert list(layers) == ["stem", *(f"blocks.{i}" for i in range(depth)), "head"]
    assert {"backbone.encoder.pos_embed", "backbone.encoder.cls_token"} <= set(layers["stem"])
    assert "backbone.encoder.norm.weight" in layers[f"blocks.{depth - 1}"]
    rows = groups(make_optimiser(Optimiser(learning_rate=1.0, layer_decay=0.5, weight_decay=0.1), net), net)
    assert rows["backbone.encoder.pos_embed"]["weight_decay"] == 0
    assert rows["backbone.encoder.pos_embed"]["rate"] == pytest.approx(0.5 ** (depth + 1))
    assert rows["head.weight"]["rate"] == 1


def test_frozen_layers_have_no_gradient_and_their_batch_norm_stays_as_it_is() -> None:
    net = network("resnet18").train()
    freeze_layers(net, 2)  # the stem and layer1
    frozen = {name for name, parameter in net.named_parameters() if not parameter.requires_grad}
    assert frozen == set(net.layers()["stem"]) | set(net.layers()["layer1"])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(torch.randn(2, 3, 64, 64))
    changed = {name for name, value in net.state_dict().items()
               if name.endswith("running_mean") and not torch.equal(value, before[name])}
    assert not any(name.startswith(("backbone.encoder.bn1", "backbone.encoder.layer1")) for name in changed)
    assert "backbone.encoder.layer2.0.bn1.running_mean" in changed
    optimised = {id(p) for group in make_optimiser(Optimiser(), net).param_groups for p in group["params"]}
    assert not any(id(parameter) in optimised for name, parameter in net.named_parameters() if name in frozen)


def test_more_layers_than_there_are_below_the_head_cannot_be_frozen() -> None:
    with pytest.raises(InputError, match="freeze is 6, but there are 5 layers below the head: stem, layer1"):
        freeze_layers(network("resnet18"), 6)


def test_parameters_may_have_a_multiplier_of_their_own() -> None:
    net = network("resnet18")
    settings = Optimiser(learning_rate=1.0, backbone_multiplier=0.5,
                         multipliers={"class_": 100.0, "backbone.encoder.bn1": 3.0})
    rows = groups(make_optimiser(settings, net), net)
    assert rows["class_mean"]["rate"] == rows["class_log_sigma"]["rate"] == 100
    assert rows["backbone.encoder.bn1.weight"]["rate"] == 1.5
    assert rows["backbone.encoder.conv1.weight"]["rate"] == 0.5
    assert rows["head.weight"]["rate"] == 1
    with pytest.raises(InputError, match="multipliers names klass_mean, with which no parameter begins; .*class_mean"):
        make_optimiser(Optimiser(multipliers={"klass_mean": 2.0}), net)
