"""A bond with a lifecycle manager, as nav2's waits for: heartbeats on /bond while the node is active."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import Any
from uuid import uuid4

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile

# Seconds without a heartbeat after which the other side takes this one for dead, as nav2's nodes have it.
HEARTBEAT_TIMEOUT = 4.0


def is_installed() -> bool:
    """Whether the ROS package `bond` is here, whose message the heartbeats are."""
    return find_spec("bond") is not None


class Bond:
    """One side of a bond (bond_core): its id is the node's name, as nav2's lifecycle manager has it.

    Says that this side is alive every `period` seconds from `start` to `end`. A manager that ends the bond gets the
    answer that it waits for; the heartbeats go on, for it or another one may form a new bond. A manager that is gone
    ends no node.
    """

    def __init__(self, node: Node, period: float) -> None:
        from bond.msg import Status

        self._node, self._period, self._message_class = node, period, Status
        self._instance_id = ""
        self._timer: Any = None
        # Depths as bondcpp has them; the topic is relative, as there.
        self._publisher = node.create_publisher(Status, "bond", QoSProfile(depth=5))
        self._subscription = node.create_subscription(Status, "bond", self._receive, QoSProfile(depth=100))

    def start(self) -> None:
        """Begin to say that this side is alive; each time it is another individual."""
        self._instance_id = str(uuid4())
        self._timer = self._node.create_timer(self._period, partial(self._say, True),
                                              clock=Clock(clock_type=ClockType.STEADY_TIME))

    def end(self) -> None:
        """Say that this side ends the bond, if it was started."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
            self._say(False)

    def destroy(self) -> None:
        """Take the topic back. Not done by `end`, whose message would be lost with it."""
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)

    def _receive(self, status: Any) -> None:
        if self._timer is not None and status.id == self._node.get_name() \
                and status.instance_id != self._instance_id and not status.active:
            self._say(False)

    def _say(self, is_active: bool) -> None:
        message = self._message_class(id=self._node.get_name(), instance_id=self._instance_id, active=is_active,
                                      heartbeat_timeout=HEARTBEAT_TIMEOUT, heartbeat_period=self._period)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
