"""Reads MCAP files of any writer, with or without index, chunks and end, damaged or not, in the order of time."""

from __future__ import annotations

import io
import mmap
import re
import struct
import sys
from array import array
from binascii import crc32
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame  # type: ignore[import-untyped]
import numpy as np

from panoptic_ros.bags.storage import (
    FIRST_NS,
    LARGEST_RECORD,
    LAST_NS,
    Damage,
    RawMessage,
    TopicCount,
    TopicKey,
    merged,
    ros_type_name,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC = b"\x89MCAP0\r\n"
_DECOMPRESSION_ERRORS = (zstd.ZstdError, RuntimeError, EOFError)  # lz4 raises RuntimeError
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _MESSAGE_INDEX, _CHUNK_INDEX, _DATA_END = (
    0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x0F)
_HEAD = 9  # a byte for the kind, eight for the length
_FOOTER_SIZE = _HEAD + 20 + len(MAGIC)
# Decompressed chunks that are kept: messages of chunks whose times overlap come from several in turn.
_KEPT_CHUNKS = 8
# Where a chunk or a message may begin: their kind and a length below 2 ** 40.
_MAYBE_RECORD = re.compile(rb"[\x05\x06].{5}\0\0\0", re.DOTALL)


@dataclass(frozen=True)
class _Chunk:
    """A chunk: where it is, how long with its head, when its messages were recorded, of which channels they are."""

    position: int
    size: int
    first_ns: int
    last_ns: int
    channels: frozenset[int]


@dataclass(frozen=True)
class _Channel:
    topic: str
    message_type: str
    encoding: str

    def key(self) -> TopicKey:
        return self.topic, self.message_type, self.encoding


class McapFile:
    """A `StorageFile` of the MCAP format.

    path: its name in words to users. plain: the file to read, where that is another, such as a decompressed copy.
    The index at its end and those of the chunks are used where they are there; without them the file is read once to
    find what it has.
    """

    def __init__(self, path: Path, plain: Path | None = None) -> None:
        self.path, self._plain = path, plain or path
        self.topics: dict[TopicKey, TopicCount] = {}
        self.damage: list[Damage] = []
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, _Channel] = {}
        self._chunks: list[_Chunk] = []
        # Messages outside of chunks.
        self._times, self._positions, self._channel_of = array("Q"), array("Q"), array("H")
        self._records = lru_cache(_KEPT_CHUNKS)(self._read_chunk)
        with self._plain.open("rb") as stream:
            self._scan(stream)

    def messages(self, topics: set[str], first_ns: int = FIRST_NS,
                 last_ns: int = LAST_NS) -> Iterator[tuple[int, RawMessage | Damage]]:
        """As `StorageFile` has it; what was found damaged at opening comes first."""
        wanted = {number for number, channel in self._channels.items() if channel.topic in topics}
        yield from ((FIRST_NS, damage) for damage in self.damage)
        pieces: list[Any] = [(chunk.first_ns, partial(self._chunk_messages, chunk, wanted, first_ns, last_ns))
                             for chunk in self._chunks if chunk.channels & wanted and chunk.first_ns <= last_ns
                             and chunk.last_ns >= first_ns]
        if self._times:
            pieces.append((min(self._times), partial(self._loose_messages, wanted, first_ns, last_ns)))
        yield from merged(pieces)

    # What the file has

    def _scan(self, stream: BinaryIO) -> None:
        """Note the channels, and where each chunk and message is; records that are whole but of no use are skipped."""
        size = stream.seek(0, io.SEEK_END)
        index = self._chunk_index(stream, size)
        starts = np.array(sorted(index), np.int64)
        position = len(MAGIC)
        while head := _record_head(stream, position):
            kind, length = head
            end = position + _HEAD + length
            if kind in (_DATA_END, _FOOTER) and end <= size:
                return
            following = starts[np.searchsorted(starts, position, "right"):]
            is_whole = 0 < kind < 0x80 and end <= size and not (len(following) and end > following[0])
            chunks = len(self._chunks)
            if kind == _CHUNK:
                end = self._note_chunk(stream, position, min(end, size), index.get(position, 0) if is_whole else 0)
            elif kind == _MESSAGE and is_whole:
                self._note_loose_message(stream, position)
            elif is_whole and kind in (_SCHEMA, _CHANNEL):
                self._learn(kind, _content(stream, position, length))
            if is_whole:
                position = end
                continue
            if len(following):
                resumed: int | None = int(following[0])
            else:  # a chunk that has messages and no end is the last of a file that was cut off
                resumed = None if len(self._chunks) > chunks else self._next_record(position)
            if resumed is None:
                break
            self.damage.append(Damage(f"{self.path} is damaged at byte {position}; it is read on from byte {resumed}"))
            position = resumed
        self.damage.append(Damage(f"{self.path} ends at byte {size} without its end mark: it was cut off"))

    def _chunk_index(self, stream: BinaryIO, size: int) -> dict[int, int]:
        """Position of each chunk -> bytes of the message indexes behind it, by the summary; learns its channels."""
        head = _record_head(stream, size - _FOOTER_SIZE) if size > _FOOTER_SIZE else None
        index: dict[int, int] = {}
        if head != (_FOOTER, 20):
            return index
        (position,) = struct.unpack_from("<Q", _content(stream, size - _FOOTER_SIZE, 20))
        while position and (head := _record_head(stream, position)) and head[0] != _FOOTER:
            kind, length = head
            if not len(MAGIC) <= position < size or position + _HEAD + length > size:
                break
            with suppress(struct.error, ValueError):
                if kind == _CHUNK_INDEX:
                    content = _content(stream, position, length)
                    start, _, offsets = struct.unpack_from("<QQI", content, 16)
                    (index[start],) = struct.unpack_from("<Q", content, 36 + offsets)
                elif kind in (_SCHEMA, _CHANNEL):
                    self._learn(kind, _content(stream, position, length))
            position += _HEAD + length
        # An index that was made for another file, or that is damaged, is none.
        return {start: length for start, length in index.items()
                if start < size and (head := _record_head(stream, start)) and head[0] == _CHUNK}

    def _note_chunk(self, stream: BinaryIO, position: int, end: int, index_size: int) -> int:
        """Note a chunk of the bytes up to `end`; returns where the next record is."""
        counts = _message_index(stream, end, index_size) if index_size else {}
        if not counts or counts.keys() - self._channels.keys():
            index_size = 0
            counts = {}
            for time_ns, channel, _, _ in self._records(position, end - position)[0]:
                counts.setdefault(channel, TopicCount("", "")).add(TopicCount("", "", 1, time_ns, time_ns))
        if counts:
            self._chunks.append(_Chunk(position, end - position, min(count.first_ns for count in counts.values()),
                                       max(count.last_ns for count in counts.values()), frozenset(counts)))
        for number, count in counts.items():
            if number in self._channels:
                self._count(self._channels[number], count)
        return end + index_size

    def _note_loose_message(self, stream: BinaryIO, position: int) -> None:
        with suppress(struct.error):
            number, _, time_ns = struct.unpack("<HIQ", _content(stream, position, 14))
            if number in self._channels:
                self._count(self._channels[number], TopicCount("", "", 1, time_ns, time_ns))
                self._times.append(time_ns)
                self._positions.append(position)
                self._channel_of.append(number)

    def _count(self, channel: _Channel, count: TopicCount) -> None:
        self.topics.setdefault(channel.key(), TopicCount(channel.message_type, channel.encoding)).add(count)

    def _learn(self, kind: int, content: bytes) -> None:
        """Remember a schema or a channel; what looks like one behind damage may be none."""
        with suppress(struct.error, ValueError):
            if kind == _SCHEMA:
                (number,) = struct.unpack_from("<H", content)
                self._schemas[number] = _text(content, 2)
            else:
                number, schema = struct.unpack_from("<HH", content)
                topic = _text(content, 4)
                encoding = _text(content, 8 + len(topic.encode()))
                self._channels[number] = channel = _Channel(topic, ros_type_name(self._schemas.get(schema, "")),
                                                            encoding)
                self.topics.setdefault(channel.key(), TopicCount(channel.message_type, encoding))

    def _next_record(self, position: int) -> int | None:
        """Where the next chunk or message behind a damaged place is, as far as can be told without an index."""
        with self._plain.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for found in _MAYBE_RECORD.finditer(content, position + 1):
                start, length = found.start(), int.from_bytes(content[found.start() + 1:found.start() + 9], "little")
                end = start + _HEAD + length
                if content[start] == _MESSAGE and length >= 22 and end <= len(content) - _HEAD:
                    kind, next_length = struct.unpack_from("<BQ", content, end)
                    if int.from_bytes(content[start + 9:start + 11], "little") in self._channels \
                            and 0 < kind <= _DATA_END and end + _HEAD + next_length <= len(content):
                        return start
                elif content[start] == _CHUNK and length >= 40 and start + _HEAD + 40 <= len(content):
                    (name,) = struct.unpack_from("<I", content, start + _HEAD + 28)
                    if name <= 4 and content[start + 41:start + 41 + name] in (b"", b"lz4", b"zstd") and \
                            struct.unpack("<Q", content[start + 41 + name:start + 49 + name])[0] == length - 40 - name:
                        return start
        return None

    # Its messages

    def _chunk_messages(self, chunk: _Chunk, wanted: set[int], first_ns: int,
                        last_ns: int) -> Iterator[tuple[int, RawMessage | Damage]]:
        rows, _, problem = self._records(chunk.position, chunk.size)
        if problem:
            yield chunk.first_ns, Damage(problem)
        for time_ns, number, start, end in sorted(rows, key=lambda row: row[0]):
            if number in wanted and first_ns <= time_ns <= last_ns:
                # Asked for once more for each message, so that not all chunks that overlap are held.
                plain = self._records(chunk.position, chunk.size)[1]
                yield time_ns, self._message(number, time_ns, plain[start:end])

    def _loose_messages(self, wanted: set[int], first_ns: int,
                        last_ns: int) -> Iterator[tuple[int, RawMessage | Damage]]:
        with self._plain.open("rb") as stream:
            for row in np.argsort(np.array(self._times), kind="stable").tolist():
                time_ns, number = self._times[row], self._channel_of[row]
                if number in wanted and first_ns <= time_ns <= last_ns:
                    head = _record_head(stream, self._positions[row])
                    assert head is not None
                    yield time_ns, self._message(number, time_ns, _content(stream, self._positions[row], head[1])[22:])

    def _message(self, number: int, time_ns: int, content: bytes) -> RawMessage:
        channel = self._channels[number]
        return RawMessage(channel.topic, channel.message_type, time_ns, content, channel.encoding)

    def _read_chunk(self, position: int, size: int) -> tuple[list[tuple[int, int, int, int]], bytes, str]:
        """The messages of a chunk (time, channel, start, end), its records decompressed, and what is wrong with it.

        Of a chunk that was cut off nothing is wrong here: that is said of the file.
        """
        place = f"{self.path}, byte {position}"
        with self._plain.open("rb") as stream:
            head = _record_head(stream, position)
            assert head is not None
            is_whole = head[1] == size - _HEAD
            content = _content(stream, position, size - _HEAD)
        rows: list[tuple[int, int, int, int]] = []
        try:
            length, checksum, compression = *struct.unpack_from("<QI", content, 16), _text(content, 28)
            if length > LARGEST_RECORD:
                raise ValueError(f"it says that it has {length} bytes: more than {LARGEST_RECORD} are not read")
            plain = _decompressed(content[40 + len(compression):], compression, length)
        except (struct.error, ValueError) as error:
            return rows, b"", f"{place}: a chunk cannot be read ({error})" if is_whole else ""
        start = 0
        while start + _HEAD <= len(plain):
            kind, size = struct.unpack_from("<BQ", plain, start)
            begin, start = start + _HEAD, start + _HEAD + size
            if start > len(plain):
                start = begin - _HEAD
                break
            if kind == _MESSAGE and size >= 22:
                number, _, time_ns = struct.unpack_from("<HIQ", plain, begin)
                rows.append((time_ns, number, begin + 22, start))
            elif kind in (_SCHEMA, _CHANNEL):
                self._learn(kind, plain[begin:start])
        problem = ""
        if is_whole and start < length:
            problem = f"{place}: a chunk of {length} bytes is damaged after {start}"
        elif is_whole and checksum and crc32(plain) != checksum:
            problem = f"{place}: the checksum of a chunk does not match; its messages were taken as they are"
        return [row for row in rows if row[1] in self._channels], plain, problem


