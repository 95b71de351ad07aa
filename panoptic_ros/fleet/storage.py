"""Where a fleet's results lie: a folder of the file system or an fsspec URL; each result appears as a whole or not."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.bags.bag import is_bag_file
from panoptic_ros.bags.read_video import VIDEO_SUFFIXES
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.content_hash import hash_path, hash_settings

RESULT, COUNTERS, LOG = "result.json", "counters.npz", "log.txt"
_RECORDINGS, _PARTIAL, _HASHES = "recordings", ".partial", ".hashes"


def is_url(place: str) -> bool:
    """Whether a path is for fsspec."""
    return "://" in place


def open_url(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it. Raises InputError where fsspec cannot use it."""
    try:
        from fsspec.core import url_to_fs

        fs, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url} cannot be opened: {error}") from error
    return fs, str(path)


class Store:
    """The folder OUT of a fleet's run.

    recordings/NAME-KEY/ has the result of each recording: result.json (its row), counters.npz, log.txt and what the
    command writes. Workers write to .partial/RUN/ and rename; on a URL, result.json is uploaded last, and a folder
    without one is no result. Several machines may share it.
    """

    def __init__(self, place: str) -> None:
        self.place = place if is_url(place) else str(Path(place).expanduser().resolve())
        self._fs: Any = None
        self._root = self.place
        if is_url(place):
            self._fs, self._root = open_url(place)

    def folders(self) -> dict[str, str]:
        """Key (16 digits) -> folder relative to OUT, of all that is done."""
        names = []
        self._forget_listings()
        if self._fs is None:
            place = Path(self._root) / _RECORDINGS
            names = sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []
        elif self._fs.isdir(f"{self._root}/{_RECORDINGS}"):
            done = self._fs.glob(f"{self._root}/{_RECORDINGS}/*/{RESULT}")
            names = sorted(path.split("/")[-2] for path in done)
        return {name.rpartition("-")[2]: f"{_RECORDINGS}/{name}" for name in names}

    def folder_of(self, recording: str, key: str) -> str:
        """Where the result of a recording is put, relative to OUT."""
        word = "".join(c if c.isalnum() or c in "._-" else "_" for c in recording_name(recording))[:80]
        return f"{_RECORDINGS}/{word}-{key[:16]}"

    def read_bytes(self, name: str) -> bytes | None:
        """The content of a file below OUT, None where there is none."""
        try:
            if self._fs is not None:
                return bytes(self._fs.cat_file(f"{self._root}/{name}"))
            return (Path(self._root) / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_json(self, name: str) -> Any:
        """A JSON file below OUT, None where there is none or it was not written to its end."""
        content = self.read_bytes(name)
        try:
            return None if content is None else json.loads(content)
        except ValueError:
            return None

    def read_counters(self, folder: str) -> dict[str, np.ndarray]:
        """Raises InputError where they are missing or damaged."""
        content = self.read_bytes(f"{folder}/{COUNTERS}")
        try:
            if content is None:
                raise ValueError("there is no such file")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, EOFError, ValueError) as error:
            raise InputError(f"{self.place}/{folder}/{COUNTERS} cannot be read ({error}): delete the folder and run "
                             "the command again") from error

    def write(self, name: str, content: str) -> None:
        """Write a file below OUT; whoever reads it meanwhile finds the old one or the new one."""
        if self._fs is not None:
            self._fs.pipe_file(f"{self._root}/{name}", content.encode(errors="surrogateescape"))
            return
        file = Path(self._root) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.{socket.gethostname()}-{os.getpid()}.part")
        part.write_text(content, errors="surrogateescape")
        part.replace(file)

    def delete(self, name: str) -> None:
        if self._fs is not None:
            self._fs.rm(f"{self._root}/{name}")
        else:
            (Path(self._root) / name).unlink(missing_ok=True)

    def names(self, pattern: str) -> list[str]:
        """Names of the files directly in OUT that match."""
        self._forget_listings()
        if self._fs is not None:
            return sorted(path.split("/")[-1] for path in self._fs.glob(f"{self._root}/{pattern}"))
        return sorted(file.name for file in Path(self._root).glob(pattern))

    def _forget_listings(self) -> None:
        """File systems of fsspec, such as S3's, keep what they once listed; workers elsewhere add to it."""
        if self._fs is not None:
            self._fs.invalidate_cache()

    @contextmanager
    def workspace(self, run: str) -> Iterator[Path]:
        """An empty folder for the result of one recording, gone afterwards unless it was published."""
        place = None
        if self._fs is None:
            place = Path(self._root) / _PARTIAL / run
            place.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=place))
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, name: str, replace: bool = False) -> None:
        """Make a workspace the result `name`. One that is there is kept, unless it is to be replaced."""
        if self._fs is not None:
            if self._fs.exists(f"{self._root}/{name}/{RESULT}") and not replace:
                return
            files = sorted((file for file in folder.rglob("*") if file.is_file()),
                           key=lambda file: file == folder / RESULT)
            for file in files:
                self._fs.put_file(str(file), f"{self._root}/{name}/{file.relative_to(folder).as_posix()}")
            return
        target = Path(self._root) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if replace and target.exists():
            # Out of the way first: a folder cannot be renamed onto one that is not empty.
            old = folder.with_name(f"{folder.name}-old")
            target.rename(old)
            shutil.rmtree(old, ignore_errors=True)
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():
                raise  # else another run has done the same in the meantime

    def begin_run(self) -> str:
        """The name of a new run; what runs of this machine left behind that are no more is deleted."""
        host = socket.gethostname()
        place = Path(self._root) / _PARTIAL
        for left in place.iterdir() if self._fs is None and place.is_dir() else ():
            owner, _, pid = left.name.rpartition("-")[0].rpartition("-")
            if owner == host and pid.isdigit() and not Path(f"/proc/{pid}").exists():
                shutil.rmtree(left, ignore_errors=True)
        return f"{host}-{os.getpid()}-{time.time_ns():x}"

    def end_run(self, run: str) -> None:
        """Delete what workers that were ended have left."""
        if self._fs is None:
            place = Path(self._root) / _PARTIAL
            shutil.rmtree(place / run, ignore_errors=True)
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()

    def content_hash(self, path: str) -> tuple[str, int]:
        """What a recording or dataset is known by, and its bytes.

        A local one by the sha256 of its content, which is kept in OUT until names, sizes or times of its files change;
        one of a URL by what its file system says in place of reading it all, such as its ETag.
        Raises InputError where there is nothing.
        """
        if is_url(path):
            return _remote_identity(path)
        place = Path(path).expanduser()
        if not place.exists():
            raise InputError(f"there is no {path}")
        files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
        stats = [file.stat() for file in files]
        size = sum(stat.st_size for stat in stats)
        signature = hash_settings({"files": [[str(file), stat.st_size, stat.st_mtime_ns]
                                             for file, stat in zip(files, stats, strict=True)]})
        name = f"{_HASHES}/{hash_settings({'path': str(place.resolve())})[:24]}.json"
        known = self.read_json(name)
        if known and known.get("signature") == signature:
            return str(known["hash"]), size
        found = hash_path(place)
        self.write(name, json.dumps({"signature": signature, "hash": found, "path": str(place)}) + "\n")
        return found, size


