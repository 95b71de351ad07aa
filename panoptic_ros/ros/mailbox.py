"""Mailbox of depth 1 per camera between executor and worker: the newest image only, never a queue."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """One place per camera: what comes later takes the place of what was not fetched in time. Thread-safe."""

    def __init__(self) -> None:
        self._newest: dict[str, Item] = {}
        self._changed = Condition()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more."""
        return self._closed

    def put(self, items: Mapping[str, Item]) -> list[str]:
        """Leave the newest item of some cameras, at once, so that they are taken together.

        Returns the cameras whose earlier item was not taken and is lost now; all of `items` once it is closed.
        """
        with self._changed:
            if self._closed:
                return list(items)
            replaced = [camera for camera in items if camera in self._newest]
            self._newest.update(items)
            self._changed.notify()
            return replaced

    def take(self) -> dict[str, Item]:
        """Wait for an item and take all that there are, one per camera; empty once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._closed)
            taken, self._newest = self._newest, {}
            return taken

    def close(self) -> list[str]:
        """Wake who waits and take nothing more; returns the cameras whose item will not be taken."""
        with self._changed:
            left, self._newest = list(self._newest), {}
            self._closed = True
            self._changed.notify_all()
            return left
