"""What the node publishes for one camera; what nobody subscribes to is neither computed nor converted."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from threading import Lock
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from panoptic_ros import messages
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.model import Model
from panoptic_ros.ros import qos
from panoptic_ros.viewing.overlay import OverlayStyle

DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
DETECTIONS = "vision_msgs/msg/Detection2DArray"
LABEL_INFO = "vision_msgs/msg/LabelInfo"
# The one output that only some models have.
DEPTH = "depth/image"
# The one output that the perception makes on request alone.
SEMANTIC = "semantic/image"


@dataclass(frozen=True)
class OverlaySettings:
    """How overlays are drawn and compressed."""

    style: OverlayStyle
    jpeg_quality: int


class CameraOutputs:
    """The publishers of one camera's results.

    prefix: of the topics, `~` or `~/<camera>`.
    published: topic below the prefix -> messages published; a topic that is missing was never computed.
    """

    def __init__(self, node: Node, prefix: str) -> None:
        self.published: Counter[str] = Counter()
        self._node, self._prefix = node, prefix
        # The worker publishes while the executor offers the outputs of another model.
        self._lock = Lock()
        self._publishers = {topic: self._publisher(topic) for topic, (type_name, _) in _OUTPUTS.items()
                            if topic != DEPTH and _is_installed(type_name)}
        self._label_info = None
        if _is_installed(LABEL_INFO):
            self._label_info = node.create_publisher(message_class(LABEL_INFO), f"{prefix}/semantic/label_info",
                                                     qos.latched())

    def subscribers(self) -> dict[str, int]:
        """Topic below the prefix -> how many subscribe to it, without those to which nobody does."""
        with self._lock:
            counts = {topic: publisher.get_subscription_count() for topic, publisher in self._publishers.items()}
        return {topic: count for topic, count in counts.items() if count}

    def is_wanted(self, topic: str) -> bool:
        """Whether somebody subscribes to this topic, given below the prefix."""
        with self._lock:
            publisher = self._publishers.get(topic)
            return publisher is not None and publisher.get_subscription_count() > 0

    def publish(self, frame: PanopticFrame, model: Model, overlay: OverlaySettings,
                latency_ms: dict[str, float]) -> None:
        """Send the results of a frame to who wants them; adds the milliseconds it took to `latency_ms`."""
        start = perf_counter()
        view = _FrameView(frame, model, overlay, latency_ms)
        for topic, (_, message_of) in _OUTPUTS.items():
            # A frame without depth: the last one of another model than the one that the topic is of. One without
            # semantics: it was made before somebody subscribed.
            if not self.is_wanted(topic) or (topic == DEPTH and frame.depth is None) \
                    or (topic == SEMANTIC and frame.semantics is None):
                continue
            if topic == "timings":  # the last one, so that it tells of the others
                latency_ms["publish"] = 1e3 * (perf_counter() - start)
            message = message_of(view)
            with self._lock:
                if publisher := self._publishers.get(topic):
                    publisher.publish(message)
                    self.published[topic] += 1
        latency_ms["publish"] = 1e3 * (perf_counter() - start)

    def offer(self, model: Model) -> None:
        """Have the topics that this model needs, and tell the names of its classes; once per model.

        The topic of the depth is there for a model that predicts it alone: nobody shall wait for what never comes.
        """
        with self._lock:
            if model.predicts_depth and DEPTH not in self._publishers:
                self._publishers[DEPTH] = self._publisher(DEPTH)
            elif not model.predicts_depth and DEPTH in self._publishers:
                self._node.destroy_publisher(self._publishers.pop(DEPTH))
        if self._label_info is not None:
            self._label_info.publish(_label_info(model, self._node.get_clock().now().to_msg()))

    def destroy(self) -> None:
        """Take the topics back."""
        for publisher in (*self._publishers.values(), *([self._label_info] if self._label_info else [])):
            self._node.destroy_publisher(publisher)

    def _publisher(self, topic: str) -> Any:
        return self._node.create_publisher(message_class(_OUTPUTS[topic][0]), f"{self._prefix}/{topic}", qos.result(),
                                           qos_overriding_options=qos.overridable())


@cache
def message_class(name: str) -> Any:
    """The generated class of a type such as `sensor_msgs/msg/Image`."""
    package, kind, class_name = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), class_name)


TYPES = messages.generated_types(message_class)


def _is_installed(type_name: str) -> bool:
    return find_spec(type_name.split("/")[0]) is not None


class _FrameView:
    """One frame as each of its messages; the overlay, which two of them show, is drawn once."""

    def __init__(self, frame: PanopticFrame, model: Model, overlay: OverlaySettings,
                 latency_ms: dict[str, float]) -> None:
        self.frame, self.model, self.overlay, self.latency_ms = frame, model, overlay, latency_ms

    @cached_property
    def drawing(self) -> np.ndarray:
        return self.frame.overlay_bgr(self.overlay.style)

    def header(self) -> Any:
        return messages.header(self.frame.image, TYPES)


def _overlay_image(view: _FrameView) -> Any:
    return messages.image_message(view.drawing, "bgr8", view.header(), TYPES)


def _compressed_overlay(view: _FrameView) -> Any:
    _, jpeg = cv2.imencode(".jpg", view.drawing, [cv2.IMWRITE_JPEG_QUALITY, view.overlay.jpeg_quality])
    return TYPES.create(messages.COMPRESSED_IMAGE, header=view.header(), format="bgr8; jpeg compressed bgr8",
                        data=TYPES.sequence(jpeg.reshape(-1)))


def _timings(view: _FrameView) -> Any:
    values = [KeyValue(key=stage, value=f"{value:.3f}") for stage, value in view.latency_ms.items()]
    return DiagnosticArray(header=view.header(), status=[DiagnosticStatus(name=view.frame.image.camera, values=values)])


def _detections(view: _FrameView) -> Any:
    rows, names = view.frame.segments, view.frame.classes.names
    detections = []
    for k in np.flatnonzero(rows.is_thing).tolist():
        x0, y0, x1, y1 = rows.box[k].tolist()
        detection = TYPES.create("vision_msgs/msg/Detection2D", header=view.header(), id=str(rows.track_id[k]))
        detection.bbox.center.position.x, detection.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
        detection.bbox.size_x, detection.bbox.size_y = float(x1 - x0), float(y1 - y0)
        hypothesis = TYPES.create("vision_msgs/msg/ObjectHypothesisWithPose")
        hypothesis.hypothesis.class_id = names[rows.class_id[k]]
        hypothesis.hypothesis.score = float(rows.score[k])
        detection.results = [hypothesis]
        detections.append(detection)
    return TYPES.create(DETECTIONS, header=view.header(), detections=detections)


def _label_info(model: Model, stamp: Any) -> Any:
    classes = [TYPES.create("vision_msgs/msg/VisionClass", class_id=k, class_name=name)
               for k, name in enumerate(model.classes.names)]
    message = TYPES.create(LABEL_INFO, class_map=classes)
    message.header.stamp = stamp
    return message


# topic below the prefix -> type and how a frame becomes it, in the order of publishing.
_OUTPUTS: dict[str, tuple[str, Callable[[_FrameView], Any]]] = {
    "panoptic/image": (messages.IMAGE, lambda view: messages.panoptic_image_message(view.frame, TYPES)),
    "panoptic/segments": (messages.SEGMENTS, lambda view: messages.segments_message(
        view.frame, view.model.model_id, TYPES)),
    "panoptic/embeddings": (messages.EMBEDDINGS, lambda view: messages.embeddings_message(
        view.frame, view.model.model_id, TYPES)),
    SEMANTIC: (messages.IMAGE, lambda view: messages.semantic_image_message(view.frame, TYPES)),
    DEPTH: (messages.IMAGE, lambda view: messages.depth_image_message(view.frame, TYPES)),
    "detections": (DETECTIONS, _detections),
    "overlay/image": (messages.IMAGE, _overlay_image),
    "overlay/image/compressed": (messages.COMPRESSED_IMAGE, _compressed_overlay),
    "timings": (DIAGNOSTICS, _timings),
}
