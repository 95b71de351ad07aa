"""`panoptic-ros view` of a running node: it finds the cameras and shows what they have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import CompressedImage

from panoptic_ros.msg import PanopticSegment, PanopticSegmentArray
from panoptic_ros.ros.node_process import NODE, Participant, private_network
from panoptic_ros.ros.node_view import _OVERLAY, _SEGMENTS, _TIMINGS, NodeView
from panoptic_ros.ros.outputs import _OUTPUTS
from panoptic_ros.viewing.web_view import WebView

PICTURE = b"\xff\xd8 a picture"


@pytest.fixture(scope="module")
def robot() -> Iterator[Participant]:
    """In the place of the node: a participant that publishes what the node would."""
    process: Any = SimpleNamespace(is_running=lambda: True, log=lambda: "")
    with Participant(process, private_network()) as participant:
        yield participant


@pytest.fixture
def publish(robot: Participant) -> Callable[[str], Callable[[], None]]:
    """Have the topics of a camera; returns what publishes a result of it."""

    def have_topics(prefix: str) -> Callable[[], None]:
        segments = PanopticSegmentArray(height=10, width=20, model_id="city@1", segments=[
            PanopticSegment(id=1, class_name="car", is_thing=True, score=0.5, area=20, track_id=7, track_age=2,
                            depth=float("nan"))])
        segments.header.stamp.sec = 3
        timings = DiagnosticArray(status=[DiagnosticStatus(values=[KeyValue(key="network", value="12.5")])])
        publishers = {topic: robot.node.create_publisher(type(message), f"{prefix}/{topic}", 1) for topic, message in (
            (_OVERLAY, CompressedImage()), (_SEGMENTS, segments), (_TIMINGS, timings))}

        def send() -> None:
            robot.wait_for(lambda: all(one.get_subscription_count() for one in publishers.values()), "the view")
            publishers[_OVERLAY].publish(CompressedImage(format="jpeg", data=list(PICTURE)))
            publishers[_SEGMENTS].publish(segments)
            publishers[_TIMINGS].publish(timings)

        return send

    return have_topics


@pytest.fixture
def shown(robot: Participant) -> Iterator[WebView]:
    view = WebView()
    watching = NodeView(NODE, view, robot.node.context)
    robot._executor.add_node(watching)
    yield view
    robot._executor.remove_node(watching)
    watching.destroy_node()


def all_facts(view: WebView, camera: str) -> dict[str, Any]:
    """What is known of a camera once its segments and timings have come."""
    shown: dict[str, Any] = {}
    for event in view.events():
        shown = event if event.get("camera") == camera else shown
        if {"segments", "latency_ms"} <= shown.keys():
            break
    return shown


def test_the_node_has_the_topics_that_are_shown() -> None:
    assert {_OVERLAY, _SEGMENTS, _TIMINGS} <= _OUTPUTS.keys()


@pytest.mark.parametrize("camera", ["", "left"])
def test_overlay_segments_and_timings_are_shown(publish: Callable[[str], Callable[[], None]], shown: WebView,
                                                 camera: str) -> None:
    publish(f"{NODE}/{camera}" if camera else NODE)()
    assert next(shown.pictures(camera)) == PICTURE
    facts = all_facts(shown, camera)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert [(row["class"], row["track"], row["depth"]) for row in facts["segments"]] == [("car", 7, None)]
    assert facts["latency_ms"] == {"network": 12.5}


def test_a_node_of_another_name_is_not_shown(publish: Callable[[str], Callable[[], None]], robot: Participant,
                                              shown: WebView) -> None:
    publish("/elsewhere/panoptic_ros")
    send = publish(f"{NODE}/front")
    send()
    assert all_facts(shown, "front")
    assert not robot.node.get_subscriptions_info_by_topic(f"/elsewhere/panoptic_ros/{_SEGMENTS}")
