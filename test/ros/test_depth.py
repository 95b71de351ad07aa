"""Depth over DDS: its topic is there for a model that predicts depth and for no other, and a live replay has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo, Image

from panoptic_ros.bags.types import bag_typestore
from panoptic_ros.classes import load_class_table
from panoptic_ros.cli import main
from panoptic_ros.messages import read_depth
from panoptic_ros.methods import centroid_embedding
from panoptic_ros.model import Model, save_model
from panoptic_ros.msg import PanopticSegmentArray
from panoptic_ros.ros.node_process import NODE

DEPTH_TOPIC = f"{NODE}/depth/image"
MakeImage = Callable[..., Image]

pytestmark = pytest.mark.usefixtures("example_nodes")


@pytest.fixture(scope="module")
def node(example_nodes: None, start_node: Callable[..., Any], depth_model: Path) -> Any:
    running = start_node(model=str(depth_model))
    running.wait_for(lambda: running.state() == "active", "the node to be active")
    return running


def publishers_of_depth(node: Any) -> int:
    count: int = node.participant.node.count_publishers(DEPTH_TOPIC)
    return count


def test_depth_has_the_header_of_the_image_and_is_in_metres(
        node: Any, make_image: MakeImage, predicted_depth: Callable[..., np.ndarray]) -> None:
    depths = node.subscribe(Image, "depth/image")
    message = make_image((2_000_000_000, 999_999_999), frame_id="Kamera ü/1")
    depth = node.publish_until_answered(message, depths)
    assert depth.header == message.header
    assert (depth.encoding, depth.height, depth.width, depth.step, depth.is_bigendian) == ("32FC1", 64, 128, 512, 0)
    expected = predicted_depth(np.frombuffer(bytes(message.data), np.uint8).reshape(64, 128, 3))
    np.testing.assert_allclose(read_depth(depth), expected, rtol=1e-3)
    node.wait_for(lambda: node.count("published: depth/image") == len(depths), "the depth to be counted")


def test_the_topic_comes_and_goes_with_the_model(
        node: Any, make_image: MakeImage, depth_model: Path, model_folder: Path) -> None:
    depths, segments = node.subscribe(Image, "depth/image"), node.subscribe(PanopticSegmentArray, "panoptic/segments")
    assert node.set_parameter("model", str(model_folder)) == ""
    node.wait_for(lambda: not publishers_of_depth(node), "the topic to go")
    node.wait_for(lambda: "subscribers: depth/image" not in node.values(), "the diagnostics to say so")
    before = len(depths)
    answer = node.publish_until_answered(make_image((2_000_000_001, 0)), segments)
    assert answer.model_id.startswith("tiny@")
    assert node.set_parameter("model", str(depth_model)) == ""
    node.wait_for(lambda: node.count("subscribers: depth/image"), "the topic to come back")
    depth = node.publish_until_answered(make_image((2_000_000_002, 0)), depths)
    assert len(depths) == before + 1
    assert depth.header.stamp.sec == 2_000_000_002


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "drive"
    folder.mkdir()
    for k in range(6):
        blocks = np.random.default_rng(k // 3).integers(0, 255, (8, 16, 3), np.uint8)
        cv2.imwrite(str(folder / f"{k:03d}.png"), blocks.repeat(16, axis=0).repeat(16, axis=1))
    return folder


def test_a_live_replay_has_the_depth_of_every_frame(
        images: Path, depth_model: Path, predicted_depth: Callable[..., np.ndarray], tmp_path: Path) -> None:
    command = ["replay", str(images), "--live", "--model", str(depth_model), "--engine", "torch"]
    # Images go to the node best effort: how low a rate is low enough depends on what else the machine does.
    for rate in ("0.2", "0.1", "0.02"):
        out = tmp_path / f"at {rate}"
        assert main([*command, "--rate", rate, "--out", str(out)]) == 0
        summary = json.loads((out / "summary.json").read_text())
        if summary["frames_out"] == 6:
            break
    assert (summary["frames_out"], summary["dropped"]) == (6, {})
    assert summary["files"] == ["depth.mp4", "overlay.mp4", "result.mcap", "summary.json"]
    with AnyReader([out / "result.mcap"]) as reader:
        depths = [bag_typestore().deserialize_cdr(cdr, connection.msgtype)
                  for connection, _, cdr in reader.messages() if connection.topic == "/depth/image"]
    assert len(depths) == 6
    for depth, image in zip(depths, sorted(images.iterdir()), strict=True):
        np.testing.assert_allclose(read_depth(depth), predicted_depth(cv2.imread(str(image))), rtol=1e-3)


def calibration(focal_length: float) -> CameraInfo:
    message = CameraInfo(height=64, width=128)
    message.k = np.array([focal_length, 0, 64, 0, focal_length, 32, 0, 0, 1], float)
    return message


def calibrate(node: Any, focal_length: float) -> None:
    """Publish it, as cameras do, until the node has it; one message alone may be lost."""

    def is_known() -> bool:
        node.publish(calibration(focal_length), "/camera_info")
        return bool(node.values().get("focal_length") == (f"{focal_length:.1f}" if focal_length else ""))

    node.wait_for(is_known, "the node to know the focal length")


def test_depth_scales_with_the_focal_length_on_the_camera_info_topic(
        start_node: Callable[..., Any], make_image: MakeImage, tmp_path: Path) -> None:
    torch.manual_seed(0)
    h = centroid_embedding.Hyperparameters("test_efficientnet", decoder_channels=8, max_depth=100.0, focal_length=100.0)
    classes = load_class_table("cityscapes")
    network: Any = centroid_embedding.Network(h, classes.is_thing).eval()
    save_model(Model("centroid_embedding", h, network, classes, (64, 128), network.mean, network.std,
                     centroid_embedding.Thresholds(), "", {}), tmp_path / "model")
    node = start_node(model=str(tmp_path / "model"))
    node.wait_for(lambda: node.state() == "active", "the node to be active")
    depths, segments = node.subscribe(Image, "depth/image"), node.subscribe(PanopticSegmentArray, "panoptic/segments")
    plain = read_depth(node.publish_until_answered(make_image((1, 0)), depths))
    calibrate(node, 50.0)
    half = read_depth(node.publish_until_answered(make_image((2, 0)), depths))
    np.testing.assert_allclose(half, plain / 2, rtol=1e-3)
    node.wait_for(lambda: len(segments) == 2, "the segments")
    for segment in segments[1].segments:
        assert half.min() <= segment.depth <= half.max()
    # Not calibrated: as if there were none.
    calibrate(node, 0.0)
    np.testing.assert_allclose(read_depth(node.publish_until_answered(make_image((3, 0)), depths)), plain, rtol=1e-3)
