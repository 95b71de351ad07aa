"""The network of dense detections: what it puts out, for which hyper-parameters, and in which engine."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from panoptic_ros.engines import build_engine
from panoptic_ros.errors import InputError
from panoptic_ros.methods.dense_detections import Hyperparameters, Network, Thresholds, decode
from panoptic_ros.networks.feature_pyramid import level_sizes, upsample

TINY = {"backbone": "resnet10t", "channels": 16, "box_channels": 24, "class_channels": 16, "tower_depth": 1}
IS_THING = [False, True, True, False]
# Whether there are two towers and levelness.
VARIANTS = [(True, True), (False, True), (True, False), (False, False)]


def network(two_towers: bool = True, levelness: bool = True, is_thing: list[bool] = IS_THING,
            finest_stride: int = 8) -> Network:
    torch.manual_seed(0)
    return Network(Hyperparameters(**TINY, two_towers=two_towers, levelness=levelness, finest_stride=finest_stride),
                   is_thing).eval()


@pytest.mark.parametrize(("two_towers", "levelness"), VARIANTS)
def test_outputs_have_their_shapes_also_where_levels_are_rounded_up(two_towers: bool, levelness: bool) -> None:
    with torch.no_grad():
        outputs = network(two_towers, levelness)(torch.randn(2, 3, 96, 160))
    locations = 12 * 20 + 6 * 10 + 3 * 5 + 2 * 3 + 1 * 2
    assert outputs["semantic_logits"].shape == (2, 4, 12, 20)
    assert outputs["class_logits"].shape == (2, 2, locations)
    assert outputs["offsets"].shape == (2, 4, locations)
    assert (outputs["offsets"] > 0).all()
    assert outputs["centerness"].shape == (2, locations)
    assert ("levelness" in outputs) == levelness
    assert not levelness or outputs["levelness"].shape == (2, 6, 24, 40)


def test_finer_levels_describe_the_image_as_the_paper_s_describe_one_of_twice_its_size() -> None:
    fine, paper = network(finest_stride=4), network()
    with torch.no_grad():
        outputs, larger = fine(torch.randn(2, 3, 64, 96)), paper(torch.randn(2, 3, 128, 192))
    assert outputs.pop("appearance").shape[2:] == (8, 12)
    assert larger.pop("appearance").shape[2:] == (16, 24)
    assert {name: x.shape for name, x in outputs.items()} == {name: x.shape for name, x in larger.items()}
    # The encoder's own maps reach to stride 32: four levels take theirs, one is made of the last.
    assert (len(fine.pyramid.lateral), len(fine.pyramid.coarser)) == (4, 1)
    assert (len(paper.pyramid.lateral), len(paper.pyramid.coarser)) == (3, 2)
    torch.testing.assert_close(fine.scales, paper.scales)


@pytest.mark.parametrize("finest_stride", [2, 16])
def test_other_strides_of_the_first_level_are_refused(finest_stride: int) -> None:
    with pytest.raises(InputError, match=f"finest_stride is {finest_stride}; it must be 4 or 8"):
        Hyperparameters(finest_stride=finest_stride)


@pytest.mark.parametrize(("two_towers", "levelness", "finest_stride"),
                         [(*variant, 8) for variant in VARIANTS] + [(True, True, 4)])
def test_openvino_agrees_with_torch_and_both_decode(two_towers: bool, levelness: bool, finest_stride: int) -> None:
    pytest.importorskip("openvino")
    net = network(two_towers, levelness, finest_stride=finest_stride)
    openvino, reference = build_engine(net, "openvino", precision="single"), build_engine(net, "torch", "cpu", "single")
    for shape in ((1, 3, 64, 128), (2, 3, 96, 160)):
        image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        outputs, expected = openvino(image), reference(image)
        assert outputs.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(outputs[name], expected[name], atol=1e-3, rtol=1e-3)
        found = decode(outputs, torch.tensor(IS_THING), Thresholds(score=0.01), (shape[2], shape[3]))
        assert found.segment_map.shape == (shape[0], *shape[2:])
        assert sum(map(len, found.segments)) > 0


def test_levelness_equals_one_convolution_over_all_upsampled_towers() -> None:
    net, image = network(), torch.randn(1, 3, 96, 160)
    with torch.no_grad():
        towers = [net.box_tower(level) for level in net.pyramid(net.backbone(image))]
        stacked = torch.cat([upsample(x, 2 ** (i + 1), (24, 40)) for i, x in enumerate(towers)], 1)
        torch.testing.assert_close(net(image)["levelness"], net.levelness(stacked), atol=1e-5, rtol=1e-4)


def test_boxes_begin_at_two_strides() -> None:
    with torch.no_grad():
        offsets = network()(torch.zeros(1, 3, 64, 128))["offsets"][0].mean(0)
    starts = torch.tensor([rows * columns for rows, columns in level_sizes(8, 16)]).cumsum(0)
    levels = [part.mean().item() for part in offsets.tensor_split(starts[:-1])]
    assert levels == pytest.approx([16, 32, 64, 128, 256], rel=0.3)


def test_the_class_table_decides_what_there_is() -> None:
    image = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        assert set(network(is_thing=[False] * 3)(image)) == {"semantic_logits", "appearance"}
        assert network(is_thing=[True] * 3)(image)["class_logits"].shape[1] == 3


def test_upsampling_keeps_places_where_a_level_was_rounded_up() -> None:
    # 5 columns of stride 2 are 3 of stride 4, cropped from 6: the value of a cell is its coordinate.
    coarse = (torch.arange(3.0) * 2 + 0.5).expand(1, 1, 3, 3)
    assert upsample(coarse, 2, (5, 5))[0, 0, 0].tolist() == [0.5, 1, 2, 3, 4]
    stretched = F.interpolate(coarse, (5, 5), mode="bilinear", align_corners=False)
    assert not torch.allclose(stretched, upsample(coarse, 2, (5, 5)))


def test_the_paper_s_network_has_towers_of_256_and_128_channels_and_the_simplified_head_one() -> None:
    def count(**changes: bool) -> int:
        net = Network(Hyperparameters("resnet18", **changes), IS_THING)
        return sum(p.numel() for name, p in net.named_parameters() if "tower" in name)

    def tower(inputs: int, channels: int) -> int:
        return 9 * inputs * channels + 3 * 9 * channels**2 + 4 * 3 * channels

    assert count() == tower(256, 256) + tower(256, 128)
    assert count(two_towers=False) == tower(256, 256)


def test_widths_that_groups_do_not_divide_are_refused() -> None:
    with pytest.raises(InputError, match="box_channels is 20"):
        Hyperparameters(box_channels=20)


def test_offsets_are_bounded() -> None:
    net = network()
    with torch.no_grad():
        net.box.bias.fill_(1000)  # type: ignore[union-attr]
        offsets = net(torch.zeros(1, 3, 64, 64))["offsets"]
    assert offsets.max().item() == pytest.approx(10_000, rel=1e-3)
    assert math.isfinite(offsets.sum())
