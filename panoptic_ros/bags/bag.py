"""A bag as its files hold it: which topics it has, and their messages in the order in which they were recorded."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from panoptic_ros.bags import mcap_file, ros1_file, sqlite_file
from panoptic_ros.bags.storage import (
    FIRST_NS,
    LARGEST_RECORD,
    LAST_NS,
    Damage,
    RawMessage,
    StorageFile,
    TopicCount,
    TopicKey,
    merged,
)
from panoptic_ros.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BAG_SUFFIXES = {".mcap", ".db3", ".bag"}
_ZSTD_SUFFIXES = {".zstd", ".zst"}
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def is_bag_file(path: Path) -> bool:
    """Whether a file's name is that of a bag, compressed as a whole (`X.mcap.zstd`) or not."""
    return _plain_name(path).suffix.lower() in BAG_SUFFIXES


def is_storage_file(path: Path) -> bool:
    """Whether it may be a file of a rosbag2 folder."""
    return is_bag_file(path) and not path.name.startswith(".") and _plain_name(path).suffix.lower() != ".bag"


class Bag:
    """The messages of a rosbag2 folder, with or without its metadata.yaml, or of a single .mcap, .db3 or .bag file.

    What the files hold is believed, and not metadata.yaml, which others may have written or edited: it says which files
    there are, and where some of them are damaged how many messages there were.
    topics: what there is, over all files. notices: what is to be said of its state. damage: what cannot be read.
    Files that are compressed as a whole are decompressed to the folder for temporary files while this lives.
    Raises InputError when there is no file that can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[TopicKey, TopicCount] = {}
        self.notices: list[str] = []
        self.damage: list[Damage] = []
        self._files: list[StorageFile] = []
        self._folder: TemporaryDirectory[str] | None = None
        metadata = _metadata(path) if path.is_dir() else None
        if path.is_dir() and metadata is None:
            self.notices.append("the bag has no metadata.yaml that can be read (ROS writes it when a recording ends): "
                                "its files are read as they are")
        files = self._find(metadata)
        for file in files:
            try:
                self._files.append(self._open(file))
            except InputError as error:
                if len(files) == 1:
                    raise
                self.damage.append(Damage(str(error)))
        if not self._files:
            raise InputError("; ".join(damage.detail for damage in self.damage))
        for opened in self._files:
            for key, count in opened.topics.items():
                self.topics.setdefault(key, TopicCount(*key[1:])).add(count)
        if faults := [*self.damage, *(damage for opened in self._files for damage in opened.damage)]:
            self.notices.append(f"the bag is damaged or unfinished ({faults[0].detail}): what can be read of it is "
                                "read")
        self._promised_rates: dict[str, float] = {}
        self._compare_counts(metadata, bool(faults))

    def rate(self, topic: str) -> float | None:
        """Messages of a topic per second of recording, None where they tell of none.

        Between those that are there, file by file, so that no lost file counts as time without messages. Where some are
        lost inside a file that is too few; then the number and the time that metadata.yaml promises may tell of more.
        """
        intervals = nanoseconds = 0
        for opened in self._files:
            found = TopicCount("", "")
            for key, count in opened.topics.items():
                if key[0] == topic:
                    found.add(count)
            if found.count:
                intervals, nanoseconds = intervals + found.count - 1, nanoseconds + found.last_ns - found.first_ns
        found_rate = 1e9 * intervals / nanoseconds if nanoseconds > 0 else 0.0
        return max(found_rate, self._promised_rates.get(topic, 0.0)) or None

    def messages(self, topics: set[str], first_ns: int = FIRST_NS,
                 last_ns: int = LAST_NS) -> Iterator[RawMessage | Damage]:
        """The messages on these topics recorded in this range of time, both ends included, in the order of it."""
        yield from self.damage
        pieces = [(FIRST_NS if opened.damage else min((count.first_ns for count in opened.topics.values()),
                                                      default=LAST_NS),
                   partial(opened.messages, topics, first_ns, last_ns)) for opened in self._files]
        for _, item in merged(pieces):
            yield _decompressed(item) if isinstance(item, RawMessage) and item.content[:4] == _ZSTD_MAGIC else item

    # Its files

    def _find(self, metadata: dict[str, Any] | None) -> list[Path]:
        """The storage files: those that metadata.yaml names, with or without .zstd, and later parts of a recording."""
        if self.path.is_file():
            return [self.path]
        there: dict[str, Path] = {}
        for file in sorted(self.path.iterdir()):
            # Of a file that lies there compressed and as it was, the latter is taken.
            if is_storage_file(file) and file.is_file() and (file.name == _plain_name(file).name
                                                         or _plain_name(file).name not in there):
                there[_plain_name(file).name] = file
        if not there:
            raise InputError(f"{self.path} is not a bag that can be read: it has no "
                             ".db3 or .mcap file")
        named = [_plain_name(Path(name)).name for name in metadata["files"]] if metadata else []
        missing = [name for name in named if name not in there]
        others = [name for name in there if name not in named]
        if named and len(missing) == len(others) and missing:
            self.notices.append(f"metadata.yaml names {', '.join(missing)}: taken are {', '.join(others)}, "
                                "which seem to be these files renamed")
        elif missing:
            self.damage += [Damage(f"{self.path / name}, which metadata.yaml names, is not there") for name in missing]
        if named and len(missing) < len(named):
            # ROS writes the names when a recording ends: parts of one that did not are not among them.
            parts = {_without_number(name) for name in named}
            kept = [name for name in others if missing or _without_number(name) in parts]
            if added := [name for name in kept if not missing]:
                self.notices.append(f"metadata.yaml does not name {', '.join(added)}: read as well")
            others, named = kept, [name for name in named if name in there]
        else:
            named = []
        return [there[name] for name in sorted({*named, *others}, key=lambda name: (len(name), name))]

    def _open(self, file: Path) -> StorageFile:
        try:
            with file.open("rb") as stream:
                magic = stream.read(16)
            plain = None
            if magic.startswith(_ZSTD_MAGIC):
                plain, is_whole = self._decompress(file)
                with plain.open("rb") as stream:
                    magic = stream.read(16)
            if magic.startswith(mcap_file.MAGIC):
                opened: StorageFile = mcap_file.McapFile(file, plain)
            elif magic.startswith(sqlite_file.MAGIC):
                opened = sqlite_file.SqliteFile(file, plain)
            elif magic.startswith(ros1_file.MAGIC):
                opened = ros1_file.Ros1File(file, plain)
            else:
                raise InputError(f"{file} is {'empty' if not magic else 'neither an MCAP nor a SQLite file'}, and so "
                                 "no bag; is it another format, or was it cut off when it was copied?")
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
        if plain is not None and not is_whole and not opened.damage:
            opened.damage.append(Damage(f"{file} was cut off"))
        return opened

    def _decompress(self, file: Path) -> tuple[Path, bool]:
        """A copy of what can be decompressed of a file, and whether that is all of it."""
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="panoptic_ros_")
        plain = Path(self._folder.name) / f"{len(self._files)}.plain"
        is_whole = True
        try:
            with file.open("rb") as source, plain.open("wb") as target:
                head = source.read(64)
                size = zstd.get_frame_info(head).decompressed_size or 0
                if size > (free := shutil.disk_usage(self._folder.name).free):
                    raise InputError(f"{file} has {size} bytes when decompressed, and {self._folder.name} room for "
                                     f"{free}: set TMPDIR to a folder that has, or decompress it: zstd -d")
                decompressor, rest = zstd.ZstdDecompressor(), head
                while rest or (rest := source.read(1 << 20)):
                    if decompressor.eof:
                        decompressor = zstd.ZstdDecompressor()
                    target.write(decompressor.decompress(rest, max_length=1 << 24))
                    while not decompressor.needs_input and not decompressor.eof:
                        target.write(decompressor.decompress(b"", max_length=1 << 24))
                    rest = decompressor.unused_data if decompressor.eof else b""
                is_whole = decompressor.eof
        except zstd.ZstdError:
            is_whole = False
        except OSError as error:
            raise InputError(f"{file} cannot be decompressed to {self._folder.name}: {error.strerror}; set TMPDIR to a "
                             "folder with room, or decompress it: zstd -d") from error
        return plain, is_whole

    def _compare_counts(self, metadata: dict[str, Any] | None, is_damaged: bool) -> None:
        """Believe metadata.yaml where files are damaged, and the files where they are not."""
        for name, promised in (metadata["counts"] if metadata else {}).items():
            mine = [count for key, count in self.topics.items() if key[0] == name]
            found = sum(count.count for count in mine)
            if promised == found or not mine:
                continue
            if not is_damaged:
                self.notices.append(f"metadata.yaml says that {name} has {promised} messages; the files, which are "
                                    f"whole, have {found}")
            elif promised > found:
                max(mine, key=lambda count: count.count).count += promised - found
                if metadata and promised > 1 and metadata["duration_ns"] > 0:
                    self._promised_rates[name] = 1e9 * (promised - 1) / metadata["duration_ns"]


def _metadata(folder: Path) -> dict[str, Any] | None:
    """Files, duration (0: not told) and messages per topic by metadata.yaml; None where it cannot be read."""
    try:
        bag = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        duration = bag.get("duration") if isinstance(bag, dict) else None
        nanoseconds = duration.get("nanoseconds") if isinstance(duration, dict) else None
        return {"duration_ns": nanoseconds if isinstance(nanoseconds, int) else 0,
                "files": [re.split(r"[/\\]", str(name))[-1] for name in bag["relative_file_paths"]],
                "counts": {str(row["topic_metadata"]["name"]): int(row["message_count"])
                           for row in bag["topics_with_message_count"]}}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _decompressed(message: RawMessage) -> RawMessage | Damage:
    """A message of a bag with `compression_mode: MESSAGE`; no message of ROS begins as zstd does."""
    try:
        decompressor = zstd.ZstdDecompressor()
        content = decompressor.decompress(message.content, max_length=LARGEST_RECORD)
        if not decompressor.eof:
            raise zstd.ZstdError("it is cut off or too large")
    except zstd.ZstdError as error:
        return Damage(f"the message on {message.topic} at {message.time_ns} ns cannot be decompressed: {error}")
    return RawMessage(message.topic, message.message_type, message.time_ns, content, message.encoding)


def _plain_name(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() in _ZSTD_SUFFIXES else path


def _without_number(name: str) -> str:
    """X_12.mcap -> X.mcap, as rosbag2 numbers the parts of a recording."""
    return re.sub(r"_\d+(?=\.\w+$)", "", name)
