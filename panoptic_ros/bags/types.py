"""The message types of bags: those of ROS 2 Jazzy and the package's own, without any ROS installed."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from panoptic_ros.messages import SEGMENTS, MessageTypes
from panoptic_ros.paths import shared_folder


@cache
def bag_typestore() -> Typestore:
    """Types of Jazzy, with those of the package's `msg` folder."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for file in sorted(shared_folder("msg").glob("*.msg")):
        store.register(get_types_from_msg(file.read_text(), f"panoptic_ros/msg/{file.stem}"))
    return store


def deserialize(cdr: bytes, message_type: str) -> Any:
    """A message of a bag, also one whose segments were written before they had a depth; these have none then.

    Raises whatever a generated deserializer meets in damaged bytes.
    """
    try:
        return bag_typestore().deserialize_cdr(cdr, message_type)
    except Exception:
        if message_type != SEGMENTS:
            raise
        return _typestore_without_depth().deserialize_cdr(cdr, message_type)


@cache
def _typestore_without_depth() -> Typestore:
    """The types of segments as they were until they had a depth."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in ("PanopticSegment", "PanopticSegmentArray"):
        text = (shared_folder("msg") / f"{name}.msg").read_text()
        store.register(get_types_from_msg("\n".join(line for line in text.splitlines() if not line.startswith(
            "float32 depth ")), f"panoptic_ros/msg/{name}"))
    return store


@cache
def bag_types() -> MessageTypes:
    """The classes of `bag_typestore`, for `panoptic_ros.messages`."""
    store = bag_typestore()

    def create(name: str, **fields: Any) -> Any:
        return store.types[name](**fields)

    return MessageTypes(create, np.ascontiguousarray)
