"""The message types of bags: those of ROS 2 Jazzy and the package's own, without any ROS installed."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from panoptic_ros.messages import EMBEDDINGS, SEGMENTS, MessageTypes
from panoptic_ros.paths import shared_folder


@cache
def bag_typestore() -> Typestore:
    """Types of Jazzy, with those of the package's `msg` folder."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for file in sorted(shared_folder("msg").glob("*.msg")):
        store.register(get_types_from_msg(file.read_text(), f"panoptic_ros/msg/{file.stem}"))
    return store


def deserialize(cdr: bytes, message_type: str) -> Any:
    """A message of a bag, also one of before segments had a depth and embeddings a kind; these have none then.

    Raises whatever a generated deserializer meets in damaged bytes.
    """
    try:
        return bag_typestore().deserialize_cdr(cdr, message_type)
    except Exception:
        if message_type not in (SEGMENTS, EMBEDDINGS):
            raise
        return _former_typestore().deserialize_cdr(cdr, message_type)


@cache
def _former_typestore() -> Typestore:
    """The types as they were until segments had a depth and embeddings a kind."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in ("PanopticSegment", "PanopticSegmentArray", "InstanceEmbeddingArray"):
        text = (shared_folder("msg") / f"{name}.msg").read_text()
        store.register(get_types_from_msg("\n".join(line for line in text.splitlines() if not line.startswith(
            ("float32 depth ", "string kind "))), f"panoptic_ros/msg/{name}"))
    return store


@cache
def bag_types() -> MessageTypes:
    """The classes of `bag_typestore`, for `panoptic_ros.messages`."""
    store = bag_typestore()

    def create(name: str, **fields: Any) -> Any:
        return store.types[name](**fields)

    return MessageTypes(create, np.ascontiguousarray)
