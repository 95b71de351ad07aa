"""What tests of several areas share: a small model of each method, with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from panoptic_ros.classes import load_class_table
from panoptic_ros.methods import dense_detections, hle
from panoptic_ros.model import IMAGENET_MEAN, IMAGENET_STD, Model, save_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder for 64 x 128 images whose untrained HLE network finds something in any image."""
    torch.manual_seed(1)
    hyperparameters = hle.Hyperparameters("mobilenetv2_050", output_stride=32, atrous_rates=(1, 2),
                                          decoder_channels=16)
    classes = load_class_table("cityscapes")
    network = hle.Network(hyperparameters, classes.is_thing).eval()
    # Embeddings and seeds of an untrained network hardly differ over an image: spread them.
    with torch.no_grad():
        network.head.weight.mul_(20)
        network.head.bias[-1] = 1.0
    thresholds = hle.Thresholds(seed=0.05, stuff=0.05, instances=20)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(Model("hle", hyperparameters, network, classes, (64, 128), IMAGENET_MEAN, IMAGENET_STD, thresholds, "",
                     {}), folder)
    return folder


@pytest.fixture(scope="session")
def dense_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder for 64 x 128 images whose untrained network finds things and stuff in any image."""
    torch.manual_seed(1)
    hyperparameters = dense_detections.Hyperparameters("resnet10t", 16, 16, 16, 1)
    classes = load_class_table("cityscapes")
    network = dense_detections.Network(hyperparameters, classes.is_thing).eval()
    with torch.no_grad():
        network.semantics.weight.mul_(200)
        network.box_class.weight.mul_(50)
    thresholds = dense_detections.Thresholds(score=0.2, suppression=0.3, mask=0.05, mask_score="iou", instances=20)
    folder = tmp_path_factory.mktemp("models") / "dense"
    save_model(Model("dense_detections", hyperparameters, network, classes, (64, 128), IMAGENET_MEAN, IMAGENET_STD,
                     thresholds, "", {}), folder)
    return folder
