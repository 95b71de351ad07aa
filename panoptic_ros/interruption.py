"""Lets long work be stopped between two frames, so that its files are complete."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType


@contextmanager
def stop_on_interrupt() -> Iterator[Event]:
    """An event that is set by Ctrl-C or SIGTERM while the block runs; a second one ends the process as usual.

    To be used in the main thread.
    """
    stop = Event()
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[number])
        print("\nstopping: files are being completed (once more to leave at once)", file=sys.stderr)

    for number in before:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
