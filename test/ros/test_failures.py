"""What the node does when the network itself fails."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image

from panoptic_ros.msg import PanopticSegmentArray
from panoptic_ros.ros.node import PanopticNode
from panoptic_ros.ros.node_process import private_network


class FailingEngine:
    """Fails the first `failures` times that it is called, then does what the real one does."""

    def __init__(self, engine: Any, failures: int) -> None:
        self.name, self.device, self.precision = engine.name, engine.device, engine.precision
        self._engine, self._left = engine, failures

    def __call__(self, image: Any) -> Any:
        self._left -= 1
        if self._left >= 0:
            raise RuntimeError("out of memory")
        return self._engine(image)


class InProcess:
    """The node in this process, with somebody who publishes images and subscribes to segments and diagnostics."""

    def __init__(self) -> None:
        self.node = PanopticNode()
        self._peer = rclpy.create_node("peer")
        self.segments: list[PanopticSegmentArray] = []
        self.diagnostics: list[DiagnosticArray] = []
        self._peer.create_subscription(PanopticSegmentArray, "/panoptic_ros/panoptic/segments", self.segments.append,
                                       100)
        self._peer.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, 100)
        self._images = self._peer.create_publisher(Image, "/image", 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._executor.add_node(self._peer)

    def activate_with(self, failures: int) -> None:
        """Configure, make the engine fail that often, activate, wait until everybody knows everybody."""
        self.node.trigger_configure()
        perception = self.node._configured.perception
        perception.engine = FailingEngine(perception.engine, failures)
        self.node.trigger_activate()
        self.spin_until(lambda: "subscribers: panoptic/segments" in self.values()
                        and self.values()["publishers"] == "1" and self._images.get_subscription_count() == 1)

    def values(self) -> dict[str, str]:
        """The camera's newest diagnostics."""
        status = self.diagnostics[-1].status[-1] if self.diagnostics else None
        return {row.key: row.value for row in status.values} if status else {}

    def publish(self, message: Image) -> None:
        """One image."""
        self._images.publish(message)

    def spin_until(self, condition: Callable[[], Any], patience: float = 60.0) -> None:
        """Run both nodes until the condition is true."""
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, self.values()
            self._executor.spin_once(timeout_sec=0.1)

    def state(self) -> str:
        """Of the lifecycle."""
        return self.node._state()

    def close(self) -> None:
        """End both nodes."""
        self._executor.shutdown()
        self.node.close()
        self._peer.destroy_node()


@pytest.fixture
def pair(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
    for name, value in private_network().items():
        monkeypatch.setitem(os.environ, name, value)
    rclpy.init(args=["--ros-args", "-p", f"model:={model_folder}", "-p", "autostart:=false", "-p", "max_failures:=3",
                     "-p", "engine:=torch", "-p", "diagnostics_period:=0.1"])
    pair = InProcess()
    yield pair
    pair.close()
    rclpy.shutdown()


def test_a_failure_costs_one_image_and_the_node_goes_on(pair: InProcess, make_image: Callable[..., Image]) -> None:
    pair.activate_with(failures=2)
    for k in range(4):
        pair.publish(make_image((1, k)))
        pair.spin_until(lambda k=k: int(pair.values()["received"]) == k + 1)
    pair.spin_until(lambda: len(pair.segments) == 2)
    assert [m.header.stamp.nanosec for m in pair.segments] == [2, 3]
    assert pair.values()["dropped: processing failed"] == "2"
    assert pair.values()["last_error"] == "RuntimeError: out of memory"
    assert pair.state() == "active"


def test_failures_that_do_not_end_make_the_node_unconfigured_and_it_can_be_configured_again(
        pair: InProcess, make_image: Callable[..., Image]) -> None:
    pair.activate_with(failures=100)
    for k in range(3):
        pair.publish(make_image((1, k)))
        pair.spin_until(lambda k=k: pair.state() != "active" or int(pair.values().get("received", 0)) == k + 1)
    pair.spin_until(lambda: pair.state() == "unconfigured")
    pair.spin_until(lambda: "3 consecutive failures" in pair.diagnostics[-1].status[0].message)
    pair.activate_with(failures=0)
    pair.publish(make_image((2, 0)))
    pair.spin_until(lambda: pair.segments)
    assert pair.segments[0].header.stamp.sec == 2
