"""The node from start to end: transitions, failures to configure, cameras, signals."""

from __future__ import annotations

import array
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from panoptic_ros.msg import PanopticSegmentArray


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Any]) -> Any:
    """A node that waits for its transitions; each test takes it from unconfigured and leaves it there."""
    return start_node(autostart=False, model="nowhere")


def test_without_autostart_the_node_waits(node: Any) -> None:
    node.fresh_diagnostics()
    assert node.state() == "unconfigured"
    assert node.participant.state() == "unconfigured"
    answer = node.participant.call(Trigger, "reset_tracks", Trigger.Request())
    assert not answer.success
    assert "not configured" in answer.message


def test_a_node_that_cannot_be_configured_says_why_and_can_be_configured_again(node: Any, model_folder: Path) -> None:
    assert not node.participant.transition("configure")
    assert node.participant.state() == "unconfigured"
    node.fresh_diagnostics()
    assert "no model folder 'nowhere'" in node.message()
    assert "no model folder 'nowhere'" in node.process.log()
    assert node.set_parameter("model", str(model_folder)) == ""
    assert node.set_parameter("engine", "steam") == ""
    assert not node.participant.transition("configure")
    assert "engine 'steam' is not known" in node.process.log()
    assert node.set_parameter("engine", "torch") == ""
    assert node.participant.transition("configure")
    node.fresh_diagnostics()
    assert (node.message(), node.values("")["engine"]) == ("inactive", "torch")
    assert node.participant.transition("cleanup")


def test_inputs_are_there_while_active_and_outputs_while_configured(node: Any, model_folder: Path,
                                                                    make_image: Callable[..., Image]) -> None:
    def topics() -> tuple[int, int]:
        graph = node.participant.node
        return graph.count_subscribers("/image"), graph.count_publishers("/panoptic_ros/panoptic/image")

    assert node.set_parameter("model", str(model_folder)) == ""
    for transition, expected in (("configure", (0, 1)), ("activate", (1, 1)), ("deactivate", (0, 1)),
                                 ("activate", (1, 1)), ("deactivate", (0, 1)), ("cleanup", (0, 0))):
        assert node.participant.transition(transition)
        node.wait_for(lambda expected=expected: topics() == expected, f"{expected} topics after {transition}")


def test_cameras_have_their_own_topics_and_share_no_track(node: Any, model_folder: Path) -> None:
    for name, value in (("model", str(model_folder)), ("cameras", ["left", "right"]), ("transport", "compressed")):
        assert node.set_parameter(name, value) == ""
    assert node.participant.transition("configure")
    assert node.participant.transition("activate")
    node.wait_for(lambda: node.values("left"), "diagnostics of the left camera")
    answers = {camera: node.subscribe(PanopticSegmentArray, f"{camera}/panoptic/segments")
               for camera in ("left", "right")}
    for number, (camera, results) in enumerate(answers.items()):
        blocks = np.random.default_rng(number).integers(0, 255, (4, 8, 3), np.uint8)
        _, png = cv2.imencode(".png", blocks.repeat(16, axis=0).repeat(16, axis=1))
        message = CompressedImage(format="png", data=array.array("B", png.tobytes()))
        message.header.frame_id, message.header.stamp.sec = camera, 1  # without a stamp nothing is followed
        node.publish(message, f"/{camera}/image/compressed")
        node.wait_for(lambda results=results: results, f"a result of the {camera} camera")
    assert {camera: [m.header.frame_id for m in results] for camera, results in answers.items()} == {
        "left": ["left"], "right": ["right"]}
    tracks = [{s.track_id for s in results[0].segments if s.track_id} for results in answers.values()]
    assert tracks[0]
    assert tracks[1]
    assert not tracks[0] & tracks[1]
    assert node.participant.transition("deactivate")
    assert node.participant.transition("cleanup")


@pytest.mark.skipif(not find_spec("message_filters"), reason="needs the ROS package message_filters")
def test_synchronised_cameras_get_results_for_pairs_alone(node: Any, model_folder: Path,
                                                          make_image: Callable[..., Image]) -> None:
    for name, value in (("model", str(model_folder)), ("cameras", ["left", "right"]), ("transport", "raw"),
                        ("approximate_sync_tolerance_seconds", 0.01), ("approximate_sync", True)):
        assert node.set_parameter(name, value) == ""
    assert node.participant.transition("configure")
    assert node.participant.transition("activate")
    node.wait_for(lambda: node.values("left"), "diagnostics of the left camera")
    answers = [node.subscribe(PanopticSegmentArray, f"{camera}/panoptic/segments") for camera in ("left", "right")]
    for camera, stamp in (("left", (1, 0)), ("right", (1, 50_000_000)), ("left", (2, 0)), ("right", (2, 5_000_000))):
        node.publish(make_image(stamp), f"/{camera}/image")
    node.wait_for(lambda: all(answers), "a pair of results")
    assert [[m.header.stamp.sec for m in results] for results in answers] == [[2], [2]]
    assert node.participant.transition("deactivate")
    assert node.participant.transition("cleanup")
    assert node.set_parameter("approximate_sync", False) == ""


