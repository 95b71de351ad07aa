"""Convolutional encoders and vision transformers behind one interface."""

from __future__ import annotations

import pytest
import timm
import torch

from panoptic_ros.engines import build_engine
from panoptic_ros.errors import InputError
from panoptic_ros.networks.backbones import Backbone
from panoptic_ros.networks.panoptic_network import PanopticNetwork


@pytest.mark.parametrize(("name", "strides", "output_stride"), [
    ("resnet10t", (4, 32), None), ("resnet10t", (4, 8, 16, 32), None), ("test_efficientnet", (8, 16, 32), None),
    ("tf_efficientnet_lite0", (4, 16), 16), ("hrnet_w18_small", (4, 8, 16, 32), None), ("xception41", (4, 16), 16)])
def test_a_convolutional_encoder_gives_the_maps_that_are_asked_for(
        name: str, strides: tuple[int, ...], output_stride: int | None) -> None:
    backbone = Backbone(name, strides, output_stride).eval()
    assert backbone.strides == list(strides)
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 96))
    assert [tuple(one.shape) for one in maps] == [
        (1, channels, 64 // stride, 96 // stride) for channels, stride in zip(backbone.channels, strides, strict=True)]
    names = [parameter for parameters in backbone.layers().values() for parameter in parameters]
    assert sorted(names) == sorted(parameter for parameter, _ in backbone.named_parameters())


@pytest.mark.parametrize("size", [(64, 96), (32, 32), (80, 48)])
def test_a_vision_transformer_takes_images_of_any_multiple_of_its_patch(size: tuple[int, int]) -> None:
    backbone = Backbone("test_vit", (16,) * 3).eval()
    assert (backbone.stride, backbone.is_vit) == (16, True)
    with torch.no_grad():
        maps = backbone(torch.randn(2, 3, *size))
    assert [tuple(one.shape) for one in maps] == [(2, backbone.channels[0], size[0] // 16, size[1] // 16)] * 3


def test_a_vision_transformer_gives_maps_after_the_blocks_that_are_asked_for() -> None:
    torch.manual_seed(0)
    whole = Backbone("test_vit", (16,) * 6).eval()  # after each of its blocks
    some = Backbone("test_vit", (16, 16), blocks=(2, 4)).eval()
    missing = some.load_state_dict(whole.state_dict(), strict=False)
    assert not missing.missing_keys
    assert all("blocks.4" in key or "blocks.5" in key for key in missing.unexpected_keys)  # not kept: no map needs them
    image = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        every, chosen = whole(image), some(image)
    assert torch.equal(chosen[0], every[1])
    assert torch.equal(chosen[1], every[3])


def test_patches_of_fourteen_pixels_are_the_stride_of_dinov2() -> None:
    backbone = Backbone("vit_small_patch14_dinov2", (14,) * 4).eval()
    assert backbone.stride == 14
    assert backbone.mean == (0.485, 0.456, 0.406)
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 28, 42))
    assert [tuple(one.shape) for one in maps] == [(1, 384, 2, 3)] * 4


def test_colours_are_normalised_as_the_encoder_s_weights_were_trained_with() -> None:
    assert Backbone("tf_efficientnet_lite0", (32,)).mean == (0.5, 0.5, 0.5)
    assert Backbone("tf_efficientnet_lite0", (32,)).std == (0.5, 0.5, 0.5)
    assert Backbone("resnet10t", (32,)).mean == (0.485, 0.456, 0.406)


def test_a_state_dict_is_what_the_encoder_begins_with() -> None:
    torch.manual_seed(1)
    state = timm.create_model("test_efficientnet").state_dict()
    backbone = Backbone("test_efficientnet", (4, 32), pretrained=state)
    assert torch.equal(backbone.state_dict()["encoder.conv_stem.weight"], state["conv_stem.weight"])
    torch.manual_seed(2)
    assert not torch.equal(Backbone("test_efficientnet", (4, 32)).state_dict()["encoder.conv_stem.weight"],
                           state["conv_stem.weight"])


@pytest.mark.parametrize(("name", "strides", "reason"), [
    ("resnet51", (4, 32), "timm has no backbone 'resnet51'; near are resnet5"),
    ("resnet10t", (4, 64), "has no map at stride 64; it has maps at 2, 4, 8, 16, 32"),
    ("mixer_s32_224", (4, 32), "timm's 'mixer_s32_224' is no backbone|has no map at stride 4")])
def test_an_encoder_that_cannot_be_is_refused_with_the_reason(name: str, strides: tuple[int, ...], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Backbone(name, strides)


def test_blocks_that_a_vision_transformer_has_not_are_refused() -> None:
    with pytest.raises(InputError, match=r"blocks are \[3, 9\]; of 'test_vit' it takes 2 from 1 to 6"):
        Backbone("test_vit", (16, 16), blocks=(3, 9))


def test_openvino_traces_a_vision_transformer_for_each_size_and_gives_what_torch_gives() -> None:
    pytest.importorskip("openvino")

    class Network(PanopticNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = Backbone("test_vit", (16,))
            self.pixel_outputs = frozenset({"features"})

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"features": self.backbone(image)[0]}

    torch.manual_seed(0)
    network = Network().eval()
    openvino, reference = build_engine(network, "openvino", precision="single"), build_engine(network, "torch", "cpu")
    for shape in ((1, 3, 32, 48), (1, 3, 96, 64), (2, 3, 32, 48)):
        image = torch.randn(shape)
        torch.testing.assert_close(openvino(image)["features"], reference(image)["features"], atol=5e-3, rtol=5e-3)
