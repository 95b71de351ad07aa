"""What a running node publishes, shown in a `WebView`: overlay, segments and timings of each of its cameras."""

from __future__ import annotations

from functools import partial
from typing import Any

from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from panoptic_ros.messages import SEGMENTS
from panoptic_ros.ros import qos
from panoptic_ros.ros.outputs import DIAGNOSTICS, message_class
from panoptic_ros.viewing.web_view import WebView, segments_fact

_OVERLAY, _TIMINGS, _SEGMENTS = "overlay/image/compressed", "timings", "panoptic/segments"


class NodeView(Node):
    """Subscribes to the outputs of a node, named with its namespace, and of cameras that it has later, too."""

    def __init__(self, watched: str, view: WebView, context: Context | None = None) -> None:
        super().__init__("panoptic_ros_view", context=context, start_parameter_services=False)
        self._watched, self._view = f"/{watched.strip('/')}/", view
        self._cameras: set[str] = set()
        self.create_timer(1.0, self._look_for_cameras)
        self._look_for_cameras()

    def _look_for_cameras(self) -> None:
        for topic, _ in self.get_topic_names_and_types():
            name = topic.removeprefix(self._watched).removesuffix(_SEGMENTS)
            if topic.startswith(self._watched) and topic.endswith(_SEGMENTS) and name.count("/") <= 1:
                self._watch(name.rstrip("/"))

    def _watch(self, camera: str) -> None:
        if camera in self._cameras:
            return
        self._cameras.add(camera)
        prefix = f"{self._watched}{camera}/" if camera else self._watched
        for topic, kind, show in ((_OVERLAY, CompressedImage, self._show_overlay),
                                  (_SEGMENTS, message_class(SEGMENTS), self._show_segments),
                                  (_TIMINGS, message_class(DIAGNOSTICS), self._show_timings)):
            self.create_subscription(kind, prefix + topic, partial(show, camera), qos.result())

    def _show_overlay(self, camera: str, message: Any) -> None:
        self._view.show(camera, bytes(message.data))

    def _show_segments(self, camera: str, message: Any) -> None:
        self._view.show(camera, **segments_fact(message))

    def _show_timings(self, camera: str, message: Any) -> None:
        latency = {row.key: float(row.value) for row in message.status[0].values}
        self._view.show(camera, latency_ms=latency, latency_of="this image")
