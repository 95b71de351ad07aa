"""Processes that read ahead end with the program, however that ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from panoptic_ros.datasets import open_dataset
from training.reading import read_ahead

examples = read_ahead(open_dataset("city:600x30@64x128"), {rows}, 1)
try:
    next(examples)
    raise RuntimeError("what takes the images has failed")
except Exception as error:
    kept = error  # its traceback holds all that was in use
print("end", type(kept).__name__)
"""


@pytest.mark.parametrize(("rows", "error"), [("range(30)", "RuntimeError"), ("[99]", "IndexError")])
def test_a_program_ends_though_what_reads_ahead_is_not_done(rows: str, error: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(rows=rows)], cwd=Path(__file__).parents[2],
                          capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"end {error}\n"
