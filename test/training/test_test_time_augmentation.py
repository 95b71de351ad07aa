"""Averaging a network's outputs over mirrored and resized copies of an image."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.engines import build_engine
from panoptic_ros.engines.test_time_augmentation import AugmentedEngine, TestTime
from panoptic_ros.errors import InputError
from panoptic_ros.methods import dense_detections
from panoptic_ros.methods.dense_detections.boxes import absolute_boxes, locations
from panoptic_ros.model import load_model


class PixelNetwork:
    """An engine for a network that looks at every fourth pixel by itself, so that it sees the same in a mirror."""

    name, device, precision = "torch", torch.device("cpu"), "single"

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.calls = 0

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        self.shapes.append(tuple(image.shape[2:]))
        self.calls += 1
        small = F.avg_pool2d(image, 4)
        return {"embedding": F.normalize(small, dim=1), "log_sigma": small[:, :1] - 2, "seed": small[:, 1:2].sigmoid()}


class LeftNetwork(PixelNetwork):
    """Knows the pixels' column: 0, 1, 2 ... from the left, whatever the image."""

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        outputs = super().__call__(image)
        outputs["seed"] = torch.arange(outputs["seed"].shape[3]).expand_as(outputs["seed"]).float()
        return outputs


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("test_time", [TestTime(flip=True), TestTime(scales=(1.0, 1.0, 1.0))])
def test_a_network_that_sees_the_same_in_every_copy_gives_its_plain_output(image: Tensor, test_time: TestTime) -> None:
    plain, averaged = PixelNetwork()(image), AugmentedEngine(PixelNetwork(), "hle", test_time, 32)(image)
    assert averaged.keys() == plain.keys()
    for name in plain:
        torch.testing.assert_close(averaged[name], plain[name], msg=name)


def test_a_mirrored_view_is_turned_round_again(image: Tensor) -> None:
    # Of 24 columns the one numbered k is 23 - k in the mirror: the mean of both is 11.5 everywhere.
    averaged = AugmentedEngine(LeftNetwork(), "hle", TestTime(flip=True), 32)(image)
    assert (averaged["seed"] == 11.5).all()


def test_views_of_every_scale_are_multiples_of_32_and_come_back_to_the_grid_of_the_image(image: Tensor) -> None:
    network = PixelNetwork()
    averaged = AugmentedEngine(network, "hle", TestTime(flip=True, scales=(0.3, 1.0, 1.6)), 32)(image)
    assert network.shapes == [(32, 32)] * 2 + [(64, 96)] * 2 + [(96, 160)] * 2
    assert averaged["embedding"].shape == (2, 3, 16, 24)
    assert averaged["log_sigma"].shape == averaged["seed"].shape == (2, 1, 16, 24)


def test_scales_without_the_image_itself_also_end_on_its_grid(image: Tensor) -> None:
    assert AugmentedEngine(PixelNetwork(), "hle", TestTime(scales=(2.0,)), 32)(image)["seed"].shape == (2, 1, 16, 24)


def test_a_plain_image_looks_the_same_at_every_scale() -> None:
    image = torch.tensor([0.2, -0.4, 0.7]).view(1, 3, 1, 1).expand(1, 3, 64, 96).contiguous()
    plain, averaged = PixelNetwork()(image), AugmentedEngine(
        PixelNetwork(), "hle", TestTime(flip=True, scales=(0.5, 1.0, 1.5)), 32)(image)
    for name in plain:
        torch.testing.assert_close(averaged[name], plain[name], msg=name)


def test_the_evidence_of_two_views_counts_half_each_and_embeddings_stay_of_unit_length(image: Tensor) -> None:
    class Alternating(PixelNetwork):
        def __call__(self, image: Tensor) -> dict[str, Tensor]:
            outputs = super().__call__(image)
            first = self.calls == 1
            outputs["seed"] = torch.full_like(outputs["seed"], 0.2 if first else 0.6)
            axis = torch.tensor([1.0, 0, 0] if first else [0, 1.0, 0])
            outputs["embedding"] = axis.view(1, 3, 1, 1).expand_as(outputs["embedding"])
            return outputs

    averaged = AugmentedEngine(Alternating(), "hle", TestTime(scales=(1.0, 1.0)), 32)(image)
    torch.testing.assert_close(averaged["seed"], torch.full((2, 1, 16, 24), 0.4))
    torch.testing.assert_close(averaged["embedding"][0, :, 3, 4], torch.tensor([0.5**0.5, 0.5**0.5, 0]))


