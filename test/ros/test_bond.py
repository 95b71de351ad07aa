"""The bond that nav2's lifecycle manager waits for, as bondcpp's protocol has it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from builtin_interfaces.msg import Time

from panoptic_ros.ros.bond import Bond
from panoptic_ros.ros.node_process import NODE


class Status(SimpleNamespace):
    """Has the fields of bond/msg/Status."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(header=SimpleNamespace(stamp=None), **fields)


class GraphNode:
    """What Bond uses of a ROS node; keeps what is published and who would call what."""

    def __init__(self) -> None:
        self.published: list[Any] = []
        self.timers: dict[Callable[[], None], float] = {}
        self.subscriptions: dict[str, Callable[[Any], None]] = {}
        self.publishers: list[str] = []

    def get_name(self) -> str:
        return NODE.removeprefix("/")

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=Time))

    def create_publisher(self, _: type, topic: str, profile: Any) -> Any:
        self.publishers.append(topic)
        return SimpleNamespace(publish=self.published.append, topic=topic)

    def create_subscription(self, _: type, topic: str, callback: Callable[[Any], None], profile: Any) -> str:
        self.subscriptions[topic] = callback
        return topic

    def create_timer(self, period: float, callback: Callable[[], None], clock: Any) -> Callable[[], None]:
        self.timers[callback] = period
        return callback

    def destroy_timer(self, timer: Callable[[], None]) -> None:
        del self.timers[timer]

    def destroy_subscription(self, topic: str) -> None:
        del self.subscriptions[topic]

    def destroy_publisher(self, publisher: Any) -> None:
        self.publishers.remove(publisher.topic)


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> GraphNode:
    module = ModuleType("bond.msg")
    module.Status = Status  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bond", ModuleType("bond"))
    monkeypatch.setitem(sys.modules, "bond.msg", module)
    return GraphNode()


def test_heartbeats_have_the_name_of_the_node_and_end_with_the_bond(graph: GraphNode) -> None:
    bond = Bond(graph, 0.1)  # type: ignore[arg-type]
    bond.start()
    assert graph.publishers == list(graph.subscriptions) == ["bond"]
    ((beat, period),) = graph.timers.items()
    assert period == 0.1
    for _ in range(3):
        beat()
    bond.end()
    bond.end()
    bond.destroy()
    assert [status.active for status in graph.published] == [True, True, True, False]
    assert {(status.id, status.heartbeat_period, status.heartbeat_timeout) for status in graph.published} == {
        ("panoptic_ros", 0.1, 4.0)}
    assert len({status.instance_id for status in graph.published}) == 1
    assert (graph.timers, graph.subscriptions, graph.publishers) == ({}, {}, [])


def test_each_time_the_bond_is_of_an_individual_of_its_own(graph: GraphNode) -> None:
    bond = Bond(graph, 0.1)  # type: ignore[arg-type]
    for _ in range(2):
        bond.start()
        bond.end()
    first, second = graph.published
    assert first.instance_id != second.instance_id


def test_a_manager_that_ends_the_bond_is_answered_and_can_form_another(graph: GraphNode) -> None:
    bond = Bond(graph, 0.1)  # type: ignore[arg-type]
    bond.start()
    (beat,) = graph.timers
    beat()
    mine = graph.published[0].instance_id
    hear = graph.subscriptions["bond"]
    for status in (Status(id="panoptic_ros", instance_id="manager", active=True),
                   Status(id="another_node", instance_id="manager", active=False),
                   Status(id="panoptic_ros", instance_id=mine, active=False)):
        hear(status)
        assert len(graph.published) == 1
    hear(Status(id="panoptic_ros", instance_id="manager", active=False))
    beat()
    bond.end()
    hear(Status(id="panoptic_ros", instance_id="manager", active=False))
    assert [status.active for status in graph.published] == [True, False, True, False]


@pytest.mark.skipif(not find_spec("bond"), reason="needs the ROS package bond")
def test_a_lifecycle_manager_forms_its_bond_while_the_node_is_active(
        start_node: Callable[..., Any], model_folder: Path) -> None:
    from bond.msg import Status as BondStatus

    node = start_node(model=str(model_folder), autostart=False)
    heard: list[Any] = []
    node.participant.subscribe(BondStatus, "/bond", lambda status: heard.append(status)
                               if status.instance_id != "manager" else None, 100)
    manager = node.participant.node.create_publisher(BondStatus, "/bond", 5)
    assert node.participant.transition("configure")
    assert not heard
    for _ in range(2):
        heard.clear()
        assert node.participant.transition("activate")
        node.wait_for(lambda: len(heard) > 2, "heartbeats")
        assert {(status.id, status.active) for status in heard} == {("panoptic_ros", True)}
        node.wait_for(manager.get_subscription_count, "the node to listen")
        manager.publish(BondStatus(id="panoptic_ros", instance_id="manager", active=False))
        node.wait_for(lambda: not all(status.active for status in heard), "an answer")
        assert node.participant.transition("deactivate")
        node.wait_for(lambda: not heard[-1].active, "the node to end the bond")
    assert node.participant.transition("cleanup")
    assert node.set_parameter("bond_heartbeat_period", 0.0) == ""
    for transition in ("configure", "activate"):
        assert node.participant.transition(transition)
    node.wait_for(lambda: node.participant.node.count_publishers("/bond") == 1, "no bond beside the manager's")
