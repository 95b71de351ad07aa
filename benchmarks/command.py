"""Command line and output that benchmarks share."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from panoptic_ros.errors import InputError


def run_benchmark(doc: str | None, measure: Callable[..., dict[str, Any]],
                  table: Callable[[dict[str, Any]], str], **options: str | float) -> None:
    """Parse --quick and --json, measure, print the table, write the file.

    options: further ones with their defaults, which `measure` takes by name after whether it is to be quick.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats: shows that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    for name, default in options.items():
        parser.add_argument(f"--{name}", default=default, type=type(default), help=f"default: {default}")
    arguments = parser.parse_args()
    try:
        result = measure(arguments.quick, **{name: getattr(arguments, name) for name in options})
    except InputError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    print(f"{platform.machine()}, {os.cpu_count()} CPUs")
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def latency_table(milliseconds: Mapping[str, float], few: str, many: str) -> str:
    """A line for each latency, also relative to `network`; then how decode grows from `few` to `many` instances."""
    width = max(map(len, milliseconds))
    lines = [f"{name:<{width}} {value:8.1f} ms  {value / milliseconds['network']:6.3f} x network"
             for name, value in milliseconds.items()]
    growth = milliseconds[f"decode of {many}"] / milliseconds[f"decode of {few}"]
    return "\n".join([*lines, f"{f'decode, {many} : {few}':<{width}} {growth:8.2f}     (budget 1.5)"])
