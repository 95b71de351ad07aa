"""Node parameters: declared with type, range and description, validated as a whole, read as values."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from importlib.util import find_spec
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from panoptic_ros.engines import PRECISIONS
from panoptic_ros.errors import InputError

TRANSPORTS = ("raw", "compressed", "auto")

# Name of a parameter before 0.1.0 -> its name now. A parameter file or argument may still use the old one. Those of
# thresholds, which differ by method, are in the `renamed` of its Thresholds.
RENAMED = {
    "synchronise": "approximate_sync",
    "synchronise_tolerance": "approximate_sync_tolerance_seconds",
    "tracking.embedding_memory": "tracking.embedding_drift_time",
    "tracking.sigma_overlap": "tracking.sigma_iou",
    "tracking.sigma_extent": "tracking.sigma_position_relative",
    "tracking.sigma_speed": "tracking.sigma_velocity_x",
    "tracking.sigma_climb": "tracking.sigma_velocity_y",
    "tracking.sigma_growth": "tracking.sigma_size_rate",
    "tracking.class_change": "tracking.class_mismatch_factor",
    "tracking.birth_score": "tracking.high_score_threshold",
    "tracking.confirm_hits": "tracking.min_hits",
    "tracking.patience": "tracking.lost_half_life",
    "tracking.embedding_weight": "tracking.embedding_ema_weight",
    "tracking.velocity_weight": "tracking.velocity_ema_weight",
    "tracking.follow_camera": "tracking.camera_motion_compensation",
    "tracking.across_cameras": "tracking.cross_camera_reid_distance",
    "tracking.stabilise": "tracking.temporal_smoothing",
}


def _setting(default: Any, description: str, choices: tuple[str, ...] = (), limits: tuple[float, float] | None = None,
             live: bool = False) -> Any:
    return field(default=default, metadata={"description": description, "choices": choices, "range": limits,
                                            "live": live})


@dataclass(frozen=True)
class NodeSettings:
    """The parameters that are the same for every model; those that are not live are fixed while configured."""

    model: str = _setting("city", "model folder, or the name of a shipped model", live=True)
    engine: str = _setting("auto", "inference engine; `panoptic-ros doctor` lists what there is")
    device: str = _setting("auto", "inference device, such as cpu or cuda:0")
    precision: str = _setting("auto", "inference precision; auto: int8 where the model has it, else half where the "
                              "hardware is made for it", ("auto", *PRECISIONS))
    cameras: tuple[str, ...] = _setting(
        ("",), "camera names; each has its input `<name>/image` and its outputs below `~/<name>`. "
        "One empty name: a single camera, input `image`, outputs below `~`")
    transport: str = _setting(
        "raw", "image transport of the input: raw: Image on `image`; compressed: CompressedImage on "
        "`image/compressed`; auto: whichever of them is published, also a CompressedImage on `image`", TRANSPORTS)
    approximate_sync: bool = _setting(
        False, "approximate time synchronisation of several cameras, by message_filters; images without a partner are "
        "dropped")
    approximate_sync_tolerance_seconds: float = _setting(
        0.02, "slop of the synchronisation: largest difference of the stamps, seconds", limits=(0.0, 1.0))
    warm_up_size: tuple[int, ...] = _setting(
        (0, 0), "warm-up image size, height and width: the engine is made ready for it while configuring. "
        "0, 0: with the first image")
    pipelining: str = _setting(
        "auto", "convert and preprocess the next image while one is in the network; auto: on a GPU, or with four CPU "
        "cores or more, where a core is free for it", ("auto", "always", "never"))
    max_failures: int = _setting(5, "consecutive failures after which the node gives up and becomes unconfigured",
                                 limits=(1, 10000), live=True)
    stale_after: float = _setting(
        2.0, "input timeout: seconds without an image after which a camera is STALE in /diagnostics",
        limits=(0.1, 3600.0), live=True)
    diagnostics_period: float = _setting(1.0, "seconds between two messages on /diagnostics", limits=(0.05, 60.0),
                                         live=True)
    jpeg_quality: int = _setting(85, "JPEG quality of the compressed overlay", limits=(1, 100), live=True)
    bond_heartbeat_period: float = _setting(
        0.1, "seconds between two heartbeats of the bond with a lifecycle manager such as nav2's, while active, where "
        "the ROS package bond is; 0: no bond", limits=(0.0, 10.0))
    autostart: bool = _setting(True, "configure and activate at start, without a lifecycle manager")

    def __post_init__(self) -> None:
        for row in fields(self):
            choices = row.metadata["choices"]
            if choices and (value := getattr(self, row.name)) not in choices:
                raise InputError(f"{row.name} is '{value}'; possible are: {', '.join(choices)}")
        named = [name for name in self.cameras if name]
        if len(set(self.cameras)) != len(self.cameras) or not self.cameras or (len(self.cameras) > 1
                                                                              and len(named) < len(self.cameras)):
            raise InputError(f"cameras are {list(self.cameras)}: every camera needs a name of its own")
        if bad := [name for name in named if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)]:
            raise InputError(f"'{bad[0]}' cannot be part of a topic: letters, digits and _ make a camera's name")
        if len(self.warm_up_size) != 2 or min(self.warm_up_size) < 0 or max(self.warm_up_size) > 16384:
            raise InputError(f"warm_up_size is {list(self.warm_up_size)}: give height and width in pixels")
        if self.approximate_sync and len(self.cameras) < 2:
            raise InputError("approximate_sync needs two cameras or more")
        if self.approximate_sync and self.transport == "auto":
            raise InputError("approximate_sync needs transport raw or compressed, not auto")
        if self.approximate_sync and not find_spec("message_filters"):
            raise InputError("approximate_sync needs the ROS package message_filters: install it, or set it to false")


@dataclass(frozen=True)
class TracksFileSettings:
    """Persistence of the tracks; with the settings of the tracker below `tracking.`."""

    state_file: str = _setting(
        "", "track state file, written while the node runs; one that starts again restores its tracks from it. "
        "Empty: none")


class ParameterGroup:
    """The parameters of a node that are the fields of one frozen dataclass.

    The fields' metadata has `description` and, for numbers, `range`; the dataclass refuses what does not fit together.
    Raises rclpy's InvalidParameter exceptions where a parameter file or argument gives a value that cannot be.
    """

    def __init__(self, node: Node, defaults: Any, prefix: str = "") -> None:
        self._node, self._kind, self._prefix = node, type(defaults), prefix
        renamed = {prefix + old: prefix + new for old, new in getattr(self._kind, "renamed", {}).items()} | RENAMED
        self._fields: dict[str, Field[Any]] = {prefix + row.name: row for row in fields(defaults)}
        for name, row in self._fields.items():
            value = getattr(defaults, row.name)
            descriptor = _descriptor(row, value)
            value = list(value) if isinstance(value, tuple) else value
            try:
                node.declare_parameter(name, _given_by_old_name(node, name, value, descriptor, renamed),
                                       descriptor)
            except ParameterException:
                self.undeclare()
                raise

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def is_live(self, name: str) -> bool:
        """Whether the parameter may change while the node is configured."""
        return bool(self._fields[name].metadata.get("live", True))

    def read(self, changes: Mapping[str, Any] | None = None) -> Any:
        """The dataclass of the present values, or of what they would be with these changes.

        Raises InputError when they do not fit together.
        """
        values = {}
        for name, row in self._fields.items():
            value = changes[name] if changes and name in changes else self._node.get_parameter(name).value
            values[row.name] = tuple(value) if isinstance(value, list | array) else value
        return self._kind(**values)

    def undeclare(self) -> None:
        """Take the parameters back; the group has none any more."""
        for name in self._fields:
            if self._node.has_parameter(name):
                self._node.undeclare_parameter(name)
        self._fields = {}


def _given_by_old_name(node: Node, name: str, default: Any, descriptor: ParameterDescriptor,
                       renamed: Mapping[str, str]) -> Any:
    """The value that a parameter file or argument gives a parameter by its old name, with a warning; else the default.

    It is declared for a moment, which checks it as the parameter itself. Where both names are given, the new one wins.
    """
    for old in (old for old, new in renamed.items() if new == name):
        given = node.declare_parameter(old, Parameter.Type.from_parameter_value(default), descriptor)
        node.undeclare_parameter(old)
        if given.type_ != Parameter.Type.NOT_SET:
            node.get_logger().warning(f"Parameter '{old}' is deprecated: use '{name}', which wins if both are given")
            return given.value
    return default


def _descriptor(row: Field[Any], value: Any) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=row.metadata.get("description", ""))
    if choices := row.metadata.get("choices"):
        descriptor.additional_constraints = f"one of: {', '.join(choices)}"
    if limits := row.metadata.get("range"):
        if isinstance(value, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=float(limits[0]),
                                                                  to_value=float(limits[1]))]
        else:
            descriptor.integer_range = [IntegerRange(from_value=int(limits[0]), to_value=int(limits[1]))]
    return descriptor
