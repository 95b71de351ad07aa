"""What tests of several areas share: a small model of each method with random weights, and recordings.

In a recording image k is filled with the value k and taken at 1000 s + k / 10.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rosbags.rosbag2 import StoragePlugin, Writer

from panoptic_ros.bags.types import bag_types, bag_typestore
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.engines.cache import FOLDER_VARIABLE
from panoptic_ros.messages import camera_image_message
from panoptic_ros.methods import METHODS, dense_detections, hle
from panoptic_ros.model import Model, load_model, save_model
from panoptic_ros.perception import Perception

START_NS = 1_000_000_000_000
STEP_NS = 100_000_000
EXAMPLE_METHOD = Path(__file__).parent / "example_method.py"


@pytest.fixture(scope="session", autouse=True)
def _own_engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterable[None]:
    """Compiled networks of the tests, and of the processes that they start, stay out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(tmp_path_factory.mktemp("engine_cache")))
        yield


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
    thresholds = hle.Thresholds(seed=0.05, stuff=0.05, max_instances=20)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(Model("hle", hyperparameters, network, classes, (64, 128), network.mean, network.std, thresholds, "",
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
    thresholds = dense_detections.Thresholds(score=0.2, nms_iou=0.3, mask=0.05, mask_score="iou", max_instances=20)
    folder = tmp_path_factory.mktemp("models") / "dense"
    save_model(Model("dense_detections", hyperparameters, network, classes, (64, 128), network.mean, network.std,
                     thresholds, "", {}), folder)
    return folder


@pytest.fixture
def example_method(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Has the method of docs/add_a_method.md in this process; returns the names of `example_method.py`."""
    names = runpy.run_path(str(EXAMPLE_METHOD))
    names["add_example_method"](monkeypatch.setitem)
    return names


@pytest.fixture(scope="session")
def depth_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder for 64 x 128 images of the method of docs/add_a_method.md, which predicts depth; untrained.

    It can be loaded where `example_method` is.
    """
    torch.manual_seed(1)
    folder, classes = tmp_path_factory.mktemp("models") / "depth", load_class_table("cityscapes")
    names = runpy.run_path(str(EXAMPLE_METHOD))
    with pytest.MonkeyPatch.context() as patch:
        hyperparameters = names["add_example_method"](patch.setitem)
        method = METHODS[names["NAME"]]
        network = method.network(hyperparameters, classes.is_thing).eval()
        # The outputs of an untrained network hardly differ over an image: spread them.
        with torch.no_grad():
            network.head.weight.mul_(20)
        save_model(Model(names["NAME"], hyperparameters, network, classes, (64, 128), network.mean, network.std,
                         method.thresholds(), "", {}), folder)
    return folder


@pytest.fixture
def predicted_depth(depth_model: Path, example_method: dict[str, Any]) -> Callable[..., np.ndarray]:
    """`predicted_depth(pixels, encoding="bgr8")`: the depth (H, W) that `depth_model` sees in an image."""
    perception = Perception(load_model(depth_model), "torch", "cpu")

    def predict(pixels: np.ndarray, encoding: str = "bgr8") -> np.ndarray:
        (frame,) = perception([CameraImage(pixels, encoding)])
        assert frame.depth is not None
        return frame.depth

    return predict


@pytest.fixture
def numbered_image() -> Callable[..., CameraImage]:
    def make(k: int, height: int = 64, width: int = 128, encoding: str = "bgr8") -> CameraImage:
        channels = {"mono8": 1, "bgr8": 3}[encoding]
        pixels = np.full((height, width, channels), k % 256, np.uint8)
        return CameraImage(pixels, encoding, START_NS + k * STEP_NS, "camera", "front_optical")

    return make


@pytest.fixture
def write_bag(numbered_image: Callable[..., CameraImage]) -> Callable[..., Path]:
    """`write_bag(path, messages, compress=False)`: messages are (topic, message), 10 numbered images if not given."""

    def write(path: Path, messages: Iterable[tuple[str, Any]] | None = None, compress: bool = False) -> Path:
        given = messages if messages is not None else [
            ("/front/image", camera_image_message(numbered_image(k), bag_types())) for k in range(10)]
        with BagWriter(path, compress) as bag:
            for k, (topic, message) in enumerate(given):
                bag.write(topic, message, START_NS + k * STEP_NS)
        return path

    return write


@pytest.fixture
def write_sqlite_bag(numbered_image: Callable[..., CameraImage]) -> Callable[..., Path]:
    """A rosbag2 folder with a .db3 file of numbered images."""

    def write(path: Path, count: int = 10, **size: int) -> Path:
        store, types = bag_typestore(), bag_types()
        with Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as bag:
            connection = bag.add_connection("/front/image", "sensor_msgs/msg/Image", typestore=store)
            for k in range(count):
                message = camera_image_message(numbered_image(k, **size), types)
                bag.write(connection, START_NS + k * STEP_NS, store.serialize_cdr(message, message.__msgtype__))
        return path

    return write
