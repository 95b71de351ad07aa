"""How many processes can share work here."""

from __future__ import annotations

import multiprocessing
import sys


def usable_processes(count: int, smallest: int = 1) -> int:
    """So many processes as were asked for; `smallest`, with a word on stderr, where Python cannot have locks for them.

    Those are in /dev/shm, which some containers and clusters do not have, or not for us.
    """
    if count > smallest:
        try:
            multiprocessing.get_context("spawn").Lock()
        except (OSError, ImportError) as error:
            print(f"panoptic-ros: /dev/shm cannot be used ({error}): one process does all the work", file=sys.stderr)
            return smallest
    return count
