"""Shared memory of killed processes: Fast DDS keeps 128 MiB of /dev/shm for each participant, until that ends.

What is killed, or runs out of memory, never gives its part back, and Fast DDS has nothing that does so at the next
start: a node that is started anew again and again would fill /dev/shm, and then images are lost.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

FOLDER = Path("/dev/shm")
# config/fastdds.xml asks for a segment of 128 MiB per process; a node, a camera and a recorder need three, and Docker
# gives 64 MiB to all of them.
WANTED = 512 * 2**20
# How to have more.
REMEDY = f"docker run --shm-size=1g, or mount -o remount,size=1g {FOLDER}"
# Between making a lock file and locking it, a process looks like one that has ended.
_YOUNGEST_S = 5.0
_LOCK_OF_SEGMENT = re.compile("fastrtps_[0-9a-f]{16}_el")


def shortage(folder: Path = FOLDER) -> str:
    """Says that there is too little for images and how to get more; empty where there is enough."""
    try:
        total = shutil.disk_usage(folder).total
    except OSError:
        total = 0
    return "" if total >= WANTED // 2 else (
        f"{folder} has {total / 2**20:.0f} MiB, too little for camera images, which then travel over UDP and are lost "
        f"where they are large: {REMEDY}")


def abandoned_segments(folder: Path = FOLDER) -> dict[Path, int]:
    """The shared-memory segments of Fast DDS whose process has ended, as nobody holds their lock any more, and their
    bytes.

    Only those that are ours to remove, and that are older than a few seconds.
    """
    return {segment: size for segment, _, size in _abandoned(folder)}


def remove_abandoned_segments(folder: Path = FOLDER) -> int:
    """Give the memory of processes that have ended back; returns how many bytes that is."""
    freed = 0
    for segment, lock, size in _abandoned(folder):
        with suppress(OSError):  # another process that starts now does the same
            segment.unlink()
            freed += size
            lock.unlink()
    return freed


def _abandoned(folder: Path) -> Iterator[tuple[Path, Path, int]]:
    """Segment, lock and bytes; the lock is held until the next is asked for."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in filter(_LOCK_OF_SEGMENT.fullmatch, names):
        lock, segment = folder / name, folder / name.removesuffix("_el")
        with suppress(OSError), lock.open("rb") as file:  # held by its process, gone by now, or not ours
            status = os.fstat(file.fileno())
            if status.st_uid == os.geteuid() and time.time() - status.st_mtime >= _YOUNGEST_S:
                flock(file, LOCK_EX | LOCK_NB)
                yield segment, lock, segment.stat().st_size
