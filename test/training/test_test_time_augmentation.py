"""Averaging a network's outputs over mirrored and resized views of an image."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.engines import build_engine
from panoptic_ros.errors import InputError
from panoptic_ros.model import load_model
from training.test_time_augmentation import AveragedViews, TestTime


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
        return {"embedding": F.normalize(small, dim=1), "log_sigma": small[:, :1] - 2, "seed": small[:, 1:2].sigmoid(),
                "class_mean": torch.full((2, 3), float(self.calls)), "class_log_sigma": torch.zeros(2),
                "spatial_log_sigma": torch.zeros(1)}


class LeftNetwork(PixelNetwork):
    """Knows the pixels' column: 0, 1, 2 ... from the left, whatever the image."""

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        outputs = super().__call__(image)
        outputs["seed"] = torch.arange(outputs["seed"].shape[3]).expand_as(outputs["seed"]).float()
        return outputs


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("views", [TestTime(flip=True), TestTime(scales=(1.0, 1.0, 1.0))])
def test_a_network_that_sees_the_same_in_every_view_gives_its_plain_output(image: Tensor, views: TestTime) -> None:
    plain, averaged = PixelNetwork()(image), AveragedViews(PixelNetwork(), "hle", views)(image)
    assert averaged.keys() == plain.keys()
    for name in plain:
        torch.testing.assert_close(averaged[name], plain[name], msg=name)


def test_a_mirrored_view_is_turned_round_again(image: Tensor) -> None:
    # Of 24 columns the one numbered k is 23 - k in the mirror: the mean of both is 11.5 everywhere.
    averaged = AveragedViews(LeftNetwork(), "hle", TestTime(flip=True))(image)
    assert (averaged["seed"] == 11.5).all()


def test_views_of_every_scale_are_multiples_of_32_and_come_back_to_the_grid_of_the_image(image: Tensor) -> None:
    network = PixelNetwork()
    averaged = AveragedViews(network, "hle", TestTime(flip=True, scales=(0.3, 1.0, 1.6)))(image)
    assert network.shapes == [(32, 32)] * 2 + [(64, 96)] * 2 + [(96, 160)] * 2
    assert averaged["embedding"].shape == (2, 3, 16, 24)
    assert averaged["log_sigma"].shape == averaged["seed"].shape == (2, 1, 16, 24)


def test_scales_without_the_image_itself_also_end_on_its_grid(image: Tensor) -> None:
    assert AveragedViews(PixelNetwork(), "hle", TestTime(scales=(2.0,)))(image)["seed"].shape == (2, 1, 16, 24)


def test_a_plain_image_looks_the_same_at_every_scale() -> None:
    image = torch.tensor([0.2, -0.4, 0.7]).view(1, 3, 1, 1).expand(1, 3, 64, 96).contiguous()
    plain, averaged = PixelNetwork()(image), AveragedViews(
        PixelNetwork(), "hle", TestTime(flip=True, scales=(0.5, 1.0, 1.5)))(image)
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

    averaged = AveragedViews(Alternating(), "hle", TestTime(scales=(1.0, 1.0)))(image)
    torch.testing.assert_close(averaged["seed"], torch.full((2, 1, 16, 24), 0.4))
    torch.testing.assert_close(averaged["embedding"][0, :, 3, 4], torch.tensor([0.5**0.5, 0.5**0.5, 0]))


def test_parameters_of_the_network_are_taken_from_one_view(image: Tensor) -> None:
    averaged = AveragedViews(PixelNetwork(), "hle", TestTime(flip=True, scales=(0.5, 1.0)))(image)
    assert (averaged["class_mean"] == 1).all()


def test_a_map_nobody_knows_how_to_average_is_refused(image: Tensor) -> None:
    class WithOffsets(PixelNetwork):
        def __call__(self, image: Tensor) -> dict[str, Tensor]:
            return {**super().__call__(image), "offset": image[:, :2]}

    with pytest.raises(InputError, match="the map 'offset'"):
        AveragedViews(WithOffsets(), "hle", TestTime(flip=True))(image)


def test_a_real_network_decodes_from_averaged_views(model_folder: Path) -> None:
    model = load_model(model_folder)
    engine = build_engine(model.network, "torch", "cpu", "single")
    image = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    averaged = AveragedViews(engine, model.method, TestTime(flip=True, scales=(0.75, 1.0)))(image)
    mirrored = AveragedViews(engine, model.method, TestTime(flip=True, scales=(0.75, 1.0)))(image.flip(3))
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
        AveragedViews(PixelNetwork(), "wavelets", TestTime(flip=True))
