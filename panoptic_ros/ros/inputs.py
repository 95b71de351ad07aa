"""The input of a camera: its subscription, and in words why no image comes and what mends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible
from sensor_msgs.msg import CompressedImage, Image

from panoptic_ros.messages import COMPRESSED_IMAGE, IMAGE
from panoptic_ros.ros import qos, shared_memory

_COMPRESSED = "/compressed"
_CLASSES = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage}
# Other topics with images that are named to who has none.
_NAMED = 5


class CameraInput:
    """A subscription to the images of a camera, as the parameter `transport` has it.

    name: of the input before remapping, `image` or `<camera>/image`. transport: raw: an Image there; compressed: a
    CompressedImage on `<name>/compressed`; auto: what is published, on the one or the other, whenever it comes.
    receive: takes each message.
    """

    def __init__(self, node: Node, name: str, transport: str, receive: Callable[[Any], None], group: Any) -> None:
        self._node, self._name, self._transport = node, name, transport
        self._receive, self._group = receive, group
        self._subscription: Any = None
        # As in image_transport, remapping `image` moves its compressed form as well.
        self._base = str(node.resolve_topic_name(name))
        if transport == "compressed":
            self._subscribe(self._base + _COMPRESSED, COMPRESSED_IMAGE)
        else:
            self._subscribe(self._base, IMAGE)

    def update(self) -> None:
        """With `auto`: subscribe to what is published, where that is something else."""
        if self._transport != "auto" or (self._subscription and self._message_type in self._published(self.topic)):
            return
        for topic, message_type in ((self._base, IMAGE), (self._base, COMPRESSED_IMAGE),
                                    (self._base + _COMPRESSED, COMPRESSED_IMAGE)):
            if message_type in self._published(topic):
                self.destroy()
                try:
                    self._subscribe(topic, message_type)
                except rclpy_implementation.RCLError:
                    return  # the one of another type is not quite gone: next time
                self._node.get_logger().info(f"Images of '{self._name}' are {message_type} on {topic}")
                return

    def publishers(self) -> int:
        """How many publish its topic."""
        return int(self._node.count_publishers(self.topic))

    def problem(self) -> str:
        """Why no image comes, and which parameter or remapping mends it; empty where nothing is wrong to be seen."""
        others = sorted(set(self._published(self.topic)) - {self._message_type})
        if self._message_type in self._published(self.topic):
            return self._incompatible() or (f"images on {self.topic} may not arrive: {short}" if (
                short := shared_memory.shortage()) else "")
        if COMPRESSED_IMAGE in others:
            remap = "" if not self.topic.endswith(_COMPRESSED) else (
                f", or to compressed and remap '{self._name}' to {self.topic.removesuffix(_COMPRESSED)}")
            return f"{self.topic} is a {COMPRESSED_IMAGE}, not a {IMAGE}: set the parameter transport to auto{remap}"
        if IMAGE in others:
            return f"{self.topic} is a {IMAGE}, not a {COMPRESSED_IMAGE}: set the parameter transport to raw or auto"
        if others:
            return f"{self.topic} is a {others[0]}, not a {self._message_type}: {self._remedy()}"
        for topic, message_type, value in ((self._base, IMAGE, "raw"),
                                           (self._base + _COMPRESSED, COMPRESSED_IMAGE, "compressed")):
            if topic != self.topic and message_type in self._published(topic):
                return (f"nobody publishes {self.topic}, but {topic} is published: set the parameter transport to "
                        f"{value} or auto")
        return f"nobody publishes {self.topic}: start the camera, or {self._remedy()}"

    def destroy(self) -> None:
        """Unsubscribe."""
        if self._subscription:
            self._node.destroy_subscription(self._subscription)
        self._subscription = None

    def _subscribe(self, topic: str, message_type: str) -> None:
        self.topic, self._message_type = topic, message_type
        self._subscription = self._node.create_subscription(
            _CLASSES[message_type], topic, self._receive, qos.newest_image(), callback_group=self._group,
            qos_overriding_options=qos.overridable())

    def _published(self, topic: str) -> list[str]:
        return [info.topic_type for info in self._node.get_publishers_info_by_topic(topic)]

    def _incompatible(self) -> str:
        """Of publishers that all offer less than is asked for."""
        reasons = []
        for info in self._node.get_publishers_info_by_topic(self.topic):
            if self._subscription is None:
                return ""
            fits, reason = qos_check_compatible(info.qos_profile, self._subscription.qos_profile)
            if fits != QoSCompatibility.ERROR:
                return ""
            reasons.append(reason.split(";")[0].removeprefix("ERROR: "))
        return (f"the QoS of who publishes {self.topic} does not fit ({reasons[0]}): set the parameters "
                f"qos_overrides.{self.topic}.subscription.* to what is offered, or leave them out") if reasons else ""

    def _remedy(self) -> str:
        own = f"{self._node.get_fully_qualified_name()}/"
        images = sorted(name for name, types in self._node.get_topic_names_and_types()
                        if set(types) & set(_CLASSES) and not name.startswith(own) and name != self.topic
                        and self._node.count_publishers(name))
        listed = f"; images are on {', '.join(images[:_NAMED])}" if images else ""
        example = images[0].removesuffix(_COMPRESSED) if images else "/camera/image_raw"
        return f"remap it with -r {self._name}:={example}{listed}"
