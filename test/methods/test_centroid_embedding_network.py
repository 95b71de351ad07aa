"""Centroid embedding's network: encoders of both kinds, heads, sizes, and what a bad size is told."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from panoptic_ros.engines import build_engine
from panoptic_ros.errors import InputError
from panoptic_ros.methods.centroid_embedding import Hyperparameters, Network
from panoptic_ros.methods.centroid_embedding.network import from_own_position, own_position
from panoptic_ros.methods.centroid_embedding.positions import cell_centers, positional_embedding

IS_THING = (False, True, True)
SMALL = Hyperparameters("test_efficientnet", decoder_channels=8, grid=(6, 7))
VIT = Hyperparameters("test_vit", (1, 2, 3, 4), 8)


@torch.no_grad()
def outputs_of(hyperparameters: Hyperparameters, size: tuple[int, int],
               is_thing: tuple[bool, ...] = IS_THING) -> dict[str, Tensor]:
    network: Any = Network(hyperparameters, is_thing).eval()
    outputs: dict[str, Tensor] = network(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)))
    return outputs


def test_a_convolutional_encoder_gives_half_the_image_s_size() -> None:
    outputs = outputs_of(SMALL, (64, 96))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "class_logits": (2, 3, 32, 48), "centroid": (2, 16, 32, 48), "depth": (2, 1, 32, 48),
        "appearance": (2, 32, 8, 12)}


def test_a_transformer_gives_eight_cells_a_patch_at_any_multiple_of_it_also_in_another_engine() -> None:
    pytest.importorskip("openvino")
    network: Any = Network(VIT, IS_THING).eval()
    patch = network.stride
    engine = build_engine(network, "openvino", precision="single")
    for rows, columns in ((3, 5), (10, 4)):
        image = torch.randn(1, 3, rows * patch, columns * patch, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = network(image)
        assert tuple(expected["class_logits"].shape[2:]) == (8 * rows, 8 * columns)
        for name, output in engine(image).items():
            # The encoder's features are an order of magnitude larger than what is made of them.
            tolerance = 1e-2 if name == "appearance" else 1e-3
            torch.testing.assert_close(output, expected[name], atol=tolerance, rtol=tolerance, msg=name)


def test_dinov2_s_patches_of_14_pixels_give_eight_fourteenths_of_the_image_s_size() -> None:
    outputs = outputs_of(Hyperparameters("vit_small_patch14_dinov2", (3, 6, 9, 12), 8), (42, 70))
    assert tuple(outputs.pop("appearance").shape[2:]) == (3, 5)
    assert {tuple(output.shape[2:]) for output in outputs.values()} == {(24, 40)}


@pytest.mark.parametrize("hyperparameters", [SMALL, VIT])
def test_a_size_that_is_no_multiple_of_the_stride_is_refused_with_the_stride(hyperparameters: Hyperparameters) -> None:
    network: Any = Network(hyperparameters, IS_THING)
    with pytest.raises(InputError, match=rf"70 x 64 pixels; both sides must be multiples of {network.stride}"):
        network(torch.zeros(1, 3, 70, 64))


@pytest.mark.parametrize(("changes", "shapes"), [
    ({"harmonics": 3, "depth": "none"}, {"class_logits": 3, "centroid": 12}),
    ({"encoding": "direct", "depth": "relative"}, {"class_logits": 3, "centroid": 3, "disparity": 1}),
    ({"encoding": "cross_entropy"}, {"class_logits": 3, "centroid": 6 + 7 + 2, "depth": 1}),
])
def test_heads_are_those_of_the_encoding_and_of_the_kind_of_depth(changes: dict[str, Any],
                                                                  shapes: dict[str, int]) -> None:
    outputs = outputs_of(dataclasses.replace(SMALL, **changes), (64, 64))
    assert {name: output.shape[1] for name, output in outputs.items()} == {**shapes, "appearance": 32}


def test_a_table_without_things_has_no_centroids() -> None:
    assert outputs_of(SMALL, (64, 64), (False, False)).keys() == {"class_logits", "depth", "appearance"}


def test_depth_is_between_a_millimetre_and_the_largest_whatever_the_head_says() -> None:
    network: Any = Network(dataclasses.replace(SMALL, max_depth=80.0), IS_THING).eval()
    for bias, expected in ((-200.0, 1e-3), (200.0, 80.0)):
        with torch.no_grad():
            network.depth_head.weight.zero_()
            network.depth_head.bias.fill_(bias)
            depth = network(torch.zeros(1, 3, 64, 64))["depth"]
        torch.testing.assert_close(depth, torch.full_like(depth, expected))


@pytest.mark.parametrize(("changes", "message"), [
    ({"encoding": "polar"}, "encoding is 'polar'"), ({"depth": "yes"}, "depth is 'yes'"),
    ({"harmonics": 0}, "harmonics is 0"), ({"grid": (1, 80)}, "grid is 1 x 80"),
    ({"max_depth": 0.0}, "max_depth is 0.0"), ({"focal_length": -1.0}, "focal_length is -1.0"),
])
def test_hyper_parameters_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(SMALL, **changes)


def test_blocks_that_the_transformer_does_not_have_are_refused() -> None:
    with pytest.raises(InputError, match="takes 4 from 1 to"):
        Network(dataclasses.replace(VIT, blocks=(5, 12, 18, 24)), IS_THING)


def test_pixels_know_their_positions() -> None:
    x, y = own_position(torch.zeros(2, 3, 5, 7))
    assert (x.shape, y.shape) == ((1, 1, 7), (1, 5, 1))
    torch.testing.assert_close(x.flatten(), cell_centers(7))
    torch.testing.assert_close(y.flatten(), cell_centers(5))


@pytest.mark.parametrize("harmonics", [3, 4])
def test_the_embedding_of_the_way_to_a_centroid_becomes_that_of_where_it_is(harmonics: int) -> None:
    centroid = torch.tensor([0.3, -0.55])
    x, y = own_position(torch.zeros(1, 1, 5, 7))
    way = [centroid[0] - x.expand(1, 5, 7), centroid[1] - y.expand(1, 5, 7)]
    from_pixel = torch.cat([positional_embedding(along, harmonics) for along in way], 3).permute(0, 3, 1, 2)
    expected = positional_embedding(centroid, harmonics).flatten()[None, :, None, None].expand(1, -1, 5, 7)
    torch.testing.assert_close(from_own_position(from_pixel, "positional"), expected, atol=1e-5, rtol=0)
    # Shorter ones keep their length, and void is void.
    torch.testing.assert_close(from_own_position(0.3 * from_pixel, "positional"), 0.3 * expected, atol=1e-5, rtol=0)
    assert not from_own_position(0 * from_pixel, "positional").any()


def test_the_way_to_a_centroid_in_colours_becomes_where_it_is_as_far_as_there_is_an_object() -> None:
    x, y = ((along + 1) / 2 for along in own_position(torch.zeros(1, 1, 5, 7)))
    blue = torch.ones(1, 5, 7)
    way = torch.stack([0.3 - x.expand(1, 5, 7), 0.8 - y.expand(1, 5, 7), blue], 1)
    expected = torch.tensor([0.3, 0.8, 1.0])[None, :, None, None].expand(1, -1, 5, 7)
    torch.testing.assert_close(from_own_position(way, "direct"), expected)
    assert not from_own_position(0 * way, "direct").any()


def test_what_a_convolutional_network_says_of_centroids_depends_on_where_it_sees_them() -> None:
    for encoding in ("positional", "direct", "cross_entropy"):
        torch.manual_seed(0)
        network: Any = Network(dataclasses.replace(SMALL, encoding=encoding), IS_THING).eval()
        with torch.no_grad():
            centroid = network(torch.zeros(1, 3, 64, 512))["centroid"]
        left, right = centroid[..., 80], centroid[..., 176]  # far from the edges, and as stride 32 goes the same pixel
        assert (left - right).abs().max() > 1e-3, encoding