def test_a_real_network_decodes_from_averaged_views(model_folder: Path) -> None:
    model = load_model(model_folder)
    engine = build_engine(model.network, "torch", "cpu", "single")
    image = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    averaged = AugmentedEngine(engine, model.method, TestTime(flip=True, scales=(0.75, 1.0)), 32)(image)
    mirrored = AugmentedEngine(engine, model.method, TestTime(flip=True, scales=(0.75, 1.0)), 32)(image.flip(3))
    for name in ("embedding", "log_sigma", "seed"):
        torch.testing.assert_close(averaged[name], mirrored[name].flip(3), atol=1e-4, rtol=1e-4)
    model.decode(averaged, model.thresholds, (64, 128))


def test_a_recipe_says_which_views(model_folder: Path) -> None:
    assert TestTime.of_training({"test_time": {"flip": True, "scales": [0.75, 1]}}) == TestTime(True, (0.75, 1.0))
    assert not TestTime.of_training({})


@pytest.mark.parametrize("asked", [{"scales": []}, {"scales": [0]}, {"scales": [9]}, {"scales": 1}, {"scales": ["a"]},
                                   {"flips": True}, [0.5]])
def test_views_that_cannot_be_are_an_error_in_words(asked: object) -> None:
    with pytest.raises(InputError, match="scales"):
        TestTime.of_training({"test_time": asked})


def test_a_method_nobody_knows_how_to_average_is_refused() -> None:
    with pytest.raises(InputError, match="not made for 'wavelets'"):
        AugmentedEngine(PixelNetwork(), "wavelets", TestTime(flip=True), 32)


