"""Reads the times of a folder's images from a text file with a line for each."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path

from panoptic_ros.errors import InputError

# Seconds since 1970 have at most 11 digits for the next thousand years; larger numbers are nanoseconds.
_LARGEST_SECONDS = 100_000_000_000


def read_timestamps(file: Path) -> list[int]:
    """Times in nanoseconds, one for each line that is neither empty nor a comment (#).

    A whole number is nanoseconds, a number with a decimal point seconds (or nanoseconds, where too large for that),
    and `2011-09-26 13:02:25.964389445`, as KITTI has it, a time of day that is taken as UTC.
    Raises InputError that names the line where it is none of these.
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as text: {error}") from error
    stamps = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            try:
                stamps.append(date_in_ns(text) if ":" in text else _number_in_ns(text))
            except (ValueError, InvalidOperation, OverflowError) as error:
                raise InputError(f"{file}, line {number}: '{text[:40]}' is not a time; write nanoseconds, seconds with "
                                 "a decimal point, or 2011-09-26 13:02:25.964389445") from error
    return stamps


def _number_in_ns(text: str) -> int:
    if text.lstrip("+-").isdigit():
        return int(text)
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError(text)
    return int((value if abs(value) > _LARGEST_SECONDS else value * 1_000_000_000).to_integral_value())


def date_in_ns(text: str) -> int:
    """`2011-09-26 13:02:25.964389445`, or with a T in the middle, taken as UTC -> nanoseconds since 1970.

    Raises ValueError for any other text.
    """
    # datetime keeps microseconds only, so the fraction is read apart.
    whole, _, fraction = text.partition(".")
    seconds = datetime.strptime(whole.replace("T", " "), "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    if fraction and not fraction.isdigit():
        raise ValueError(text)
    return int(seconds.timestamp()) * 1_000_000_000 + int(fraction[:9].ljust(9, "0") or 0)
