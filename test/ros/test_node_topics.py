"""The active node: what it answers to images, good and bad, and to parameters and services."""

from __future__ import annotations

import array
import copy
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from panoptic_ros.messages import read_segments, read_semantics
from panoptic_ros.msg import InstanceEmbeddingArray, PanopticSegmentArray
from panoptic_ros.perception import Perception
from panoptic_ros.ros.conversions import camera_image
from panoptic_ros.ros.node_process import NODE
from panoptic_ros.ros.outputs import _OUTPUTS
from panoptic_ros.ros.qos import latched

MakeImage = Callable[..., Image]


@pytest.fixture(scope="module")
def node(start_node: Callable[..., Any], model_folder: Path) -> Any:
    """One node for all tests of this file; each subscribes to what it needs and counts from what it finds."""
    running = start_node(model=str(model_folder), engine="auto", max_failures=3)
    running.wait_for(lambda: running.state() == "active", "the node to be active")
    return running


@pytest.fixture(scope="module")
def segments(node: Any) -> list[PanopticSegmentArray]:
    """All segment messages of this file's node."""
    return node.subscribe(PanopticSegmentArray, "panoptic/segments")


def test_what_nobody_subscribes_to_is_not_computed(node: Any, make_image: MakeImage) -> None:
    node.wait_for(lambda: not [key for key in node.values() if key.startswith("subscribers")], "no subscribers")
    node.publish(make_image())
    node.wait_for(lambda: node.count("dropped: no subscribers"), "the image to be left out")
    images = node.subscribe(Image, "semantic/image")
    node.publish_until_answered(make_image(), images)
    node.wait_for(lambda: node.count("processed"), "the image to be counted")
    published = {key for key in node.values() if key.startswith("published")}
    assert published == {"published: semantic/image"}


def test_all_results_carry_the_header_of_the_image_bit_for_bit(node: Any, make_image: MakeImage,
                                                                  model_folder: Path) -> None:
    topics = {"panoptic/image": Image, "panoptic/segments": PanopticSegmentArray, "semantic/image": Image,
              "panoptic/embeddings": InstanceEmbeddingArray, "overlay/image": Image,
              "overlay/image/compressed": CompressedImage, "timings": DiagnosticArray}
    answers = {topic: node.subscribe(kind, topic) for topic, kind in topics.items()}
    # Far in the future, so that it does not look like time that goes back; an odd frame_id.
    message = make_image(stamp=(2_000_000_000, 999_999_999), frame_id="Kamera ü/1")
    node.publish(message)
    node.wait_for(lambda: all(answers.values()), "every result")
    assert {topic: answer[0].header for topic, answer in answers.items()} == dict.fromkeys(topics, message.header)

    panoptic, rows = answers["panoptic/image"][0], answers["panoptic/segments"][0]
    assert (panoptic.encoding, panoptic.height, panoptic.width, panoptic.step) == ("mono16", 64, 128, 256)
    segment_map, segments = read_segments(panoptic, rows, answers["panoptic/embeddings"][0])
    assert len(segments) > 0
    np.testing.assert_array_equal(np.bincount(segment_map.ravel(), minlength=len(segments) + 1)[1:], segments.area)
    np.testing.assert_allclose(np.linalg.norm(segments.embedding, axis=1), segments.is_thing, atol=1e-5)
    perception = Perception(model_folder, with_semantics=True)
    expected = perception(camera_image(message, "camera"))
    np.testing.assert_array_equal(segment_map, expected.segment_map)
    np.testing.assert_array_equal(read_semantics(answers["semantic/image"][0]), expected.semantics)
    stages = {row.key for row in answers["timings"][0].status[0].values}
    assert {"wait", "convert", "preprocess", "network", "decode", "track", "publish"} <= stages


