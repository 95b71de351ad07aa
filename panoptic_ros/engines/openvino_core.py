"""OpenVINO's entry point, one for the process, and the signal stack that others' leave behind."""

from __future__ import annotations

import ctypes
import functools
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@functools.cache
def openvino_core() -> Any:
    """The process's `openvino.Core`, which lives as long as it.

    With a Core comes the CPU plugin, which gives the calling thread another stack for its signal handlers, and takes
    it away when it goes, putting back the one that it found. Of two that do not go in reverse order the second puts
    back a stack that is freed, and the next Ctrl-C ends the process with a segmentation fault.
    """
    import openvino
    return openvino.Core()


class _SignalStack(ctypes.Structure):
    """stack_t of <signal.h>."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def keep_signal_stack() -> Iterator[None]:
    """After the block, this thread's signal stack is what it was before: where other code makes a Core in it."""
    found = _signal_stack()
    try:
        yield
    finally:
        gc.collect()  # a Core that goes later would take the stack away again
        ctypes.CDLL(None).sigaltstack(ctypes.byref(found), None)


def signal_stack() -> int | None:
    """Address of this thread's stack for signal handlers, None where it has none of its own."""
    address: int | None = _signal_stack().address
    return address


def _signal_stack() -> _SignalStack:
    found = _SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found
