"""Faults of others: killed processes, nonsense messages, files that change, a disk that is full. The node goes on."""

from __future__ import annotations

import array
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import CompressedImage, Image

from benchmarks.random_messages import random_compressed, random_image
from panoptic_ros.msg import PanopticSegmentArray
from panoptic_ros.ros.node_process import NodeProcess, Participant, private_network

MakeImage = Callable[..., Image]
RANDOM_MESSAGES = 400


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Any], model_folder: Path) -> Any:
    """One node for the tests of this file but that which kills it."""
    reliable = {f"qos_overrides./image{ending}.subscription.{policy}": value for ending in ("", "/compressed")
                for policy, value in (("reliability", "reliable"), ("depth", 2 * RANDOM_MESSAGES))}
    running = start_node(model=str(model_folder), stale_after=0.5, **reliable)
    running.wait_for(lambda: running.state() == "active", "the node to be active")
    return running


@pytest.fixture(scope="module")
def segments(node: Any) -> list[PanopticSegmentArray]:
    return node.subscribe(PanopticSegmentArray, "panoptic/segments")


def test_a_node_that_is_killed_goes_on_with_its_tracks(
        model_folder: Path, make_image: MakeImage, tmp_path: Path) -> None:
    file = tmp_path / "tracks.npz"
    parameters = {"model": str(model_folder), "engine": "torch", "tracking.state_file": str(file),
                  "tracking.max_lost": 60.0, "tracking.min_hits": 1}
    ids: list[set[int]] = []
    sent = 0
    for _ in range(2):
        environment = private_network()
        with NodeProcess(parameters, environment) as process, Participant(process, environment) as participant:
            results: list[Any] = []
            participant.subscribe(PanopticSegmentArray, "/panoptic_ros/panoptic/segments", results.append, 100)
            images = participant.node.create_publisher(Image, "/image", 10)
            participant.wait_for(lambda images=images: images.get_subscription_count(), "the node to subscribe")
            was_written = file.exists()

            def is_over(images: Any = images, results: list[Any] = results, was_written: bool = was_written) -> bool:
                nonlocal sent
                sent += 1
                images.publish(make_image((1000, 1_000_000 * sent)))
                time.sleep(0.1)
                return len(results) > 2 and (was_written or file.exists())

            participant.wait_for(is_over, "results, and the first node's tracks to be written")
            ids.append({s.track_id for m in results for s in m.segments if s.track_id})
            assert process.stop(by=signal.SIGKILL) == -signal.SIGKILL
    assert ids[0]
    # The same scene: the objects are known again, and no id is given to another.
    assert ids[1] & ids[0]
    assert all(number in ids[0] or number > max(ids[0]) + 1000 for number in ids[1])


def test_a_publisher_that_is_killed_and_comes_again_is_heard_again(
        node: Any, segments: list[Any], make_image: MakeImage) -> None:
    for number in (1, 2):
        images = node.participant.node.create_publisher(Image, "/image", 10)
        node.wait_for(images.get_subscription_count, "the node to subscribe")
        seen = len(segments)

        def is_answered(images: Any = images, number: int = number, seen: int = seen) -> bool:
            images.publish(make_image((number, 0)))
            return len(segments) > seen and "nobody publishes" not in node.message("camera")

        node.wait_for(is_answered, "a result")
        node.participant.node.destroy_publisher(images)
        node.wait_for(lambda: "nobody publishes /image" in node.message("camera"), "the camera to be missed")
    assert "Images come on /image" in node.process.log()


def test_a_model_whose_files_are_replaced_while_they_are_read_is_whole_or_refused(
        node: Any, segments: list[Any], model_folder: Path, tmp_path: Path, make_image: MakeImage) -> None:
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    weights = (copy / "weights.safetensors").read_bytes()
    for content in (weights[:len(weights) // 2], weights, b"", weights):
        (copy / "weights.safetensors").write_bytes(content)
        assert bool(node.set_parameter("model", str(copy))) == (content != weights)
        node.publish_until_answered(make_image((1, len(segments))), segments)
    assert node.state() == "active"


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_random_messages_are_all_accounted_for(node: Any, segments: list[Any], make_image: MakeImage,
                                               transport: str) -> None:
    for transition in ("deactivate", "cleanup"):
        assert node.participant.transition(transition)
    assert node.set_parameter("transport", transport) == ""
    for transition in ("configure", "activate"):
        assert node.participant.transition(transition)
    node.fresh_diagnostics()
    node.wait_for(lambda: node.count("subscribers: panoptic/segments"), "the node to know who wants segments")
    topic, kind = ("/image", Image) if transport == "raw" else ("/image/compressed", CompressedImage)
    images = node.participant.node.create_publisher(kind, topic, 2 * RANDOM_MESSAGES)
    node.wait_for(lambda: images.get_subscription_count() and node.count("publishers"), "the node to know of us")
    jpeg = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8))[1].tobytes()
    sent = 0

    def send(message: Any) -> None:
        nonlocal sent
        sent += 1
        images.publish(message)

    def is_answered(second: int) -> bool:
        good = make_image((0, 0)) if transport == "raw" else CompressedImage(
            format="jpeg", data=array.array("B", jpeg))
        good.header.stamp.sec = second
        send(good)
        time.sleep(0.2)
        return bool(segments) and segments[-1].header.stamp.sec == second

    # The network is built for the first image: random ones would only wait, each replaced by the next.
    node.wait_for(lambda: is_answered(1_000_000_000), "a result of a good image")
    rng = random.Random(1)
    for _ in range(RANDOM_MESSAGES):
        send(random_image(rng) if transport == "raw" else random_compressed(rng, jpeg))
        time.sleep(0.005)  # so that most of them are looked at and not replaced by the next
    node.wait_for(lambda: is_answered(2_000_000_000), "a result of a good image")

    def accounted() -> bool:
        dropped = sum(int(value) for key, value in node.values().items() if key.startswith("dropped: "))
        return sent == node.count("received") == node.count("processed") + dropped

    node.wait_for(accounted, "results and drops to be as many as the images that were sent")
    # Not how many: that is a matter of time, as one that waits gives way to the next.
    assert node.count("dropped: invalid image") > node.count("processed") > 0
    assert node.state() == "active"
    assert "Traceback" not in node.process.log()
    node.participant.node.destroy_publisher(images)


def test_requests_of_every_kind_do_not_end_the_node(node: Any) -> None:
    rng = random.Random(0)
    for _ in range(20):
        node.participant.call(ChangeState, "change_state", ChangeState.Request(
            transition=Transition(id=rng.choice([1, 2, 3, 4, 9, 50]), label=rng.choice(["", "", "x", "configure"]))))
        name = rng.choice(["model", "max_failures", "thresholds.seed", "use_sim_time", "nothing", "cameras"])
        node.set_parameter(name, rng.choice([-1, "nowhere", True, [1], 1e300, ""]))
    assert node.process.is_running()


def test_where_security_is_enforced_and_cannot_be_had_the_node_does_not_run_without_it(tmp_path: Path) -> None:
    environment = private_network() | {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce",
                                       "ROS_SECURITY_KEYSTORE": str(tmp_path)}
    with NodeProcess({}, environment) as process, pytest.raises(Exception, match="node ended"), \
            Participant(process, private_network()) as participant:
        participant.wait_for(lambda: False, "nothing", 150.0)
    assert process.stop() == 2
    assert "SECURITY ERROR" in process.log()
    assert "Traceback" not in process.log()