class PlaceNetwork:
    """An engine whose every output says where in the image it was made, in pixels of the image as it sees it."""

    name, device, precision = "torch", torch.device("cpu"), "single"

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        height, width = image.shape[2:]
        location, level = locations(height // 8, width // 8, self.device)
        x, y = location.T
        column = (torch.arange(width // 4) * 4.0 + 2).expand(2, 6, height // 4, -1)
        # Brightness is 0 but in the columns from 40 to 48: the class logit knows of it at every location of stride 8.
        bright = image[:, 0, y.long().clamp(max=height - 1), x.long().clamp(max=width - 1)] * (level == 0)
        return {"semantic_logits": F.avg_pool2d(image, 8), "levelness": column,
                "class_logits": torch.stack([bright, x.expand(2, -1)], 1), "centerness": x.expand(2, -1),
                # The box of every location reaches from 8 to 88 and from 4 to 50 in the image as it is seen.
                "offsets": torch.stack([x - 8, y - 4, 88 - x, 50 - y]).expand(2, 4, -1)}


@pytest.mark.parametrize("width", [96, 128])
def test_offsets_turn_round_in_the_mirror_and_locations_of_every_level_find_their_own(width: int) -> None:
    image = torch.zeros(2, 3, 64, width)
    image[..., 40:48] = 1
    averaged = AugmentedEngine(PlaceNetwork(), "dense_detections", TestTime(flip=True), 32)(image)
    location, level = locations(8, width // 8, torch.device("cpu"))
    assert len(location) == 8 * width // 8 + 4 * width // 16 + 2 * width // 32 + 1 * 2 + 1
    # The mirror image is 128 wide: what its network sees at x is at 128 - x, so that the mean of both is 64.
    assert (averaged["centerness"] == 64).all()
    assert (averaged["class_logits"][:, 1] == 64).all()
    assert (averaged["levelness"] == 64).all()
    assert (averaged["class_logits"][:, 0] == ((location[:, 0] == 44) & (level == 0))).all()
    assert averaged["semantic_logits"].shape == (2, 3, 8, width // 8)
    torch.testing.assert_close(averaged["semantic_logits"][0, 0, 0], (torch.arange(width // 8) == 5).float())
    # 8 to 88 is 40 to 120 in the mirror: the mean is 24 to 104, the same at every location.
    box = absolute_boxes(location, averaged["offsets"])
    assert (box == torch.tensor([24.0, 4, 104, 50])[:, None]).all()


def test_the_levels_of_a_pyramid_take_no_scales() -> None:
    engine = AugmentedEngine(PlaceNetwork(), "dense_detections", TestTime(flip=True, scales=(0.5, 1.0)), 32)
    with pytest.raises(InputError, match=r"scales are \[0.5, 1.0\], but dense detections .* flip alone"):
        engine(torch.zeros(1, 3, 64, 96))


@pytest.mark.parametrize("stride", [4, 8])
def test_a_real_network_of_levels_says_the_same_of_an_image_and_of_its_mirror_image(stride: int) -> None:
    torch.manual_seed(0)
    hyperparameters = dense_detections.Hyperparameters("resnet10t", 16, 16, 16, 1, finest_stride=stride)
    is_thing = [False, True, True]
    network = dense_detections.Network(hyperparameters, is_thing).eval()
    plain = build_engine(network, "torch", "cpu", "single")
    engine = AugmentedEngine(plain, "dense_detections", TestTime(flip=True), 32)
    image = torch.rand(1, 3, 64, 128)
    averaged, mirrored = engine(image), engine(image.flip(3))
    for name in ("semantic_logits", "levelness", "appearance"):
        torch.testing.assert_close(averaged[name], mirrored[name].flip(3), atol=1e-4, rtol=1e-4)
    for name in ("class_logits", "offsets", "centerness"):
        finest = (64 // stride, 128 // stride)
        own, other = (x[name][..., :math.prod(finest)].unflatten(-1, finest) for x in (averaged, mirrored))
        turned = other.flip(-1)[:, [2, 1, 0, 3]] if name == "offsets" else other.flip(-1)
        torch.testing.assert_close(own, turned, atol=1e-3, rtol=1e-3)
    found = dense_detections.decode(averaged, torch.tensor(is_thing), dense_detections.Thresholds(), (64, 128))
    assert found.segment_map.shape == (1, 64, 128)
    # Without things among the classes there are no levels to turn round.
    stuff = dense_detections.Network(hyperparameters, [False, False]).eval()
    engine = AugmentedEngine(build_engine(stuff, "torch", "cpu", "single"), "dense_detections", TestTime(flip=True), 32)
    assert engine(image).keys() == {"semantic_logits", "appearance"}


def test_einet_averages_probabilities_heatmaps_and_embeddings_before_the_peaks(image: Tensor) -> None:
    class SureOfLargeImages(PixelNetwork):
        def __call__(self, image: Tensor) -> dict[str, Tensor]:
            size = (len(image), 1, image.shape[2] // 4, image.shape[3] // 4)
            large = float(image.shape[2] > 64)
            return {"class_logits": torch.cat([torch.zeros(size), torch.full(size, 20 * large)], 1),
                    "heatmap": torch.full(size, 0.2 + 0.6 * large), "embedding": torch.full(size, 3 - 8 * large)}

    averaged = AugmentedEngine(SureOfLargeImages(), "einet", TestTime(scales=(1.0, 2.0)), 32)(image)
    assert averaged["heatmap"].shape == (2, 1, 16, 24)
    torch.testing.assert_close(averaged["heatmap"], torch.full((2, 1, 16, 24), 0.5))
    torch.testing.assert_close(averaged["embedding"], torch.full((2, 1, 16, 24), -1.0))
    # Half and nearly one; of the logits themselves the mean would be 10, which is as good as sure.
    torch.testing.assert_close(averaged["class_logits"].softmax(1)[:, 1], torch.full((2, 16, 24), 0.75))


def test_einets_offsets_point_to_the_same_place_from_every_size_and_from_the_mirror_image(image: Tensor) -> None:
    class PointsAtBright(PixelNetwork):
        """Offsets, x and y in cells, from every cell to the brightest one."""

        def __call__(self, image: Tensor) -> dict[str, Tensor]:
            brightness = F.avg_pool2d(image, 4).mean(1)
            batch, height, width = brightness.shape
            at = brightness.flatten(1).argmax(1)[:, None, None]
            x, y = at % width - torch.arange(width), at // width - torch.arange(height)[:, None]
            return {"offset": torch.stack([t.expand(batch, height, width) for t in (x, y)], 1).float()}

    one = torch.zeros_like(image)
    one[:, :, 16:24, 64:72] = 1.0  # a cell of 4 pixels and its neighbours, which at any size is the brightest
    once = PointsAtBright()(one)["offset"]
    averaged = AugmentedEngine(PointsAtBright(), "einet", TestTime(scales=(1.0, 2.0), flip=True), 32)(one)["offset"]
    assert (averaged - once).abs().max() <= 1.0
