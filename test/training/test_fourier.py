"""Fourier amplitude augmentation: what it takes from unlabelled images, and what it leaves."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from panoptic_ros.errors import InputError
from training.augmentation import Augmentation, as_sample
from training.fourier import FourierAmplitude, blend_amplitudes


@pytest.fixture
def red(tmp_path: Path) -> Path:
    """A folder with one image, all of it (200, 40, 40)."""
    cv2.imwrite(str(tmp_path / "red.png"), np.full((50, 90, 3), (40, 40, 200), np.uint8))
    return tmp_path


def test_without_reach_the_mean_alone_is_taken() -> None:
    image = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 100
    changed = blend_amplitudes(image, torch.full((3, 32, 48), 150.0), 0.0, 1.0)
    assert torch.allclose(changed.mean((-2, -1)), torch.tensor(150.0), atol=1e-3)
    assert torch.allclose(changed - changed.mean((-2, -1), True), image - image.mean((-2, -1), True), atol=1e-3)


def test_low_frequencies_take_the_amplitude_and_high_ones_stay() -> None:
    x = torch.arange(64) * 2 * torch.pi
    slow, fast = torch.cos(x / 64), torch.cos(x / 4)  # 1 / 64 and 1 / 4 cycles per pixel
    image = (100 + 10 * slow + 5 * fast).expand(1, 3, 64, 64)
    reference = (100 + 30 * slow + 50 * fast).expand(3, 64, 64)
    expected = (100 + 20 * slow + 5 * fast).expand(1, 3, 64, 64)
    assert torch.allclose(blend_amplitudes(image, reference, 0.02, 0.5), expected, atol=1e-3)


def test_samples_take_the_colour_of_a_picture_in_the_folder_and_keep_their_labels(red: Path) -> None:
    torch.manual_seed(0)
    shape = (1, 64, 96)
    class_map = np.random.default_rng(0).integers(0, 19, shape).astype(np.uint8)
    transform = Augmentation(crop=(64, 96), scale=(1.0, 1.0), flip=0.0, brightness=0, contrast=0, saturation=0, hue=0,
                             fourier_images=str(red), fourier_share=1.0).transform()
    transform = pickle.loads(pickle.dumps(transform))  # as a process that makes samples gets it
    means = []
    for _ in range(8):
        sample = transform(as_sample(np.full((*shape, 3), 100, np.uint8), class_map, np.zeros(shape, np.int32)))
        assert torch.equal(sample["class_map"], torch.from_numpy(class_map))
        means.append(sample["image"].float().mean((0, 2, 3)).tolist())
    # Between the image's own (100, 100, 100) and the picture's (200, 40, 40), by a weight of its own each time.
    weight = (np.array(means) - 100) / [100, -60, -60]
    assert np.ptp(weight, axis=1).max() < 0.02
    assert weight.min() >= 0
    assert np.ptp(weight[:, 0]) > 0.3


def test_the_share_says_how_many_samples_are_changed(red: Path) -> None:
    torch.manual_seed(1)
    transform = FourierAmplitude(red, 0.3, 0.0)
    sample = {"image": torch.full((1, 3, 32, 32), 100, dtype=torch.uint8)}
    changed = [not torch.equal(transform(sample)["image"], sample["image"]) for _ in range(200)]
    assert 0.2 < np.mean(changed) < 0.4


def test_videos_give_frames(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(5):
        writer.write(np.full((48, 64, 3), (0, 0, 240), np.uint8))
    writer.release()
    image = FourierAmplitude(tmp_path, 1.0, 0.0)({"image": torch.zeros(1, 3, 32, 32, dtype=torch.uint8)})["image"]
    assert image[:, 0].float().mean() > 10 * image[:, 2].float().mean()


def test_a_folder_without_images_is_refused_with_the_name_of_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fourier_images"):
        Augmentation(fourier_images=str(tmp_path)).transform()


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        FourierAmplitude(tmp_path, 1.0, 0.0)({"image": torch.zeros(1, 3, 32, 32, dtype=torch.uint8)})
