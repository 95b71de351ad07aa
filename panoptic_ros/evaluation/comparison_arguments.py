"""--compare and --tolerance, which every command that scores has: a gate against regressions."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.comparison import compare, format_comparison
from panoptic_ros.evaluation.results import read_result

_TOLERANCE = 0.01


def add_comparison_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two arguments."""
    parser.add_argument("--compare", type=Path, metavar="OTHER.json",
                        help="an earlier result: print what changed, and end with status 1 where something is worse by "
                             "more than the tolerance")
    parser.add_argument("--tolerance", type=float, metavar="FRACTION",
                        help=f"with --compare: how much worse a metric may be (default: {_TOLERANCE})")


def earlier_result(args: argparse.Namespace) -> dict[str, Any] | None:
    """The result to compare with, None without --compare; to be asked for before any work is done.

    Raises InputError where it cannot be read or --tolerance makes no sense.
    """
    check_tolerance(args)
    return read_result(args.compare) if args.compare else None


def check_tolerance(args: argparse.Namespace) -> float:
    """The tolerance. Raises InputError where --tolerance makes no sense."""
    if args.tolerance is not None and not args.compare:
        raise InputError("--tolerance goes with --compare")
    if args.tolerance is not None and not 0 <= args.tolerance <= 1:
        raise InputError(f"--tolerance is {args.tolerance:g}; it is a fraction from 0 to 1, such as {_TOLERANCE}")
    return _TOLERANCE if args.tolerance is None else float(args.tolerance)


def print_comparison(result: Mapping[str, Any], other: Mapping[str, Any] | None, args: argparse.Namespace) -> int:
    """Print what changed from the `earlier_result`; returns the exit status, 1 where something is worse."""
    if other is None:
        return 0
    comparison = compare(result, other, check_tolerance(args))
    print(f"\nin comparison with {args.compare}:\n{format_comparison(comparison)}")
    return int(bool(comparison.regressions))