@pytest.mark.skipif(not find_spec("vision_msgs"), reason="needs the ROS package vision_msgs")
def test_detections_are_the_things_with_their_boxes_and_tracks(node: Any, make_image: MakeImage,
                                                               segments: list[Any]) -> None:
    from vision_msgs.msg import Detection2DArray, LabelInfo

    detections = node.subscribe(Detection2DArray, "detections")
    names: list[Any] = []
    node.participant.subscribe(LabelInfo, "/panoptic_ros/semantic/label_info", names.append, latched())
    message = make_image((2_000_000_000, 999_999_999))
    things = [s for s in node.publish_until_answered(message, segments).segments if s.is_thing]
    node.wait_for(lambda: detections and names, "detections and names")
    assert detections[0].header == message.header
    assert [(d.id, d.results[0].hypothesis.class_id, d.bbox.center.position.x, d.bbox.size_y)
            for d in detections[0].detections] == [
        (str(s.track_id), s.class_name, s.roi.x_offset + s.roi.width / 2, s.roi.height) for s in things]
    assert [(row.class_id, row.class_name) for row in names[0].class_map][:2] == [(0, "road"), (1, "sidewalk")]


def test_unusable_images_are_counted_with_the_reason_and_good_ones_go_on(node: Any, make_image: MakeImage,
                                                                         segments: list[Any]) -> None:
    node.fresh_diagnostics()
    before = node.count("dropped: invalid image")
    bad = [make_image((2_000_000_001, k)) for k in range(4)]
    bad[0].encoding = "64FC7"
    bad[1].step = 5
    bad[2].data = bad[2].data[:-1]
    bad[3].height = bad[3].width = 0
    for count, message in enumerate(bad, before + 1):
        node.publish(message)
        node.wait_for(lambda count=count: node.count("dropped: invalid image") == count, "the bad image to count")
    assert "no pixels" in node.values()["last_error"]
    assert "no pixels" in node.message("camera")
    answer = node.publish_until_answered(make_image((2_000_000_002, 0)), segments)
    assert answer.header.stamp.sec == 2_000_000_002


def test_padded_rows_other_encodings_and_other_sizes_are_taken(node: Any, make_image: MakeImage,
                                                               segments: list[Any]) -> None:
    plain = make_image((2_000_000_003, 0))
    padded = copy.deepcopy(plain)
    padded.step += 16
    rows = np.frombuffer(plain.data, np.uint8).reshape(plain.height, plain.step)
    padded.data = array.array("B", np.pad(rows, ((0, 0), (0, 16)), constant_values=99).tobytes())
    areas = [[s.area for s in node.publish_until_answered(m, segments).segments] for m in (plain, padded)]
    assert areas[0] == areas[1]
    mono = make_image((2_000_000_004, 0))
    mono.encoding, mono.step, mono.data = "mono8", mono.width, mono.data[:mono.width * mono.height]
    assert node.publish_until_answered(mono, segments).height == 64
    assert node.publish_until_answered(make_image((2_000_000_005, 0), height=96, width=96), segments).height == 96


def test_images_without_a_time_of_their_own_are_not_followed_and_stamps_that_go_back_start_new_tracks(
        node: Any, make_image: MakeImage, segments: list[Any]) -> None:
    def tracks(stamp: tuple[int, int]) -> set[int]:
        answer = node.publish_until_answered(make_image(stamp, seed=3), segments)
        assert (answer.header.stamp.sec, answer.header.stamp.nanosec) == stamp
        return {s.track_id for s in answer.segments if s.track_id}

    node.fresh_diagnostics()
    kinds = ("unset_stamps", "repeated_stamps", "backward_stamps")
    before = [node.count(kind) for kind in kinds]
    first = tracks((2_000_000_010, 0))
    assert first
    assert not tracks((0, 0))
    assert not tracks((2_000_000_010, 0))
    assert tracks((2_000_000_010, 1)) == first
    assert min(tracks((2_000_000_009, 0))) > max(first)
    node.wait_for(lambda: node.count("backward_stamps") > before[2], "the jump to be counted")
    assert [node.count(kind) for kind in kinds] == [count + 1 for count in before]
    assert "objects are not followed" in node.process.log()


