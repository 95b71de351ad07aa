"""Persistence of track states: written to disk while the node runs, restored when it starts again."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any

import numpy as np

from panoptic_ros.errors import InputError
from panoptic_ros.perception import Perception
from panoptic_ros.ros.mailbox import Mailbox
from panoptic_ros.tracking.state_file import read_state, write_state

# Seconds between two writes: what is lost when the process is killed.
INTERVAL = 5.0
# More ids than are given out between two writes. Those that were lost with a killed process are not given out again.
RESERVED_IDS = 10_000


class TracksFile:
    """Track state file of a perception: read once, written from then on by a thread of its own.

    Raises InputError for a place where no file can be.
    """

    def __init__(self, file: Path, logger: Any) -> None:
        self._file, self._logger = file, logger
        if not file.parent.is_dir() or file.is_dir():
            raise InputError(f"tracking.state_file is {file}: "
                             + ("that is a folder; give a file" if file.is_dir() else f"no folder {file.parent}"))
        self._due = monotonic() + INTERVAL
        self._newest: Mailbox[dict[str, np.ndarray]] = Mailbox()
        self._thread = Thread(target=self._run, name="tracks file", daemon=True)
        self._thread.start()

    def restore(self, perception: Perception) -> None:
        """Restore the tracks from the file; one that cannot be read is renamed, and there are no tracks then."""
        if not self._file.exists():
            return
        try:
            perception.restore_tracks(read_state(self._file))
        except InputError as error:
            aside = self._file.with_name(f"{self._file.name}.unreadable")
            self._logger.warning(f"Tracks are not restored: {error}. The file was renamed to {aside}")
            self._file.replace(aside)
            return
        self._logger.info(f"Tracks restored from {self._file}, {perception.tracks_born()} ids were given out before")

    def keep(self, perception: Perception) -> None:
        """Have the tracks written when it is time; called after each image, by the thread that runs the perception."""
        if monotonic() >= self._due:
            self._due = monotonic() + INTERVAL
            state = perception.tracks_state()
            self._newest.put({"": state | {"allocated": state["allocated"] + RESERVED_IDS}})

    def close(self, perception: Perception) -> None:
        """Write the tracks as they are now, and end."""
        self._newest.close()
        self._thread.join()
        self._write(perception.tracks_state())

    def _run(self) -> None:
        while states := self._newest.take():
            self._write(states[""])

    def _write(self, state: dict[str, np.ndarray]) -> None:
        try:
            write_state(self._file, state)
        except InputError as error:
            self._logger.warning(f"Track state: {error}", throttle_duration_sec=60.0)
