"""Hashes by which two evaluations are known to be of the same recording or dataset, model and settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from panoptic_ros.datasets.dataset import Dataset

_BLOCK = 1 << 22  # bytes that are read at once


def hash_path(path: Path) -> str:
    """sha256, in hexadecimal, of a file's bytes; of a folder, of the names and bytes of all files below it."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    sizes = [file.stat().st_size for file in files]
    with tqdm(total=sum(sizes), unit="B", unit_scale=True, desc="hash", delay=2, leave=False, disable=None) as progress:
        for file, size in zip(files, sizes, strict=True):
            if file != path:
                # Lengths keep apart what would otherwise run together: names and the bytes of the files beside them.
                name = file.relative_to(path).as_posix()
                digest.update(f"{len(name)} {name} {size} ".encode())
            with file.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
                    progress.update(len(block))
    return digest.hexdigest()


def hash_settings(settings: Mapping[str, Any]) -> str:
    """sha256 of the settings as JSON with sorted keys and without spaces."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def hash_images(dataset: Dataset, count: int | None = None) -> str:
    """sha256 that tells one dataset, or its first `count` images, from another.

    Of the names of its images and classes and of its revision, not of pixels.
    """
    names = {"images": [entry.name for entry in dataset.entries[:count]], "classes": list(dataset.classes.names)}
    return hash_settings({**names, "revision": dataset.revision} if dataset.revision else names)
