"""With pipelining the next image is prepared while one is in the network: same results, in order, all accounted for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image

from panoptic_ros.msg import PanopticSegmentArray

MakeImage = Callable[..., Image]


@pytest.fixture(scope="module", params=["always", "never"])
def node(request: pytest.FixtureRequest, start_node: Callable[..., Any], model_folder: Path) -> Any:
    running = start_node(model=str(model_folder), pipelining=request.param, stale_after=3000.0)
    running.wait_for(lambda: running.state() == "active", "the node to be active")
    return running


def test_results_come_in_order_and_every_image_is_accounted_for(node: Any, make_image: MakeImage) -> None:
    segments = node.subscribe(PanopticSegmentArray, "panoptic/segments")
    timings = node.subscribe(DiagnosticArray, "timings")
    for k in range(60):
        node.publish(make_image((2_000_000_000, k), seed=k, height=256, width=512))
    # The newest is never the one that is dropped.
    node.wait_for(lambda: segments and segments[-1].header.stamp.nanosec == 59, "the result of the last image")
    node.fresh_diagnostics()
    assert node.count("received") == node.count("processed") + sum(
        int(value) for key, value in node.values().items() if key.startswith("dropped"))
    stamps = [message.header.stamp.nanosec for message in segments]
    assert stamps == sorted(set(stamps))
    stages = {row.key for row in timings[-1].status[0].values}
    assert {"wait", "convert", "preprocess", "queue", "network", "decode", "track", "publish"} <= stages
    assert node.values("")["pipelining"] in ("on", "off")
    node.fresh_diagnostics()
    assert " Hz, " in node.message("camera")
    assert node.message("camera").endswith(" ms")


def test_bad_images_and_a_change_of_the_model_do_not_stop_it(node: Any, make_image: MakeImage,
                                                             other_model: Path) -> None:
    segments = node.subscribe(PanopticSegmentArray, "panoptic/segments")
    bad = make_image((2_000_000_001, 0))
    bad.encoding = "64FC7"
    node.publish(bad)
    node.wait_for(lambda: node.count("dropped: invalid image") == 1, "the bad image to count")
    before = node.publish_until_answered(make_image((2_000_000_002, 0), seed=5), segments)
    assert node.set_parameter("model", str(other_model)) == ""
    after = node.publish_until_answered(make_image((2_000_000_002, 1), seed=5), segments)
    assert (before.model_id.split("@")[0], after.model_id.split("@")[0]) == ("tiny", "other")
    assert [s.area for s in after.segments] == [s.area for s in before.segments]


def test_it_ends_and_begins_again(node: Any, make_image: MakeImage) -> None:
    segments = node.subscribe(PanopticSegmentArray, "panoptic/segments")
    assert node.participant.transition("deactivate")
    assert node.participant.transition("activate")
    assert node.publish_until_answered(make_image((2_000_000_003, 0)), segments).header.stamp.sec == 2_000_000_003
