"""Pseudo labels of relative depth: what a PNG says of a disparity, and what the command makes of a folder."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from panoptic_ros.errors import InputError
from panoptic_ros.image_files import read_depth_image
from training.losses.depth import affine_invariant_loss
from training.pseudo_depth import FARTHEST, load_network, main, predict_disparity, pseudo_depth, write_pseudo_depth

CPU = torch.device("cpu")


def from_brightness(pixels: Tensor) -> Tensor:
    assert pixels.shape[2] % 14 == pixels.shape[3] % 14 == 0
    return pixels.mean(1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    ramp = np.broadcast_to(np.linspace(0, 255, 90).astype(np.uint8)[None, :, None], (60, 90, 3))
    cv2.imwrite(str(folder / "a.png"), ramp)
    cv2.imwrite(str(folder / "more" / "b.jpg"), ramp[:, ::-1])
    return folder


def test_the_inverse_of_the_depth_is_the_disparity_up_to_scale_and_shift() -> None:
    disparity = np.random.default_rng(0).uniform(-3, 40, (30, 40)).astype(np.float32)
    depth = pseudo_depth(disparity) / 256
    assert (depth.min(), depth.max()) == (1, FARTHEST)
    inverse = torch.from_numpy(1 / depth)[None]
    known = torch.ones_like(inverse, dtype=torch.bool)
    assert float(affine_invariant_loss(inverse, torch.from_numpy(disparity)[None].double(), known)) < 0.01


def test_a_flat_disparity_is_unknown_and_one_that_is_not_finite_an_error() -> None:
    assert not pseudo_depth(np.full((3, 4), 2.0)).any()
    with pytest.raises(InputError, match="not finite"):
        pseudo_depth(np.array([[1.0, np.nan]]))


def test_a_disparity_has_the_size_of_the_image() -> None:
    image = np.zeros((50, 110, 3), np.uint8)
    image[:, 55:] = 200
    disparity = predict_disparity(image, from_brightness, CPU, 28)
    assert (disparity.shape, disparity.dtype) == ((50, 110), np.float32)
    assert disparity[:, 80:].min() > disparity[:, :30].max()


def test_every_image_of_a_folder_gets_a_depth_and_a_second_run_does_nothing(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "depth"
    assert write_pseudo_depth(images, out, from_brightness, CPU, 56) == 2
    depth = read_depth_image(out / "a.png")
    assert depth.shape == (60, 90)
    assert (np.diff(depth[30, 5:-5]) <= 0).all()  # brighter is nearer
    assert read_depth_image(out / "more" / "b.png")[30, 5] < 2
    assert write_pseudo_depth(images, out, from_brightness, CPU, 56) == 0


def test_what_cannot_be_read_is_named(images: Path, tmp_path: Path) -> None:
    (images / "c.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"c\.png"):
        write_pseudo_depth(images, tmp_path / "depth", from_brightness, CPU, 56)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no images"):
        write_pseudo_depth(tmp_path / "empty", tmp_path / "depth", from_brightness, CPU)


def test_without_transformers_the_command_says_what_to_install(
        images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert main([str(images), "--out", str(tmp_path / "depth"), "--device", "cpu"]) == 2
    assert "pip install '.[depth]'" in capsys.readouterr().err


def test_depth_anything_of_a_tiny_random_configuration_labels_a_folder(images: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    backbone = transformers.Dinov2Config(hidden_size=32, num_hidden_layers=4, num_attention_heads=2, image_size=28,
                                         patch_size=14, out_features=["stage1", "stage2", "stage3", "stage4"],
                                         apply_layernorm=True, reshape_hidden_states=False)
    config = transformers.DepthAnythingConfig(backbone_config=backbone, reassemble_hidden_size=32, patch_size=14,
                                              neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, head_hidden_size=8)
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(tmp_path / "model")
    network = load_network(str(tmp_path / "model"), CPU)
    assert write_pseudo_depth(images, tmp_path / "depth", network, CPU, 56) == 2
    assert read_depth_image(tmp_path / "depth" / "a.png").shape == (60, 90)
