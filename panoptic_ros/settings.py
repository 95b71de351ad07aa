"""Settings that users may change: fields of frozen dataclasses, each with its range and description.

A dataclass whose fields had other names before has a class attribute `renamed`, old name -> name: model.yaml and
parameter files with the old ones still load.
"""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any

from panoptic_ros.errors import InputError


def setting(default: Any, low: float, high: float, description: str,
            search: tuple[float, float] | None = None) -> Any:
    """A dataclass field with metadata `range` and `description`, from which ROS parameters are declared.

    search: the search range of tuning; a field without it is not tuned.
    """
    searched = {} if search is None else {"search": search}
    return field(default=default, metadata={"range": (low, high), "description": description, **searched})


def check_ranges(settings: Any) -> None:
    """Raises InputError for a field of a dataclass that is outside its range."""
    for row in fields(settings):
        if "range" in row.metadata:
            value, (low, high) = getattr(settings, row.name), row.metadata["range"]
            if not low <= value <= high:
                raise InputError(f"{row.name} = {value} is out of range: {low} to {high}")
