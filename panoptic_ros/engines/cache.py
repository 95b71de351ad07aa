"""The cache on disk of what engines compile: plans and graphs, under a key of all that they depend on."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

# Entries that are kept; those that have not been used for longest go first.
ENTRIES_KEPT = 32
# Environment variable -> the folder; empty: nothing is kept.
FOLDER_VARIABLE = "PANOPTIC_ROS_CACHE"

_ENDING = ".plan"
_log = logging.getLogger(__name__)
_told: set[Path] = set()


def cache_folder() -> Path | None:
    """`$PANOPTIC_ROS_CACHE`, else `panoptic_ros` in the user's cache; None where it is set to nothing."""
    if (given := os.environ.get(FOLDER_VARIABLE)) is not None:
        return Path(given).expanduser() if given else None
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "panoptic_ros"


class EngineCache:
    """Bytes by key. What cannot be read, or was damaged, counts as not there; what cannot be written is left out, with
    one warning for each folder: an engine works without its cache, and only starts more slowly.
    """

    def __init__(self) -> None:
        self._folder = cache_folder()

    def file(self, key: Mapping[str, object]) -> Path | None:
        """Where the entry of this key lies, or would; None where nothing is kept."""
        text = json.dumps(dict(key), sort_keys=True, default=str)
        name = f"{key['engine']}-{hashlib.sha256(text.encode()).hexdigest()[:32]}{_ENDING}"
        return self._folder / name if self._folder else None

    def load(self, key: Mapping[str, object]) -> bytes | None:
        """The content that was kept under this key; None where there is none, or not all of it."""
        if (file := self.file(key)) is None:
            return None
        try:
            digest, content = (whole := file.read_bytes())[:32], whole[32:]
            if hashlib.sha256(content).digest() != digest:
                _log.warning("%s is damaged and is made anew", file)
                file.unlink(missing_ok=True)
                return None
            os.utime(file)
        except OSError:
            return None
        return content

    def store(self, key: Mapping[str, object], content: bytes) -> None:
        """Keep this content under the key, whole or not at all."""
        if (file := self.file(key)) is None:
            return
        partial = file.with_suffix(f".{os.getpid()}.partial")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                partial.write_bytes(hashlib.sha256(content).digest() + content)
                os.replace(partial, file)
            finally:
                partial.unlink(missing_ok=True)
            entries = sorted(file.parent.glob(f"*{_ENDING}"), key=lambda entry: entry.stat().st_mtime, reverse=True)
            for old in entries[ENTRIES_KEPT:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            if file.parent not in _told:
                _told.add(file.parent)
                _log.warning("compiled networks are not kept in %s (%s): each start compiles them again; set %s to "
                             "another folder, or free or unlock this one", file.parent, error.strerror, FOLDER_VARIABLE)

    def discard(self, key: Mapping[str, object]) -> None:
        """Remove the entry of this key: an engine did not take it."""
        if (file := self.file(key)) is not None:
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                _log.info("%s cannot be removed: %s", file, error)


def network_hash(network: nn.Module) -> str:
    """Hash of a network: its weights, its structure, and the source files of its modules."""
    digest = hashlib.sha256(repr(network).encode())
    for name, value in network.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    for file in sorted({file for kind in {type(module) for module in network.modules()} if (file := _source(kind))}):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()


def _source(kind: type) -> str | None:
    """The file that a module's class is written in; none for torch's own, whose version tells as much."""
    if kind.__module__.split(".")[0] == "torch":
        return None
    try:
        return inspect.getsourcefile(kind)
    except TypeError:
        return None