def test_reset_tracks_gives_new_ids_to_the_same_objects(node: Any, make_image: MakeImage,
                                                        segments: list[Any]) -> None:
    def tracks(stamp: tuple[int, int]) -> set[int]:
        answer = node.publish_until_answered(make_image(stamp, seed=4), segments)
        return {s.track_id for s in answer.segments if s.track_id}

    before = tracks((2_000_000_020, 0))
    assert tracks((2_000_000_020, 1)) == before
    assert node.participant.call(Trigger, "reset_tracks", Trigger.Request()).success
    assert min(tracks((2_000_000_020, 2))) > max(before)


def test_thresholds_change_live_and_values_out_of_range_are_refused(node: Any, make_image: MakeImage,
                                                                    segments: list[Any]) -> None:
    message = make_image((2_000_000_030, 0))
    assert any(s.is_thing for s in node.publish_until_answered(message, segments).segments)
    assert "out of range" in node.set_parameter("thresholds.seed", 1.5)
    assert "Wrong parameter type" in node.set_parameter("thresholds.seed", "high")
    assert "out of range" in node.set_parameter("thresholds.seed", float("nan"))
    assert node.set_parameter("thresholds.seed", 1.0) == ""
    assert not any(s.is_thing for s in node.publish_until_answered(message, segments).segments)
    assert node.set_parameter("thresholds.seed", 0.05) == ""
    assert any(s.is_thing for s in node.publish_until_answered(message, segments).segments)


def test_tracker_and_overlay_settings_change_live(node: Any, make_image: MakeImage, segments: list[Any]) -> None:
    overlays = node.subscribe(Image, "overlay/image")
    message = make_image((2_000_000_040, 0))
    node.publish_until_answered(message, overlays)
    for name, value in (("overlay.labels", False), ("overlay.thing_opacity", 0.0), ("overlay.stuff_opacity", 0.0)):
        assert node.set_parameter(name, value) == ""
    faint = np.frombuffer(node.publish_until_answered(message, overlays).data, np.uint8).astype(int)
    changed = (np.abs(faint - np.frombuffer(message.data, np.uint8)) > 2).mean()
    assert changed < 0.5  # edges are drawn all the same
    assert "out of range" in node.set_parameter("tracking.max_lost", 1e6)
    assert node.set_parameter("tracking.high_score_threshold", 1.0) == ""
    assert node.set_parameter("tracking.min_hits", 100) == ""
    answer = node.publish_until_answered(make_image((2_000_000_050, 0), seed=9), segments)
    node.participant.call(Trigger, "reset_tracks", Trigger.Request())
    answer = node.publish_until_answered(make_image((2_000_000_051, 0), seed=9), segments)
    assert not any(s.track_id for s in answer.segments)
    assert node.set_parameter("tracking.high_score_threshold", 0.5) == ""


def test_what_is_fixed_while_configured_is_refused_with_the_reason(node: Any) -> None:
    for name, value in (("engine", "torch"), ("cameras", ["left", "right"]), ("transport", "compressed")):
        assert "fixed while the node is configured" in node.set_parameter(name, value)


def test_a_model_that_cannot_be_loaded_leaves_the_old_one_running(node: Any, make_image: MakeImage,
                                                                  segments: list[Any], tmp_path: Path) -> None:
    model = node.values("")["model"]
    assert "no model folder" in node.set_parameter("model", str(tmp_path / "nowhere"))
    (tmp_path / "model.yaml").write_text("method: hle")
    assert "weights.safetensors" in node.set_parameter("model", str(tmp_path))
    assert node.publish_until_answered(make_image((2_000_000_060, 0)), segments).model_id == model


