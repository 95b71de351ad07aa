"""Writes rosbag2 recordings that `ros2 bag` and Foxglove read, where no ROS is installed."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from panoptic_ros.bags.types import bag_types, bag_typestore
from panoptic_ros.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

# What `ros2 bag play` offers: reliable, so that it serves subscribers of every kind. Times of zero mean: no limit.
_QOS = Qos(QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, QosDurability.VOLATILE, QosTime(0, 0), QosTime(0, 0),
           QosLiveliness.AUTOMATIC, QosTime(0, 0), False)


class BagWriter:
    """A rosbag2 being written: a folder with metadata.yaml and .mcap, or one .mcap file if the path ends so.

    types: makes messages for `write`, see `panoptic_ros.messages`.
    compress: zstd inside the file, for label images and other messages with much repetition.
    Raises InputError when there is something at the path already, or it cannot be written; a bag that cannot be
    completed, as on a full disk, is taken away.
    """

    def __init__(self, path: str | Path, compress: bool = False) -> None:
        self.path = Path(path)
        self.types = bag_types()
        self._store = bag_typestore()
        if self.path.exists():
            raise InputError(f"{self.path} is there already: delete it or choose another name")
        # A single file is written inside a folder of its own and moved when it is complete.
        self._unfinished = self.path.with_name(self.path.stem + ".unfinished") if self.path.suffix == ".mcap" else None
        folder = self.path if self._unfinished is None else self._unfinished / self.path.stem
        try:
            if self._unfinished is not None and self._unfinished.exists():
                shutil.rmtree(self._unfinished)
            self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
            if compress:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except OSError as error:
            shutil.rmtree(self.path if self._unfinished is None else self._unfinished, ignore_errors=True)
            raise InputError(f"no bag can be written to {self.path}: {error.strerror or error}") from error
        self._connections: dict[str, Connection] = {}
        self._is_discarded = False

    def write(self, topic: str, message: Any, time_ns: int) -> None:
        """Append a message made with `types`; time_ns is when it was recorded, mostly its header's stamp."""
        self.write_serialized(topic, message.__msgtype__,
                              self._store.serialize_cdr(message, message.__msgtype__), time_ns)

    def write_serialized(self, topic: str, message_type: str, cdr: bytes | memoryview, time_ns: int) -> None:
        """Append a message that is serialized already, byte for byte as a ROS node sent it."""
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(topic, message_type, typestore=self._store,
                                                     offered_qos_profiles=[_QOS])
            self._connections[topic] = connection
        try:
            # The time of a record is unsigned; a header keeps a stamp before 1970 all the same.
            self._writer.write(connection, max(0, time_ns), cdr)
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Write the index; the bag is complete after it."""
        if self._is_discarded:
            return
        try:
            self._writer.close()
            if self._unfinished is not None:
                (self._unfinished / self.path.stem / self.path.name).rename(self.path)
        except OSError as error:
            raise self._failure(error) from error
        if self._unfinished is not None:
            shutil.rmtree(self._unfinished)

    def discard(self) -> None:
        """Take away what was written, a bag that is complete too."""
        self._is_discarded = True
        with suppress(OSError):  # of what it still had to write
            self._writer.abort()
        if self._unfinished is None:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            shutil.rmtree(self._unfinished, ignore_errors=True)
            self.path.unlink(missing_ok=True)

    def _failure(self, error: OSError) -> InputError:
        self.discard()
        return InputError(f"the bag {self.path} cannot be written: {error.strerror or error}; what there was of it was "
                          "taken away")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
