"""Depth on its way: the focal length that it is scaled by, and the median of each segment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from panoptic_ros.bags.calibration import Calibration
from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.types import bag_types
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.errors import InputError
from panoptic_ros.messages import camera_image_message, header
from panoptic_ros.methods import centroid_embedding
from panoptic_ros.model import Model, load_model, save_model
from panoptic_ros.perception import Perception


def model_of(folder: Path, focal_length: float, depth: Any = "metric") -> Path:
    """An untrained model for 64 x 128 images whose depth differs over an image."""
    torch.manual_seed(0)
    h = centroid_embedding.Hyperparameters("test_efficientnet", decoder_channels=8, grid=(10, 20), max_depth=100.0,
                                           depth=depth, focal_length=focal_length)
    classes = load_class_table("cityscapes")
    network: Any = centroid_embedding.Network(h, classes.is_thing).eval()
    with torch.no_grad():
        network.class_head.weight.mul_(200)
        network.class_head.bias.zero_()
        if depth == "metric":
            network.depth_head.weight.mul_(20)
    save_model(Model("centroid_embedding", h, network, classes, (64, 128), network.mean, network.std,
                     centroid_embedding.Thresholds(), "", {}), folder)
    return folder


def picture(height: int = 64, width: int = 128) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def test_depth_scales_with_the_focal_length_of_the_camera(tmp_path: Path) -> None:
    perception = Perception(model_of(tmp_path / "model", 100.0), "torch", "cpu")
    plain, wide, tele = (perception(CameraImage(picture(), focal_length=f)).depth for f in (None, 50.0, 200.0))
    assert plain is not None
    assert np.ptp(plain) > 0.1
    np.testing.assert_allclose(wide, plain / 2, rtol=1e-5)
    np.testing.assert_allclose(tele, plain * 2, rtol=1e-5)
    # Twice the image, resized to the same input: 200 pixels there are 100 of the input's.
    large = picture().repeat(2, 0).repeat(2, 1)
    known, unknown = (perception(CameraImage(large, focal_length=f)).depth for f in (200.0, None))
    np.testing.assert_allclose(known, unknown, rtol=1e-5)


def test_cameras_of_one_batch_have_their_own_focal_lengths(tmp_path: Path) -> None:
    perception = Perception(model_of(tmp_path / "model", 100.0), "torch", "cpu")
    one, other = perception([CameraImage(picture(), camera="a", focal_length=100.0),
                             CameraImage(picture(), camera="b", focal_length=300.0)])
    assert one.depth is not None
    np.testing.assert_allclose(other.depth, one.depth * 3, rtol=1e-5)


def test_a_model_that_knows_no_focal_length_takes_no_account_of_it(tmp_path: Path) -> None:
    perception = Perception(model_of(tmp_path / "model", 0.0), "torch", "cpu")
    plain, tele = (perception(CameraImage(picture(), focal_length=f)).depth for f in (None, 200.0))
    np.testing.assert_array_equal(plain, tele)
    assert load_model(tmp_path / "model").focal_length == 0
    assert load_model("city").focal_length == 0


@pytest.mark.parametrize("focal_length", [0.0, -5.0, math.nan, math.inf])
def test_a_focal_length_that_cannot_be_is_refused(tmp_path: Path, focal_length: float) -> None:
    perception = Perception(model_of(tmp_path / "model", 100.0), "torch", "cpu")
    with pytest.raises(InputError, match="a focal length is a number of pixels above 0"):
        perception(CameraImage(picture(), focal_length=focal_length))


def test_each_segment_has_the_median_depth_of_its_pixels(tmp_path: Path) -> None:
    perception = Perception(model_of(tmp_path / "model", 100.0), "torch", "cpu")
    frame = perception(CameraImage(picture(), focal_length=70.0))
    assert frame.depth is not None
    segments = list(frame)
    assert len(segments) > 1
    for segment in segments:
        assert segment.depth == pytest.approx(float(np.median(frame.depth[frame.mask(segment)])), rel=1e-6)


def test_without_depth_no_segment_has_one(tmp_path: Path) -> None:
    frame = Perception(model_of(tmp_path / "model", 0.0, "none"), "torch", "cpu")(picture())
    assert (frame.depth, frame.segments.depth) == (None, None)
    assert all(math.isnan(segment.depth) for segment in frame)


def info_of(image: CameraImage, f: float) -> Any:
    k = np.array([[f, 0, 64], [0, f, 32], [0, 0, 1]])
    return Calibration(image.height, image.width, "plumb_bob", np.zeros(5), k, np.eye(3), np.eye(3, 4)).message(
        header(image, bag_types()), bag_types())


def test_a_bag_s_images_have_the_focal_length_of_the_camera_info_beside_them(
        write_bag: Callable[..., Path], numbered_image: Callable[..., CameraImage], tmp_path: Path) -> None:
    images = [numbered_image(k) for k in range(3)]
    messages = [("/front/image", camera_image_message(image, bag_types())) for image in images]
    # The first image is older than the first calibration.
    with_info = [messages[0], ("/front/camera_info", info_of(images[0], 90.0)), *messages[1:]]
    for name, content, expected in (("with", with_info, 90.0), ("without", messages, None),
                                    ("zero", [("/front/camera_info", info_of(images[0], 0.0)), *messages], None),
                                    ("other", [("/rear/camera_info", info_of(images[0], 9.0)), *messages], None)):
        recording = open_recording(write_bag(tmp_path / name, content), ["/front/image"])
        assert [image.focal_length for image in recording.frames()] == [expected] * 3, name
    given = recording.with_focal_length(55.0)
    assert [image.focal_length for image in given.frames()] == [55.0] * 3
    assert replace(given, frames=recording.frames) == recording
