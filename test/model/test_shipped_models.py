"""Models that come with the package: every one loads, finds its way in a street, and is small enough to come along."""

from __future__ import annotations

from pathlib import Path

import pytest

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.datasets import open_dataset
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception

MODELS = Path(__file__).parents[2] / "config" / "models"
LARGEST_FILE = 12_000_000  # bytes


@pytest.mark.parametrize("name", sorted(folder.name for folder in MODELS.iterdir()))
def test_a_shipped_model_finds_road_sky_and_things_in_a_street_it_has_not_seen(name: str) -> None:
    model = load_model(name)
    street = open_dataset("city:600x1")
    [frame] = Perception(model)([CameraImage(street.image(0), "rgb8")])
    truth, found = street.label(0).class_map(), PanopticLabel.of_frame(frame).class_map()
    for surface in ("road", "sky"):
        of_truth, of_found = (classes == model.classes.names.index(surface) for classes in (truth, found))
        assert (of_truth & of_found).sum() / (of_truth | of_found).sum() > 0.8
    assert frame.segments.is_thing.any()
    assert model.training["score"]["on"] == "city, 160 images"
    assert (MODELS / name / "weights.safetensors").stat().st_size < LARGEST_FILE
