"""Images as the network's input: every encoding and layout, on the CPU and as the device does it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from panoptic_ros.camera_image import PIXEL_ENCODINGS, CameraImage
from panoptic_ros.model import Model, load_model
from panoptic_ros.preprocessing import Preprocessor


@pytest.fixture(scope="module")
def model(model_folder: Path) -> Model:
    return load_model(model_folder)


def image_of(height: int, width: int, channels: int) -> np.ndarray:
    """Smooth, so that ways of resizing agree."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 16, width // 16, channels)).astype(np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


@pytest.mark.parametrize("encoding", sorted(PIXEL_ENCODINGS))
def test_each_encoding_is_normalised_red_first(model: Model, encoding: str) -> None:
    image = CameraImage(image_of(*model.input_size, PIXEL_ENCODINGS[encoding]), encoding)
    expected = (image.rgb() / 255.0 - np.array(model.mean)) / np.array(model.std)
    batch = Preprocessor(model, torch.device("cpu"))([image, image])
    assert batch.is_contiguous()
    for one in batch:
        np.testing.assert_allclose(one.permute(1, 2, 0), expected, atol=1e-5)


def test_rows_with_padding_reversed_channels_and_read_only_pixels_are_taken_as_they_are(model: Model) -> None:
    height, width = model.input_size
    plain = image_of(height, width, 3)
    padded = np.zeros((height, width + 7, 3), np.uint8)
    padded[:, :width] = plain
    view = padded[:, :width]
    view.flags.writeable = False
    reversed_twice = np.ascontiguousarray(plain[..., ::-1])[..., ::-1]
    preprocess = Preprocessor(model, torch.device("cpu"))
    expected = preprocess([CameraImage(plain)])
    for pixels in (view, reversed_twice):
        assert torch.equal(preprocess([CameraImage(pixels)]), expected)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("encoding", ["bgr8", "mono8", "rgba8"])
def test_what_the_device_does_is_what_the_cpu_does(model: Model, encoding: str, factor: float) -> None:
    size = [round(factor * side) for side in model.input_size]
    image = CameraImage(image_of(*size, PIXEL_ENCODINGS[encoding]), encoding)
    preprocess = Preprocessor(model, torch.device("cpu"))
    expected, shape = preprocess([image]), model.input_shape(*size)
    # OpenCV rounds to whole levels of 255 when it resizes.
    step = 1.01 / (255 * min(model.std))
    torch.testing.assert_close(preprocess._on_device([image], shape), expected, atol=1e-5 if factor == 1 else step,
                               rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_cuda_it_is_what_the_cpu_does(model: Model) -> None:
    image = CameraImage(image_of(*model.input_size, 3), "bgr8")
    expected = Preprocessor(model, torch.device("cpu"))([image])
    found = Preprocessor(model, torch.device("cuda"))([image])
    torch.testing.assert_close(found.cpu(), expected, atol=1e-5, rtol=0)