@pytest.mark.skipif(find_spec("message_filters") is not None, reason="message_filters is here")
def test_pairs_of_cameras_are_refused_where_ros_cannot_make_them(node: Any) -> None:
    assert node.set_parameter("cameras", ["left", "right"]) == ""
    assert "message_filters" in node.set_parameter("approximate_sync", True)


def test_cameras_without_a_name_of_their_own_are_refused(node: Any) -> None:
    assert "name of its own" in node.set_parameter("cameras", ["left", "left"])


def test_a_node_that_was_shut_down_is_finalized_and_ends_at_a_signal(node: Any) -> None:
    assert node.participant.transition("shutdown")
    assert node.participant.state() == "finalized"
    assert node.process.stop(by=signal.SIGTERM) == 0


@pytest.mark.usefixtures("fresh_interpreters")
def test_an_active_node_ends_at_ctrl_c_with_exit_code_0(start_node: Callable[..., Any], model_folder: Path,
                                                        make_image: Callable[..., Image]) -> None:
    node = start_node(model=str(model_folder), engine="auto")
    node.wait_for(lambda: node.state() == "active", "the node to be active")
    segments = node.subscribe(PanopticSegmentArray, "panoptic/segments")
    node.publish_until_answered(make_image(), segments)
    for k in range(20):  # so that it is at work
        node.publish(make_image((1, k), height=512, width=1024))
    assert node.process.stop(by=signal.SIGINT) == 0
    assert "Traceback" not in node.process.log()


def test_thresholds_by_names_of_an_earlier_version_work_and_warn(start_node: Callable[..., Any],
                                                                 model_folder: Path) -> None:
    node = start_node(model=str(model_folder), **{"thresholds.instances": 7})
    node.wait_for(lambda: node.state() == "active", "the node to be active")
    assert "'thresholds.instances' is deprecated: use 'thresholds.max_instances'" in node.process.log()
    assert node.parameter("thresholds.max_instances") == 7


def test_a_parameter_file_with_names_of_an_earlier_version_works_and_warns(start_node: Callable[..., Any],
                                                                           tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text("/**:\n  ros__parameters:\n    autostart: false\n    synchronise_tolerance: 0.5\n    tracking:\n"
                    "      stabilise: true\n      birth_score: 0.6\n      confirm_hits: 3\n      min_hits: 4\n")
    node = start_node(arguments=("--params-file", str(file)))
    node.wait_for(lambda: node.state() == "unconfigured", "the node to be there")
    for old, new, value in (("synchronise_tolerance", "approximate_sync_tolerance_seconds", 0.5),
                            ("tracking.stabilise", "tracking.temporal_smoothing", True),
                            ("tracking.birth_score", "tracking.high_score_threshold", 0.6),
                            ("tracking.confirm_hits", "tracking.min_hits", 4)):  # both are given: the new one wins
        assert f"'{old}' is deprecated: use '{new}'" in node.process.log()
        assert node.parameter(new) == value
        assert node.set_parameter(old, value) != ""  # no parameter of the node
    assert "patience" not in node.process.log()


@pytest.mark.parametrize(("name", "value", "says"), [
    ("tracking.birth_score", 5.0, "tracking.birth_score out of range"),
    ("tracking.stabilise", 1.5, "expecting type 'BOOL'")])
def test_an_old_name_is_checked_as_the_new_one(start_node: Callable[..., Any], name: str, value: float,
                                               says: str) -> None:
    node = start_node(**{name: value})
    with pytest.raises(Exception, match="node ended"):
        node.wait_for(lambda: False, "nothing")
    assert node.process.stop() == 2
    assert says in node.process.log()


def test_a_parameter_out_of_range_at_start_ends_the_node_with_the_reason(start_node: Callable[..., Any]) -> None:
    node = start_node(max_failures=0)
    with pytest.raises(Exception, match="node ended"):
        node.wait_for(lambda: False, "nothing")
    assert node.process.stop() == 2
    assert "max_failures out of range" in node.process.log()


@pytest.mark.parametrize("autostart", [False, True])
def test_a_transition_that_does_not_fit_the_state_is_refused_and_the_node_goes_on(
        start_node: Callable[..., Any], model_folder: Path, autostart: bool) -> None:
    node = start_node(model=str(model_folder), autostart=autostart)
    state = "active" if autostart else "unconfigured"
    node.wait_for(lambda: node.state() == state, f"the node to be {state}")
    fits = {"active": {4, 7}, "unconfigured": {1, 5}}[state]
    for number in (*range(12), 60, 61, 99, 255):
        if number not in fits:
            request = ChangeState.Request(transition=Transition(id=number))
            assert not node.participant.call(ChangeState, "change_state", request).success
    for label in ("", "nonsense", "configure" if autostart else "activate"):
        assert not node.participant.call(
            ChangeState, "change_state", ChangeState.Request(transition=Transition(label=label))).success
    assert node.participant.state() == state
    assert f"the node is {state}" in node.process.log()
    assert node.participant.transition("deactivate" if autostart else "configure")
    assert node.process.stop() == 0
