"""Memory that is free, but that the C library keeps for itself, goes back to the system."""

from __future__ import annotations

import ctypes
import sys


def release_free_memory() -> None:
    """Have glibc give back the free pages of all its arenas; elsewhere nothing happens.

    Each thread allocates from an arena, and a model is loaded by one thread, run by another and dropped by a third:
    what one leaves in its arena the others cannot use, and a process whose models are exchanged grows by their sizes.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
