"""Times in a text file: every form that is read, and lines that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.timestamps import read_timestamps


@pytest.mark.parametrize(("line", "nanoseconds"), [
    ("1317042272345808896", 1317042272345808896),
    ("0", 0),
    ("1317042272.345808896", 1317042272345808896),
    ("0.1", 100_000_000),
    ("1.5e0", 1_500_000_000),
    ("1317042272345808896.0", 1317042272345808896),
    ("2011-09-26 13:04:32.345808896", 1317042272345808896),
    ("2011-09-26T13:04:32.5", 1317042272500000000),
    ("2011-09-26 13:04:32", 1317042272000000000),
])
def test_a_time_is_read_in_each_of_its_forms_to_the_nanosecond(tmp_path: Path, line: str, nanoseconds: int) -> None:
    (tmp_path / "timestamps.txt").write_text(f"# a comment\n\n  {line}\n")
    assert read_timestamps(tmp_path / "timestamps.txt") == [nanoseconds]


@pytest.mark.parametrize("line", ["yesterday", "nan", "inf", "2011-09-26 25:04:32", "12:30", "1 2"])
def test_a_line_that_is_no_time_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "timestamps.txt").write_text(f"1\n{line}\n")
    with pytest.raises(InputError, match=f"line 2: '{line}' is not a time"):
        read_timestamps(tmp_path / "timestamps.txt")
