"""Whatever is published in the place of the camera: the node says what mends it, once, or takes it."""

from __future__ import annotations

import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from panoptic_ros.msg import PanopticSegmentArray

MakeImage = Callable[..., Image]


def compressed(image: Image) -> CompressedImage:
    pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
    _, png = cv2.imencode(".png", pixels)
    return CompressedImage(header=image.header, format="png", data=array.array("B", png.tobytes()))


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Any], model_folder: Path) -> Any:
    """A node that takes raw images from /cam; each test deactivates and activates it."""
    reliable = {"qos_overrides./cam.subscription.reliability": "reliable", "qos_overrides./cam.subscription.depth": 10}
    running = start_node(("-r", "image:=/cam"), model=str(model_folder), autostart=False, stale_after=0.5, **reliable)
    assert running.participant.transition("configure")
    return running


@pytest.fixture
def active(node: Any) -> Any:
    assert node.participant.transition("activate")
    yield node
    assert node.participant.transition("deactivate")


@pytest.fixture
def publisher(node: Any) -> Any:
    """Create publishers that go with the test."""
    made: list[Any] = []

    def create(kind: type, topic: str, profile: Any = 1) -> Any:
        made.append(node.participant.node.create_publisher(kind, topic, profile))
        return made[-1]

    yield create
    for one in made:
        node.participant.node.destroy_publisher(one)


@pytest.mark.parametrize(("kind", "topic", "told"), [
    (CompressedImage, "/cam", "/cam is a sensor_msgs/msg/CompressedImage, not a sensor_msgs/msg/Image: set the "
                              "parameter transport to auto"),
    (CompressedImage, "/cam/compressed", "but /cam/compressed is published: set the parameter transport to compressed"),
    (Header, "/cam", "/cam is a std_msgs/msg/Header, not a sensor_msgs/msg/Image: remap it with -r image:="),
    (Image, "/other/image_raw", "nobody publishes /cam: start the camera, or remap it with -r image:=/other/image_raw; "
                                "images are on /other/image_raw"),
])
def test_what_is_wrong_with_the_topic_is_told_with_what_mends_it_once(
        active: Any, publisher: Any, kind: type, topic: str, told: str) -> None:
    publisher(kind, topic)
    active.wait_for(lambda: told in active.message("camera"), f"the diagnostics to say: {told}")
    for _ in range(2):
        active.fresh_diagnostics()
    assert active.process.log().count(told) == 1


def test_a_qos_that_does_not_fit_is_told_with_its_parameter(
        start_node: Callable[..., Any], model_folder: Path) -> None:
    name = "qos_overrides./image.subscription.reliability"
    node = start_node(model=str(model_folder), stale_after=0.5, **{name: "reliable"})
    node.wait_for(lambda: node.state() == "active", "the node to be active")
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.VOLATILE)
    node.participant.node.create_publisher(Image, "/image", best_effort)
    node.wait_for(lambda: "qos_overrides./image.subscription" in node.message("camera"), "the QoS to be named")
    assert "(Best effort publisher and reliable subscription)" in node.message("camera")


def test_an_encoding_that_is_not_read_is_told_once_and_each_image_counted(
        active: Any, publisher: Any, make_image: MakeImage) -> None:
    segments = active.subscribe(PanopticSegmentArray, "panoptic/segments")
    images = publisher(Image, "/cam", 10)
    active.wait_for(images.get_subscription_count, "the node to subscribe")
    before = active.count("dropped: invalid image")
    for k in range(4):
        images.publish(make_image((5, k), encoding="32FC1"))
        active.wait_for(lambda k=k: active.count("dropped: invalid image") == before + k + 1, "it to be counted")
    assert active.process.log().count("is depth, not a camera's colours: choose the topic") == 1
    images.publish(make_image((6, 0)))
    active.wait_for(lambda: segments, "a good image to be taken")


def test_with_transport_auto_what_is_published_is_taken_whenever_it_comes(
        node: Any, publisher: Any, make_image: MakeImage) -> None:
    assert node.participant.transition("cleanup")
    assert "auto" not in node.set_parameter("transport", "auto")
    assert node.participant.transition("configure")
    assert node.participant.transition("activate")
    node.wait_for(lambda: node.values("camera"), "diagnostics of the camera")
    segments = node.subscribe(PanopticSegmentArray, "panoptic/segments")
    for number, (kind, topic, make) in enumerate([
            (CompressedImage, "/cam/compressed", compressed), (CompressedImage, "/cam", compressed)]):
        images = node.participant.node.create_publisher(kind, topic, 10)
        node.wait_for(images.get_subscription_count, f"the node to subscribe to {topic}")
        message, seen = make(make_image((10 + number, 0))), len(segments)

        def is_answered(images: Any = images, message: Any = message, seen: int = seen) -> bool:
            images.publish(message)
            return len(segments) > seen

        node.wait_for(is_answered, f"results of {topic}")
        node.participant.node.destroy_publisher(images)
        del images, is_answered
    assert node.participant.transition("deactivate")
    assert node.participant.transition("cleanup")


def test_synchronised_cameras_need_to_know_their_transport(node: Any) -> None:
    assert node.set_parameter("cameras", ["left", "right"]) == ""
    assert "needs transport raw or compressed" in node.set_parameter("approximate_sync", True)
