"""Reads the SQLite files of rosbag2, with what a killed recorder left in journals, damaged or not, in time order."""

from __future__ import annotations

import shutil
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from panoptic_ros.bags.storage import (
    FIRST_NS,
    LAST_NS,
    Damage,
    RawMessage,
    TopicCount,
    TopicKey,
    ros_type_name,
)
from panoptic_ros.errors import InputError

MAGIC = b"SQLite format 3\0"
# What SQLite keeps beside a database while it is written; a recorder that was killed leaves it, rows and all.
_JOURNALS = ("-wal", "-journal")


class SqliteFile:
    """A `StorageFile` of SQLite.

    path: its name in words to users. plain: the file to read, where that is another, such as a decompressed copy.
    Raises InputError when there is no table of topics that can be read.
    """

    def __init__(self, path: Path, plain: Path | None = None) -> None:
        self.path, self._plain = path, plain or path
        self.topics: dict[TopicKey, TopicCount] = {}
        self.damage: list[Damage] = []
        self._topic_of: dict[int, TopicKey] = {}
        self._ids, self._times, self._topic_ids = array("q"), array("q"), array("q")
        self._copy: TemporaryDirectory[str] | None = None
        if any(_has_content(Path(f"{self._plain}{ending}")) for ending in _JOURNALS):
            self._plain = self._with_journal()
        with closing(self._connect()) as database:
            self._scan(database)

    def messages(self, topics: set[str], first_ns: int = FIRST_NS,
                 last_ns: int = LAST_NS) -> Iterator[tuple[int, RawMessage | Damage]]:
        """As `StorageFile` has it; what was found damaged at opening comes first."""
        yield from ((FIRST_NS, damage) for damage in self.damage)
        with closing(self._connect()) as database:
            is_damage_known = bool(self.damage)
            for row in np.argsort(np.array(self._times), kind="stable").tolist():
                time_ns, key = self._times[row], self._topic_of[self._topic_ids[row]]
                if key[0] not in topics or not first_ns <= time_ns <= last_ns:
                    continue
                try:
                    found = database.execute("SELECT data FROM messages WHERE id = ?", (self._ids[row],)).fetchone()
                    if not found or not isinstance(found[0], bytes):
                        raise sqlite3.DatabaseError("it is not there")
                except sqlite3.DatabaseError as error:
                    if not is_damage_known:
                        yield time_ns, Damage(f"{self.path}: message {self._ids[row]} cannot be read: {error}")
                    is_damage_known = True
                    continue
                yield time_ns, RawMessage(key[0], key[1], time_ns, found[0], key[2])

    def _with_journal(self) -> Path:
        """A copy with its journals in a folder of its own: what the recorder left is not changed by reading it."""
        try:
            self._copy = TemporaryDirectory(prefix="panoptic_ros_")
            copy = Path(self._copy.name) / "bag.db3"
            for ending in ("", *_JOURNALS):
                if (file := Path(f"{self._plain}{ending}")).exists():
                    shutil.copyfile(file, f"{copy}{ending}")
            with closing(sqlite3.connect(copy)) as database:
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except (OSError, sqlite3.DatabaseError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.damage.append(Damage(f"{self.path} was not closed, and what lies in the journal beside it cannot be "
                                      f"read: {reason}"))
            return self._plain
        return copy

    def _connect(self) -> sqlite3.Connection:
        # Without `immutable`, SQLite would want to write beside the file; a copy with a journal needs it not to be.
        kind = "ro&immutable=1" if self._copy is None or self._plain.parent != Path(self._copy.name) else "rw"
        name = str(self._plain.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        database = sqlite3.connect(f"file:{name}?mode={kind}", uri=True, check_same_thread=False)
        # Without it, SQLite refuses a file that is shorter than its header says.
        database.execute("PRAGMA writable_schema = ON")
        database.text_factory = lambda content: content.decode(errors="replace")
        return database

    def _scan(self, database: sqlite3.Connection) -> None:
        """Note which messages there are, beyond damaged places as well."""
        try:
            for number, name, message_type, encoding in database.execute(
                    "SELECT id, name, type, serialization_format FROM topics"):
                self._topic_of[number] = key = (name, ros_type_name(message_type), encoding or "cdr")
                self.topics.setdefault(key, TopicCount(*key[1:]))
        except sqlite3.DatabaseError as error:
            raise InputError(f"{self.path} has no readable table of topics: {error}") from error
        last = -1
        resume: int | None = -1 << 63
        while resume is not None:
            try:
                for number, topic, time_ns in database.execute(
                        "SELECT id, topic_id, timestamp FROM messages WHERE id >= ? ORDER BY id", (resume,)):
                    last = number
                    if topic in self._topic_of and isinstance(time_ns, int):
                        self._ids.append(number)
                        self._topic_ids.append(topic)
                        self._times.append(time_ns)
                        self.topics[self._topic_of[topic]].add(TopicCount("", "", 1, time_ns, time_ns))
                return
            except sqlite3.DatabaseError as error:
                self.damage.append(Damage(f"{self.path} cannot be read after message {last}: {error}"))
            last = max(last, resume)  # so that a second fault is not met for ever
            resume = _first_readable_of_the_rest(database, last)


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except OSError:
        return False


def _first_readable_of_the_rest(database: sqlite3.Connection, last: int) -> int | None:
    """The smallest id from which on all messages can be reached from the end; None where there is none after `last`."""
    first = None
    with suppress(sqlite3.DatabaseError):
        for (number,) in database.execute("SELECT id FROM messages WHERE id > ? ORDER BY id DESC", (last + 1,)):
            first = number
    return first
