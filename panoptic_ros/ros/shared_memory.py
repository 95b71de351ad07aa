"""Shared memory of killed processes: Fast DDS keeps 128 MiB of /dev/shm for each participant, until that ends.

What is killed, or runs out of memory, never gives its part back, and Fast DDS has nothing that does so at the next
start: a node that is started anew again and again would fill /dev/shm, and then images are lost.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

FOLDER = Path("/dev/shm")
# Between making a lock file and locking it, a process looks like one that has ended.
_YOUNGEST_S = 5.0
_LOCK_OF_SEGMENT = re.compile("fastrtps_[0-9a-f]{16}_el")


def abandoned_segments(folder: Path = FOLDER) -> list[Path]:
    """The shared-memory segments of Fast DDS whose process has ended, as nobody holds their lock any more.

    Only those that are ours to remove, and that are older than a few seconds.
    """
    return [segment for segment, _ in _abandoned(folder)]


def remove_abandoned_segments(folder: Path = FOLDER) -> int:
    """Give the memory of processes that have ended back; returns how many bytes that is."""
    freed = 0
    for segment, lock in _abandoned(folder):
        with suppress(OSError):  # another process that starts now does the same
            size = segment.stat().st_size
            segment.unlink()
            freed += size
            lock.unlink()
    return freed


def _abandoned(folder: Path) -> Iterator[tuple[Path, Path]]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in filter(_LOCK_OF_SEGMENT.fullmatch, names):
        lock = folder / name
        segment = folder / name.removesuffix("_el")
        with suppress(OSError), lock.open("rb") as file:  # held by its process, gone by now, or not ours
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _YOUNGEST_S:
                continue
            flock(file, LOCK_EX | LOCK_NB)
            if segment.exists():
                yield segment, lock
