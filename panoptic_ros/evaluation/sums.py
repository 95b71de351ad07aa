"""Sums: what every metric keeps of images and sequences, and how those of two are joined."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Sums:
    """Base of dataclasses whose fields are numbers or arrays that add up over images and sequences, one by one."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))
