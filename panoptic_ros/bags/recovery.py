"""Reads what is left of damaged bag files: all messages before and after the damage, and where it is."""

from __future__ import annotations

import io
import sqlite3
import struct
import sys
from binascii import crc32
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame  # type: ignore[import-untyped]

from panoptic_ros.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MAGIC = b"\x89MCAP0\r\n"
_DECOMPRESSION_ERRORS = (zstd.ZstdError, RuntimeError, EOFError)  # lz4 raises RuntimeError
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x0F
_HEAD = 9  # a byte for the kind, eight for the length
_FOOTER_SIZE = _HEAD + 20 + len(_MAGIC)
_LARGEST_RECORD = 1 << 30


@dataclass(frozen=True)
class RawMessage:
    """A message as it lies in a bag.

    time_ns: when it was recorded.
    cdr: its serialized bytes.
    """

    topic: str
    message_type: str
    time_ns: int
    cdr: bytes


@dataclass(frozen=True)
class Damage:
    """A place in a bag file where nothing can be read; what follows is read again where that is possible."""

    detail: str


def recover(file: Path) -> Iterator[RawMessage | Damage]:
    """The messages of an .mcap or .db3 file in the order in which they were written, as far as they can be read.

    Raises InputError when the file is of neither format.
    """
    with file.open("rb") as stream:
        magic = stream.read(16)
    if magic.startswith(_MAGIC):
        return _recover_mcap(file)
    if magic.startswith(b"SQLite format 3\0"):
        return _recover_sqlite(file)
    raise InputError(f"{file} is {'empty' if not magic else 'neither an MCAP nor a SQLite file'}, and so no rosbag2; "
                     "is it another format, or was it cut off when it was copied?")


def _recover_mcap(file: Path) -> Iterator[RawMessage | Damage]:
    topics = _McapTopics()
    with file.open("rb") as stream:
        chunk_starts = _chunk_starts(stream)
        position = len(_MAGIC)
        while record := _read_record(stream, position):
            if record.kind in (_DATA_END, _FOOTER) and record.is_whole:
                return
            if record.kind == _CHUNK:
                yield from _recover_chunk(record, topics, f"{file}, byte {position}")
            elif record.is_whole:
                with suppress(struct.error, ValueError):  # what looks like a record behind damage may be none
                    yield from topics.take(record)
            if record.is_whole and record.kind <= _DATA_END:
                position += _HEAD + len(record.content)
                continue
            following = [start for start in chunk_starts if start > position]
            if not following:
                break
            yield Damage(f"{file} is damaged at byte {position}; it is read on from byte {following[0]}")
            position = following[0]
        yield Damage(f"{file} ends at byte {file.stat().st_size} without its end mark: it was cut off")


@dataclass(frozen=True)
class _Record:
    """A record of an MCAP file; content is cut off where is_whole is false."""

    kind: int
    content: bytes
    is_whole: bool


def _read_record(stream: BinaryIO, position: int) -> _Record | None:
    """The record that begins at this byte; None at the end of the stream."""
    stream.seek(position)
    head = stream.read(_HEAD)
    if len(head) < _HEAD:
        return None
    kind, length = struct.unpack("<BQ", head)
    content = stream.read(min(length, _LARGEST_RECORD))  # a damaged length can be beyond all memory
    return _Record(kind, content, len(content) == length)


def _chunk_starts(stream: BinaryIO) -> list[int]:
    """Where the chunks begin, by the index at the end of the file; empty where there is none."""
    size = stream.seek(0, io.SEEK_END)
    footer = _read_record(stream, size - _FOOTER_SIZE) if size > _FOOTER_SIZE else None
    starts: list[int] = []
    if footer and footer.kind == _FOOTER and len(footer.content) == 20:
        (position,) = struct.unpack_from("<Q", footer.content)
        while position and (record := _read_record(stream, position)) and record.is_whole and record.kind != _FOOTER:
            if record.kind == _CHUNK_INDEX and len(record.content) >= 24:
                starts += struct.unpack_from("<Q", record.content, 16)
            position += _HEAD + len(record.content)
    return sorted(starts)


