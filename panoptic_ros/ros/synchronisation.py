"""Approximate time synchronisation: images of several cameras that were taken at the same time, received together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.node import Node


def subscribe_synchronised(node: Node, kind: type, topics: Mapping[str, str], tolerance: float,
                           receive: Callable[[dict[str, Any]], None], options: Mapping[str, Any]) -> Sequence[Any]:
    """Subscriptions whose images are received together where their stamps agree; those without a partner are dropped.

    topics: camera -> topic. tolerance: seconds. options: of `create_subscription`.
    """
    from message_filters import ApproximateTimeSynchronizer, Subscriber  # not among the wheels of PyPI

    filters = [Subscriber(node, kind, topic, **options) for topic in topics.values()]
    synchronizer = ApproximateTimeSynchronizer(filters, queue_size=10, slop=tolerance)
    synchronizer.registerCallback(lambda *images: receive(dict(zip(topics, images, strict=True))))
    return [subscriber.sub for subscriber in filters]
