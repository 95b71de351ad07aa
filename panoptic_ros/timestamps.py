"""The times of a folder's images: from a text file with a line for each, a table of names, or the names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path

from panoptic_ros.errors import InputError

# Seconds since 1970 have at most 11 digits for the next thousand years; larger numbers are nanoseconds.
_LARGEST_SECONDS = 100_000_000_000
# Units of whole numbers since 1970, by their digits from the year 2001 to 2286: milli-, micro- and nanoseconds.
_UNIT_NS = {13: 1_000_000, 16: 1_000, 19: 1}
# 1403636579763555584; 1305031102.175304; CAM_FRONT__1532402927612460: at the end of a name.
_WHOLE, _SECONDS = re.compile(r"(?<![0-9.])([0-9]{13,19})$"), re.compile(r"(?<![0-9.])([0-9]{10})[._-]([0-9]{3,9})$")


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


def times_in_names(stems: Sequence[str]) -> list[int] | None:
    """The times, in nanoseconds since 1970, that the names of a camera's images end with; None where not all have one.

    EuRoC's are nanoseconds (1403636579763555584), nuScenes' microseconds (...__CAM_FRONT__1532402927612460), TUM's
    seconds (1305031102.175304).
    """
    times = []
    for stem in stems:
        if found := _WHOLE.search(stem):
            if (unit := _UNIT_NS.get(len(found[1]))) is None:
                return None
            times.append(int(found[1]) * unit)
        elif found := _SECONDS.search(stem):
            times.append(int(found[1]) * 1_000_000_000 + int(found[2].ljust(9, "0")))
        else:
            return None
    return times if len(set(times)) == len(times) else None


def read_time_table(file: Path) -> dict[str, int]:
    """Name of an image -> its time in nanoseconds, from a table with a time and a path in each line.

    That is EuRoC's data.csv (nanoseconds, comma) and TUM's rgb.txt (seconds, space); paths are of any folder.
    Raises InputError that names the line where it is none of these.
    """
    try:
        lines = file.read_text(errors="surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    times = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().lstrip("\ufeff")
        if text and not text.startswith("#"):
            words = [word.strip() for word in (text.split(",") if "," in text else text.split(maxsplit=1))]
            try:
                time_ns = _number_in_ns(words[0])
                times[re.split(r"[/\\]", words[1])[-1]] = time_ns
            except (ValueError, InvalidOperation, OverflowError, IndexError) as error:
                raise InputError(f"{file}, line {number}: '{text[:40]}' is not a time and an image's path") from error
    return times


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
