"""Files that are whole or not there, on a disk that is full too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from panoptic_ros.errors import InputError


def write_atomically(file: Path, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write a file as a whole: text is UTF-8, a callable writes to the opened file.

    Raises InputError where it cannot be written; then the file is what it was before, and nothing else is left.
    """
    write_all_atomically([(file, content)])


def write_all_atomically(files: Iterable[tuple[Path, bytes | str | Callable[[BinaryIO], object]]]) -> None:
    """The same for files that belong together: none takes its place before all are written."""
    partials: list[tuple[Path, Path]] = []
    file = Path()
    try:
        for file, content in files:
            partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
            partials.append((partial, file))
            with partial.open("wb") as stream:
                if callable(content):
                    content(stream)
                else:
                    stream.write(content.encode(errors="replace") if isinstance(content, str) else content)
                stream.flush()
                os.fsync(stream.fileno())
        for partial, file in partials:
            partial.replace(file)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        for partial, _ in partials:
            partial.unlink(missing_ok=True)
