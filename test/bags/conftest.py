"""Writes MCAP files record by record, as other writers make them: any profile, channel, chunking and index."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from backports import zstd

MAGIC = b"\x89MCAP0\r\n"

# Topic, name of the message type, message encoding, name of the schema's encoding.
Channel = tuple[str, str, str, str]
# Number of the channel, time of recording, serialized message.
Message = tuple[int, int, bytes]


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text.encode())) + text.encode()


def _message_record(message: Message) -> bytes:
    channel, time_ns, content = message
    return _record(5, struct.pack("<HIQQ", channel + 1, 0, time_ns, time_ns) + content)


@pytest.fixture
def write_mcap() -> Callable[..., Path]:
    """`write_mcap(path, channels, messages, profile="ros2", chunk=4, compression="zstd", index=True, end=True)`.

    chunk: messages in one, 0 for none. index: message indexes, chunk indexes and the channels at the end.
    end: the records that close a file; without them it is as a killed recorder leaves it.
    """

    def write(path: Path, channels: Sequence[Channel], messages: Sequence[Message], profile: str = "ros2",
              chunk: int = 4, compression: str = "zstd", index: bool = True, end: bool = True) -> Path:
        definitions = b""
        for k, (topic, kind, encoding, schema_encoding) in enumerate(channels):
            schema = k + 1 if kind else 0
            if kind:
                definitions += _record(3, struct.pack("<H", schema) + _text(kind) + _text(schema_encoding)
                                       + struct.pack("<I", 0))
            definitions += _record(4, struct.pack("<HH", k + 1, schema) + _text(topic) + _text(encoding)
                                   + struct.pack("<I", 0))
        content = MAGIC + _record(1, _text(profile) + _text("test")) + (b"" if chunk else definitions)
        chunk_indexes = b""
        for start in range(0, len(messages), chunk or len(messages)):
            part = messages[start:start + (chunk or len(messages))]
            if not chunk:
                content += b"".join(map(_message_record, part))
                continue
            records, rows = definitions, {}
            for message in part:
                rows.setdefault(message[0] + 1, []).append((message[1], len(records)))
                records += _message_record(message)
            times = [message[1] for message in part]
            packed = zstd.compress(records) if compression == "zstd" else records
            position = len(content)
            content += _record(6, struct.pack("<QQQI", min(times), max(times), len(records), 0) + _text(compression)
                               + struct.pack("<Q", len(packed)) + packed)
            length, offsets, indexes = len(content) - position, b"", b""
            for channel, entries in rows.items():
                offsets += struct.pack("<HQ", channel, len(content) + len(indexes))
                indexes += _record(7, struct.pack("<HI", channel, 16 * len(entries))
                                   + b"".join(struct.pack("<QQ", *entry) for entry in entries))
            if index:
                content += indexes
                chunk_indexes += _record(8, struct.pack("<QQQQ", min(times), max(times), position, length)
                                         + struct.pack("<I", len(offsets)) + offsets + struct.pack("<Q", len(indexes))
                                         + _text(compression) + struct.pack("<QQ", len(packed), len(records)))
        if end:
            content += _record(15, struct.pack("<I", 0))
            summary = len(content) if index else 0
            content += (definitions + chunk_indexes if index else b"") + _record(
                2, struct.pack("<QQI", summary, 0, 0)) + MAGIC
        path.write_bytes(content)
        return path

    return write