class _McapTopics:
    """The schemas and channels that have been read so far, to make sense of messages."""

    def __init__(self) -> None:
        self.type_names: dict[int, str] = {}
        self.channels: dict[int, tuple[str, str]] = {}

    def take(self, record: _Record) -> Iterator[RawMessage]:
        """Remember a schema or a channel; yield the message of a message record."""
        content = record.content
        if record.kind == _SCHEMA:
            (number,) = struct.unpack_from("<H", content)
            self.type_names[number] = _text(content, 2)
        elif record.kind == _CHANNEL:
            number, schema = struct.unpack_from("<HH", content)
            self.channels[number] = (_text(content, 4), self.type_names.get(schema, ""))
        elif record.kind == _MESSAGE:
            number, _, time_ns = struct.unpack_from("<HIQ", content)
            if number in self.channels:
                topic, type_name = self.channels[number]
                yield RawMessage(topic, type_name, time_ns, content[22:])


def _text(content: bytes, offset: int) -> str:
    (length,) = struct.unpack_from("<I", content, offset)
    return content[offset + 4:offset + 4 + length].decode()


def _recover_chunk(chunk: _Record, topics: _McapTopics, place: str) -> Iterator[RawMessage | Damage]:
    """The messages of a chunk as far as it goes; the cut of one that is not whole is reported by the caller."""
    try:
        length, checksum, compression = *struct.unpack_from("<QI", chunk.content, 16), _text(chunk.content, 28)
        plain = _decompressed(chunk.content[40 + len(compression):], compression)
        stream, position = io.BytesIO(plain), 0
        while (record := _read_record(stream, position)) and record.is_whole:
            yield from topics.take(record)
            position += _HEAD + len(record.content)
    except (struct.error, ValueError) as error:
        if chunk.is_whole:
            yield Damage(f"{place}: a chunk cannot be read to its end ({error})")
        return
    if chunk.is_whole and position < length:
        yield Damage(f"{place}: a chunk of {length} bytes is damaged after {position}")
    elif chunk.is_whole and checksum and crc32(plain) != checksum:
        yield Damage(f"{place}: the checksum of a chunk does not match; its messages were taken as they are")


def _decompressed(compressed: bytes, compression: str) -> bytes:
    """What can be decompressed from the start on, piece by piece so that a cut or a fault loses only what follows."""
    if not compression:
        return compressed
    decompressor = _decompressor(compression)
    plain = bytearray()
    with suppress(*_DECOMPRESSION_ERRORS):
        for start in range(0, len(compressed), 1 << 16):
            if decompressor.eof:
                break
            plain += decompressor.decompress(compressed[start:start + (1 << 16)])
    return bytes(plain)


def _decompressor(compression: str) -> Any:
    if compression == "lz4":
        return lz4.frame.LZ4FrameDecompressor()
    if compression == "zstd":
        return zstd.ZstdDecompressor()
    raise ValueError(f"compressed with '{compression}'; lz4 and zstd can be read")


def _recover_sqlite(file: Path) -> Iterator[RawMessage | Damage]:
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        # Without it, SQLite refuses a file that is shorter than its header says.
        database.execute("PRAGMA writable_schema = ON")
        try:
            topics = {number: (name, type_name)
                      for number, name, type_name in database.execute("SELECT id, name, type FROM topics")}
        except sqlite3.DatabaseError as error:
            raise InputError(f"{file} has no readable table of topics: {error}") from error
        last = -1
        resume: int | None = 0
        while resume is not None:
            try:
                for number, topic, time_ns, cdr in database.execute(
                        "SELECT id, topic_id, timestamp, data FROM messages WHERE id >= ? ORDER BY id", (resume,)):
                    last = number
                    if topic in topics:
                        yield RawMessage(*topics[topic], time_ns, cdr)
                return
            except sqlite3.DatabaseError as error:
                yield Damage(f"{file} cannot be read after message {last}: {error}")
            last = max(last, resume)  # so that a second fault is not met for ever
            resume = _first_readable_of_the_rest(database, last)


def _first_readable_of_the_rest(database: sqlite3.Connection, last: int) -> int | None:
    """The smallest id from which on all messages can be reached from the end; None where there is none after `last`."""
    first = None
    with suppress(sqlite3.DatabaseError):
        for (number,) in database.execute("SELECT id FROM messages WHERE id > ? ORDER BY id DESC", (last + 1,)):
            first = number
    return first