def recording_name(recording: str) -> str:
    """The name of a recording without its folder and the suffix of a file; what follows a dot in a folder's name stays.
    """
    path = Path(recording.rstrip("/").rpartition("/")[2] or recording)
    return path.stem if is_bag_file(path) or path.suffix.lower() in VIDEO_SUFFIXES else path.name


@contextmanager
def local_copy(path: str) -> Iterator[Path]:
    """A recording on this machine: itself, or a copy of what a URL names, as long as it is needed."""
    if not is_url(path):
        yield Path(path)
        return
    fs, inside = open_url(path)
    with tempfile.TemporaryDirectory(prefix="panoptic_ros_") as folder:
        target = Path(folder) / path.rstrip("/").rpartition("/")[2]
        try:
            fs.get(inside, str(target), recursive=bool(fs.isdir(inside)))
        except FileNotFoundError as error:
            raise InputError(f"there is no {path}") from error
        yield target


def expand(recordings: list[str]) -> list[str]:
    """The recordings that paths and URLs with `*` name, each once, sorted; absolute, for workers anywhere.

    Raises InputError where a URL with `*` names none.
    """
    found: list[str] = []
    for path in recordings:
        if is_url(path) and any(c in path for c in "*?["):
            fs, pattern = open_url(path)
            matches = sorted(fs.glob(pattern))
            if not matches:
                raise InputError(f"nothing matches {path}")
            found += [fs.unstrip_protocol(match) for match in matches]
        else:
            found.append(path if is_url(path) else os.path.abspath(os.path.expanduser(path)))
    return sorted(dict.fromkeys(found))


def _remote_identity(url: str) -> tuple[str, int]:
    fs, path = open_url(url)
    files = sorted(fs.find(path))
    if not files:
        raise InputError(f"there is no {url}")
    identity = hash_settings({"files": [[file.removeprefix(path), str(fs.ukey(file))] for file in files]})
    return identity, sum(int(fs.size(file) or 0) for file in files)
