"""The message types of bags: those of ROS 2 Jazzy and the package's own, without any ROS installed."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from panoptic_ros.messages import MessageTypes
from panoptic_ros.paths import shared_folder


@cache
def bag_typestore() -> Typestore:
    """Types of Jazzy, with those of the package's `msg` folder."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for file in sorted(shared_folder("msg").glob("*.msg")):
        store.register(get_types_from_msg(file.read_text(), f"panoptic_ros/msg/{file.stem}"))
    return store


@cache
def bag_types() -> MessageTypes:
    """The classes of `bag_typestore`, for `panoptic_ros.messages`."""
    store = bag_typestore()

    def create(name: str, **fields: Any) -> Any:
        return store.types[name](**fields)

    return MessageTypes(create, np.ascontiguousarray)