def _record_head(stream: BinaryIO, position: int) -> tuple[int, int] | None:
    """Kind and length of the record that begins at this byte; None at the end of the stream."""
    stream.seek(position)
    head = stream.read(_HEAD)
    return struct.unpack("<BQ", head) if len(head) == _HEAD else None


def _content(stream: BinaryIO, position: int, length: int) -> bytes:
    stream.seek(position + _HEAD)
    return stream.read(min(length, LARGEST_RECORD))  # a damaged length can be beyond all memory


def _message_index(stream: BinaryIO, position: int, size: int) -> dict[int, TopicCount]:
    """Channel -> its messages in a chunk, by the message indexes behind it; empty where they are not as they should."""
    counts: dict[int, TopicCount] = {}
    stream.seek(position)
    content = stream.read(min(size, LARGEST_RECORD))
    start = 0
    with suppress(struct.error):
        while start < size:
            kind, length, number, entries = struct.unpack_from("<BQHI", content, start)
            rows = np.frombuffer(content[start + 15:start + 15 + entries], "<u8")
            if kind != _MESSAGE_INDEX or length != entries + 6 or entries % 16 or 8 * len(rows) != entries:
                return {}
            if times := rows[::2].tolist():
                found = TopicCount("", "", len(times), min(times), max(times))
                counts.setdefault(number, TopicCount("", "")).add(found)
            start += _HEAD + length
        return counts
    return {}


def _text(content: bytes, offset: int) -> str:
    (length,) = struct.unpack_from("<I", content, offset)
    return content[offset + 4:offset + 4 + length].decode()


def _decompressed(compressed: bytes, compression: str, length: int) -> bytes:
    """What can be decompressed from the start on, piece by piece so that a cut or a fault loses only what follows, and
    no more than `length` bytes."""
    if not compression:
        return compressed[:length]
    decompressor = _decompressor(compression)
    plain, start = bytearray(), 0
    with suppress(*_DECOMPRESSION_ERRORS):
        while len(plain) < length and not decompressor.eof and (start < len(compressed)
                                                                or not decompressor.needs_input):
            piece = compressed[start:start + (1 << 16)] if decompressor.needs_input else b""
            start += len(piece)
            plain += decompressor.decompress(piece, max_length=length - len(plain))
    return bytes(plain)


def _decompressor(compression: str) -> Any:
    if compression == "lz4":
        return lz4.frame.LZ4FrameDecompressor()
    if compression == "zstd":
        return zstd.ZstdDecompressor()
    raise ValueError(f"compressed with '{compression}'; lz4 and zstd can be read")
