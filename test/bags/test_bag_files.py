"""A bag's files are believed, whatever its metadata.yaml says; nothing is lost that a killed recorder left."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import yaml
from backports import zstd
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.typesys import Stores, get_typestore

from panoptic_ros.bags.bag import Bag
from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.recording import BrokenFrame
from panoptic_ros.bags.types import bag_types, bag_typestore
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import COMPRESSED_IMAGE, IMAGE, camera_image_message, header

START_NS, STEP_NS = 1_000_000_000_000, 100_000_000
WriteBag = Callable[..., Path]


def numbers(path: Path) -> list[int]:
    return [int(item.pixels[0, 0, 0]) for item in open_recording(path).frames() if isinstance(item, CameraImage)]


def broken(path: Path) -> list[BrokenFrame]:
    return [item for item in open_recording(path).frames() if isinstance(item, BrokenFrame)]


def edit_metadata(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "metadata.yaml"
    content = yaml.safe_load(file.read_text())
    change(content["rosbag2_bagfile_information"])
    file.write_text(yaml.safe_dump(content))


def _no_qos(bag: dict[str, Any]) -> None:
    bag["topics_with_message_count"][0]["topic_metadata"]["offered_qos_profiles"] = []


def _other_names(bag: dict[str, Any]) -> None:
    bag["topics_with_message_count"][0]["topic_metadata"].update(name="/other", type="std_msgs/msg/String")


def _no_topics(bag: dict[str, Any]) -> None:
    bag["topics_with_message_count"] = []


@pytest.mark.parametrize("change", [
    _no_qos, _other_names, _no_topics,
    lambda bag: bag.update(storage_identifier=""), lambda bag: bag.update(version=99),
    lambda bag: bag.update(compression_format="zstd", compression_mode="FILE"),
    lambda bag: bag.update(relative_file_paths=["/home/somebody/else/drive_0.mcap"])])
@pytest.mark.parametrize("kind", ["mcap", "sqlite"])
def test_metadata_that_disagrees_with_the_files_costs_no_image(
        write_bag: WriteBag, write_sqlite_bag: WriteBag, tmp_path: Path, kind: str,
        change: Callable[[dict[str, Any]], None]) -> None:
    folder = write_bag(tmp_path / "drive") if kind == "mcap" else write_sqlite_bag(tmp_path / "drive")
    edit_metadata(folder, change)
    assert numbers(folder) == list(range(10))
    assert not broken(folder)
    assert not any("damaged" in notice for notice in open_recording(folder).notices)


@pytest.mark.parametrize("promised", [3, 25])
def test_a_count_that_is_not_that_of_whole_files_is_told_and_not_believed(
        write_bag: WriteBag, tmp_path: Path, promised: int) -> None:
    folder = write_bag(tmp_path / "drive")
    edit_metadata(folder, lambda bag: bag["topics_with_message_count"][0].update(message_count=promised))
    assert numbers(folder) == list(range(10))
    assert not broken(folder)
    assert f"says that /front/image has {promised} messages" in open_recording(folder).notices[0]


@pytest.mark.parametrize("checkpoint", [None, 5])
@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_rows_that_a_killed_recorder_left_in_a_journal_are_read(
        write_sqlite_bag: WriteBag, tmp_path: Path, mode: str, checkpoint: int | None) -> None:
    whole, folder = write_sqlite_bag(tmp_path / "whole") / "whole.db3", tmp_path / "killed"
    folder.mkdir()
    work = tmp_path / "work.db3"
    with closing(sqlite3.connect(whole)) as source, closing(sqlite3.connect(work, isolation_level=None)) as target:
        target.execute(f"PRAGMA journal_mode={mode}")
        target.execute("PRAGMA wal_autocheckpoint=0")
        target.execute("PRAGMA cache_size=5")  # so that an open transaction reaches the file
        for (statement,) in source.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"):
            target.execute(statement)
        for table in ("schema", "metadata", "topics"):
            for row in source.execute(f"SELECT * FROM {table}"):
                target.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(row))})", row)
        for k, row in enumerate(source.execute("SELECT * FROM messages ORDER BY id")):
            target.execute(f"INSERT INTO messages VALUES ({','.join('?' * len(row))})", row)
            if k == checkpoint:
                target.execute("PRAGMA wal_checkpoint(PASSIVE)")
        if mode == "DELETE":  # killed in a transaction: its rows are none
            target.execute("BEGIN")
            target.execute("UPDATE messages SET data = zeroblob(30000), timestamp = 5")
        for ending in ("", "-wal", "-shm", "-journal"):
            if Path(f"{work}{ending}").exists():
                shutil.copy(f"{work}{ending}", folder / f"killed_0.db3{ending}")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert len(before) > 1
    for path in (folder, folder / "killed_0.db3"):
        assert numbers(path) == list(range(10))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def compress(file: Path, share: float = 1.0) -> None:
    packed = zstd.compress(file.read_bytes())
    file.with_name(f"{file.name}.zstd").write_bytes(packed[:int(share * len(packed))])
    file.unlink()


@pytest.mark.parametrize("kind", ["mcap", "db3"])
@pytest.mark.parametrize("has_metadata", [True, False])
def test_files_that_are_compressed_as_a_whole_are_read(
        write_bag: WriteBag, write_sqlite_bag: WriteBag, tmp_path: Path, kind: str, has_metadata: bool) -> None:
    folder = (write_bag if kind == "mcap" else write_sqlite_bag)(tmp_path / "drive")
    compress(folder / f"drive.{kind}")
    if not has_metadata:
        (folder / "metadata.yaml").unlink()
    assert numbers(folder) == list(range(10))
    assert numbers(folder / f"drive.{kind}.zstd") == list(range(10))


@pytest.fixture
def split_bag(numbered_image: Callable[..., CameraImage], tmp_path: Path) -> Path:
    """Thirty images in three parts, as rosbag2 names them."""
    folder = tmp_path / "split"
    folder.mkdir()
    for part in range(3):
        with BagWriter(tmp_path / f"split_{part}.mcap") as bag:
            for k in range(10 * part, 10 * part + 10):
                bag.write("/cam/image", camera_image_message(numbered_image(k), bag_types()), START_NS + k * STEP_NS)
        (tmp_path / f"split_{part}.mcap").rename(folder / f"split_{part}.mcap")
    (folder / "metadata.yaml").write_text(yaml.safe_dump({"rosbag2_bagfile_information": {
        "relative_file_paths": [f"split_{part}.mcap" for part in range(3)],
        "topics_with_message_count": [{"topic_metadata": {"name": "/cam/image"}, "message_count": 30}]}}))
    return folder


def test_of_a_split_recording_with_a_part_cut_the_others_and_the_rest_of_it_are_read(split_bag: Path) -> None:
    compress(split_bag / "split_1.mcap", 0.5)
    found = numbers(split_bag)
    assert found[:10] == list(range(10))
    assert found[-10:] == list(range(20, 30))
    assert sum(item.frames for item in broken(split_bag)) == 30 - len(found)
    assert any("split_1.mcap.zstd" in item.detail for item in broken(split_bag))


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_the_rate_of_a_split_recording_is_that_of_the_parts_that_are_whole(
        split_bag: Path, part: int, share: float) -> None:
    compress(split_bag / f"split_{part}.mcap", share)
    assert open_recording(split_bag).streams[0].frame_rate == pytest.approx(1e9 / STEP_NS)


@pytest.mark.parametrize("content", [b"", b"nothing of a bag", b"\x28\xb5\x2f\xfdxxxxxxxxxxxxxxxxxxxxxx"])
def test_of_a_split_recording_with_a_part_that_is_no_bag_the_others_are_read(split_bag: Path, content: bytes) -> None:
    (split_bag / "split_1.mcap").write_bytes(content)
    assert numbers(split_bag) == [*range(10), *range(20, 30)]
    assert [item.frames for item in broken(split_bag)] == [0, 10]
    assert "split_1.mcap" in open_recording(split_bag).notices[0]


def test_a_part_that_is_missing_is_counted_and_one_that_metadata_does_not_know_is_read(split_bag: Path) -> None:
    edit_metadata(split_bag, lambda bag: bag["relative_file_paths"].pop())
    assert numbers(split_bag) == list(range(30))
    assert "split_2.mcap: read as well" in " ".join(open_recording(split_bag).notices)
    (split_bag / "split_0.mcap").unlink()
    edit_metadata(split_bag, lambda bag: bag["relative_file_paths"].append("split_2.mcap"))
    assert numbers(split_bag) == list(range(10, 30))
    assert [item.frames for item in broken(split_bag)] == [0, 10]


def test_parts_whose_times_overlap_are_merged_by_time(
        split_bag: Path, numbered_image: Callable[..., CameraImage]) -> None:
    (split_bag / "split_2.mcap").unlink()
    with BagWriter(split_bag / "split_2.mcap") as bag:
        for k in range(20, 30):
            bag.write("/cam/image", camera_image_message(numbered_image(k), bag_types()),
                      START_NS + (k - 19) * STEP_NS + 5)
    found = numbers(split_bag)
    assert sorted(found) == list(range(30))
    assert found[:6] == [0, 1, 20, 2, 21, 3]


def test_messages_that_are_compressed_one_by_one_are_read_without_metadata(
        numbered_image: Callable[..., CameraImage], tmp_path: Path) -> None:
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for k in range(5):
            message = camera_image_message(numbered_image(k), bag_types())
            content = bytes(bag_typestore().serialize_cdr(message, IMAGE))
            bag.write_serialized("/cam/image", IMAGE, zstd.compress(content), START_NS + k)
        bag.write_serialized("/cam/image", IMAGE, b"\x28\xb5\x2f\xfdno", START_NS + 9)
    assert numbers(tmp_path / "drive.mcap") == list(range(5))
    assert "cannot be decompressed" in broken(tmp_path / "drive.mcap")[0].detail


def test_where_there_is_no_room_for_decompressed_files_it_is_told_what_to_do(
        write_bag: WriteBag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_bag(tmp_path / "drive")
    compress(folder / "drive.mcap")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5))
    with pytest.raises(InputError, match=r"room for 5: set TMPDIR.*zstd -d"):
        Bag(folder)


@pytest.mark.parametrize("name", ["a:b.mcap", "2026-11-14T10:20:30.db3", "with space #?%41.mcap", "%s.db3",
                                  b"\xff\xfe.mcap", b"\xff.db3"])
def test_any_name_that_a_file_may_have_is_read(
        write_bag: WriteBag, write_sqlite_bag: WriteBag, tmp_path: Path, name: str | bytes) -> None:
    text = name if isinstance(name, str) else name.decode(errors="surrogateescape")
    kind = text[-4:].lstrip(".")
    folder = (write_bag if kind == "mcap" else write_sqlite_bag)(tmp_path / "drive")
    file = (folder / f"drive.{kind}").rename(tmp_path / text)
    assert numbers(file) == list(range(10))


def test_a_bag_of_ros_1_is_read(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types
    with Ros1Writer(tmp_path / "drive.bag") as bag:
        connection = bag.add_connection("/cam/image_raw", IMAGE, typestore=store)
        for k in range(5):
            stamp = types["builtin_interfaces/msg/Time"](sec=1000, nanosec=k)
            message = types[IMAGE](types["std_msgs/msg/Header"](0, stamp, "a"), 2, 3, "rgb8", 0, 9,
                                   np.full(18, k, np.uint8))
            bag.write(connection, START_NS + k, bytes(store.serialize_ros1(message, IMAGE)))
    assert numbers(tmp_path / "drive.bag") == list(range(5))


def h264(count: int) -> list[bytes]:
    """Packets of an encoder that has a key frame first; image k is grey of the value 10 k."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuv420p"
    encoder.time_base, encoder.options = Fraction(1, 10), {"tune": "zerolatency", "x264-params": "repeat-headers=1"}
    packets = []
    for k in range(count):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * k, np.uint8), format="bgr24")
        frame.pts = k
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets + [bytes(packet) for packet in encoder.encode(None)]


@pytest.mark.parametrize("image_format", ["h264", "", "jpeg"])
def test_packets_of_video_in_compressed_images_are_decoded_and_each_is_accounted_for(
        numbered_image: Callable[..., CameraImage], tmp_path: Path, image_format: str) -> None:
    packets = h264(8)
    with BagWriter(tmp_path / "drive.mcap") as bag:
        for k, packet in enumerate([packets[3], *packets]):
            message = bag_types().create(COMPRESSED_IMAGE, header=header(numbered_image(k), bag_types()),
                                         format=image_format, data=np.frombuffer(packet, np.uint8))
            bag.write("/cam/image/compressed", message, START_NS + k * STEP_NS)
    images = [item for item in open_recording(tmp_path / "drive.mcap").frames() if isinstance(item, CameraImage)]
    assert [image.stamp_ns for image in images] == [numbered_image(k).stamp_ns for k in range(1, 9)]
    assert [round(float(image.pixels.mean()) / 10) for image in images] == list(range(8))
    (first,) = broken(tmp_path / "drive.mcap")
    assert (first.reason, first.frames) == ("H264 video", 1)
