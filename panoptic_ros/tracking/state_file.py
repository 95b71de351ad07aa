"""The state of the tracks in a file, so that a process that starts again goes on with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile
from zlib import error as DeflateError

import numpy as np

from panoptic_ros.atomic_write import write_atomically
from panoptic_ros.errors import InputError


def write_state(file: Path, state: Mapping[str, np.ndarray]) -> None:
    """Write `CameraTrackers.state`, as .npz; whoever reads the file meanwhile, or after a crash, finds it whole.

    Raises InputError where it cannot be written.
    """
    write_atomically(file, lambda stream: np.savez(stream, allow_pickle=False, **state))


def read_state(file: Path) -> dict[str, np.ndarray]:
    """What `write_state` wrote. Raises InputError where the file cannot be read."""
    try:
        with np.load(file, allow_pickle=False) as state:
            return dict(state)
    except (OSError, EOFError, ValueError, AttributeError, TypeError, BadZipFile, DeflateError) as error:
        raise InputError(f"{file} holds no tracks that can be read: {error}") from error
