"""Memory that is free, but that the C library keeps for itself, goes back to the system."""

from __future__ import annotations

import ctypes
import os
import sys

_M_ARENA_MAX = -8  # of mallopt(3)


def share_one_arena() -> None:
    """Have glibc serve all threads from one arena from now on, unless MALLOC_ARENA_MAX is set; elsewhere nothing.

    By default it makes up to eight for each core, and a thread keeps to its own. A model is loaded by one thread,
    compiled by others, run and dropped by further ones: each time the parts that are left lie in other arenas, and a
    process whose models are exchanged grows although it uses no more.
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ and (
            mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_ARENA_MAX, 1)


def release_free_memory() -> None:
    """Have glibc give back the pages that are free, wherever they are; elsewhere nothing happens."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
