"""The command line that all benchmarks share."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run_benchmark(doc: str | None, measure: Callable[[bool], dict[str, Any]],
                  table: Callable[[dict[str, Any]], str]) -> None:
    """Parse --quick and --json, measure, print the table, write the file."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats: shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    result = measure(arguments.quick)
    print(f"{platform.machine()}, {os.cpu_count()} CPUs")
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
