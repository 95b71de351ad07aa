"""QoS profiles of the node's topics, by name; users override them with qos_overrides parameters."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions


def newest_image() -> QoSProfile:
    """For input: best effort, keep last 1. Takes any publisher, and of what was not fetched in time only the newest."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def result() -> QoSProfile:
    """For output: reliable, keep last 1. Serves any subscriber, the newest result only."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE)


def latched() -> QoSProfile:
    """For what changes seldom: transient local, a late subscriber gets the last one."""
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE,
                      durability=DurabilityPolicy.TRANSIENT_LOCAL)


def overridable() -> QoSOverridingOptions:
    """History, depth and reliability as read-only parameters `qos_overrides.<topic>.<publisher|subscription>.*`."""
    return QoSOverridingOptions.with_default_policies()
