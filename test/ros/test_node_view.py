"""`panoptic-ros view` of a running node: it finds its cameras and shows what they have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sensor_msgs.msg import Image

from panoptic_ros.ros.node_process import NODE
from panoptic_ros.ros.node_view import NodeView
from panoptic_ros.viewing.web_view import WebView


@pytest.fixture(params=["", "left"])
def camera(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def view(start_node: Callable[..., Any], model_folder: Path, camera: str,
         make_image: Callable[..., Image]) -> Iterator[WebView]:
    """Of a node that has answered an image."""
    node = start_node(model=str(model_folder), **({"cameras": [camera, "right"]} if camera else {}))
    node.wait_for(lambda: node.state() == "active", "the node to be active")
    shown = WebView()
    watching = NodeView(NODE, shown, node.participant.node.context)
    node.participant._executor.add_node(watching)
    name = camera or "camera"
    node.wait_for(lambda: all(node.count(f"subscribers: {topic}", name) for topic in (
        "overlay/image/compressed", "panoptic/segments", "timings")), "the view to subscribe")
    node.publish(make_image(), f"/{camera}/image" if camera else "/image")
    node.wait_for(lambda: node.count("processed", name), "the image to be processed")
    yield shown
    node.participant._executor.remove_node(watching)
    watching.destroy_node()


def test_overlay_segments_and_timings_of_a_node_are_shown(view: WebView, camera: str) -> None:
    assert next(view.pictures(camera)).startswith(b"\xff\xd8")
    shown: dict[str, Any] = {}
    for event in view.events():
        shown = event if event.get("camera") == camera else shown
        if {"segments", "latency_ms"} <= shown.keys():
            break
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert shown["segments"]
    assert {"network", "decode", "publish"} <= shown["latency_ms"].keys()