def test_a_model_is_exchanged_while_the_node_runs(node: Any, make_image: MakeImage, segments: list[Any],
                                                  model_folder: Path, other_model: Path) -> None:
    before = node.publish_until_answered(make_image((2_000_000_070, 0), seed=5), segments)
    assert node.set_parameter("thresholds.merge", 0.31) == ""
    assert node.set_parameter("model", str(other_model)) == ""
    after = node.publish_until_answered(make_image((2_000_000_070, 1), seed=5), segments)
    assert before.model_id.startswith("tiny@")
    assert after.model_id.startswith("other@")
    # Ids go on, for they are never given out twice.
    ids = [{s.track_id for s in answer.segments if s.track_id} for answer in (before, after)]
    assert min(ids[1]) > max(ids[0])
    assert node.parameter("thresholds.seed") == pytest.approx(0.06)
    assert node.parameter("thresholds.merge") == pytest.approx(0.3)
    assert node.set_parameter("model", str(model_folder)) == ""


def test_a_model_of_another_method_comes_with_its_thresholds_and_takes_the_others_away(
        node: Any, make_image: MakeImage, segments: list[Any], model_folder: Path, dense_model: Path) -> None:
    embeddings = node.subscribe(InstanceEmbeddingArray, "panoptic/embeddings")
    assert node.set_parameter("model", str(dense_model)) == ""
    answer = node.publish_until_answered(make_image((2_000_000_075, 0), seed=5), segments)
    assert answer.model_id.startswith("dense@")
    assert any(s.is_thing for s in answer.segments)
    # The method has no embedding of its own: these are the backbone's features.
    message = node.publish_until_answered(make_image((2_000_000_075, 1), seed=5), embeddings)
    assert (message.kind, message.dimension) == ("pooled", 128)
    assert len(message.data) == 128 * len(message.segment_ids)
    assert node.parameter("thresholds.nms_iou") == pytest.approx(0.3)
    assert node.set_parameter("thresholds.seed", 0.1) != ""
    assert node.set_parameter("thresholds.score", 0.9) == ""
    assert "out of range" in node.set_parameter("thresholds.score", 1.5)
    assert node.set_parameter("model", str(model_folder)) == ""
    assert node.parameter("thresholds.seed") == pytest.approx(0.05)


def test_a_flood_of_images_is_dropped_and_every_image_accounted_for(node: Any, make_image: MakeImage,
                                                                    segments: list[Any]) -> None:
    node.fresh_diagnostics()
    before = node.count("dropped: replaced by a newer image")
    answers = len(segments)
    for k in range(100):
        node.publish(make_image((2_000_000_080, k), height=512, width=1024))
    node.wait_for(lambda: node.count("received") == node.count("processed") + sum(
        int(v) for key, v in node.values().items() if key.startswith("dropped")) and len(segments) > answers,
        "every image to be accounted for")
    node.fresh_diagnostics()
    assert node.count("dropped: replaced by a newer image") > before
    stamps = [s.header.stamp.nanosec for s in segments[answers:]]
    assert stamps == sorted(stamps)
    assert len(stamps) < 100


def test_the_security_policy_allows_what_the_node_has_and_nothing_else(node: Any) -> None:
    policy = ElementTree.parse(Path(__file__).parents[2] / "config" / "sros2" / "policy.xml").getroot()

    def allowed(kind: str, direction: str) -> set[str]:
        rows = policy.findall(f".//{kind}s[@{direction}='ALLOW']/{kind}")
        return {str(row.text).replace("~", NODE) if row.text[0] in "~/" else f"/{row.text}" for row in rows}

    graph = node.participant.node
    name = NODE.removeprefix("/")
    has = {kind: {topic for topic, _ in find(name, "/")} for kind, find in (
        ("publish", graph.get_publisher_names_and_types_by_node),
        ("subscribe", graph.get_subscriber_names_and_types_by_node),
        ("reply", graph.get_service_names_and_types_by_node))}
    assert has["publish"] <= allowed("topic", "publish")
    assert has["subscribe"] <= allowed("topic", "subscribe")
    assert has["reply"] == allowed("service", "reply")
    assert {topic for topic in allowed("topic", "publish") if topic.startswith(NODE)} == {
        *(f"{NODE}/{output}" for output in _OUTPUTS), f"{NODE}/semantic/label_info", f"{NODE}/transition_event"}
