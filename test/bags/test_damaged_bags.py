"""Of a damaged bag everything that can be read is read, and the damage is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.recording import BrokenFrame
from panoptic_ros.bags.types import bag_types
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import camera_image_message


def numbers_and_reports(path: Path) -> tuple[list[int], list[BrokenFrame]]:
    items = list(open_recording(path).frames())
    return ([int(item.pixels[0, 0, 0]) for item in items if isinstance(item, CameraImage)],
            [item for item in items if isinstance(item, BrokenFrame)])


def cut(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:int(share * len(content))])


def noisy_messages(count: int) -> list[tuple[str, object]]:
    """Images of 120 kB that no compression makes smaller, so that a bag of them has several chunks."""
    rng = np.random.default_rng(0)
    messages = []
    for k in range(count):
        pixels = rng.integers(0, 255, (200, 200, 3), np.uint8)
        pixels[0, 0] = k
        messages.append(("/image", camera_image_message(CameraImage(pixels, "bgr8", k * 10**8), bag_types())))
    return messages


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("share", [0.97, 0.7, 0.35])
def test_of_an_mcap_that_was_cut_off_all_before_the_cut_is_read(
        write_bag: Callable[..., Path], tmp_path: Path, compress: bool, share: float) -> None:
    file = write_bag(tmp_path / "drive.mcap", noisy_messages(30), compress)
    cut(file, share)
    recording = open_recording(file)
    assert "damaged or unfinished" in recording.notices[0]
    numbers, reports = numbers_and_reports(file)
    # A chunk of zstd gives its last block only when it is whole: one image of 120 kB.
    assert len(numbers) in (int(30 * share), int(30 * share) - 1)
    assert numbers == list(range(len(numbers)))
    assert [report.reason for report in reports] == ["bag damaged"]
    assert "was cut off" in reports[0].detail


def test_the_images_that_a_cut_took_are_counted_where_metadata_tells_their_number(
        write_bag: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "drive", noisy_messages(30))
    cut(folder / "drive.mcap", 0.5)
    numbers, reports = numbers_and_reports(folder)
    assert [(report.reason, report.frames) for report in reports] == [
        ("bag damaged", 0), ("missing from the bag", 30 - len(numbers))]


@pytest.mark.parametrize("place", ["middle", "end"])
def test_the_rate_of_a_damaged_file_is_that_of_its_recording(
        write_bag: Callable[..., Path], tmp_path: Path, place: str) -> None:
    folder = write_bag(tmp_path / "drive", noisy_messages(30))
    file = folder / "drive.mcap"
    whole = open_recording(folder).streams[0].frame_rate
    if place == "end":
        cut(file, 0.5)
    else:
        content = bytearray(file.read_bytes())
        content[len(content) // 3:2 * len(content) // 3] = bytes(len(content) // 3)
        file.write_bytes(content)
    numbers, _ = numbers_and_reports(folder)
    assert len(numbers) < 25
    assert open_recording(folder).streams[0].frame_rate == pytest.approx(whole)


def test_a_cut_at_any_byte_of_a_small_bag_neither_fails_nor_invents_images(
        write_bag: Callable[..., Path], numbered_image: Callable[..., CameraImage], tmp_path: Path) -> None:
    file = write_bag(tmp_path / "drive.mcap", [
        ("/image", camera_image_message(numbered_image(k, 2, 2), bag_types())) for k in range(4)])
    content, most = file.read_bytes(), 0
    for length in range(1, len(content), 7):
        file.write_bytes(content[:length])
        try:
            numbers, reports = numbers_and_reports(file)
        except InputError:
            assert most == 0
            continue
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= most
        # Behind the last message there is only the index, which is not missed.
        assert reports or numbers == [0, 1, 2, 3]
        most = len(numbers)
    assert most == 4


def test_a_damaged_chunk_in_the_middle_loses_only_its_own_images(
        write_bag: Callable[..., Path], tmp_path: Path) -> None:
    file = write_bag(tmp_path / "drive.mcap", noisy_messages(30), compress=True)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle:middle + 140_000] = b"\xff" * 140_000  # a block of zstd has at most 128 kB
    file.write_bytes(content)
    numbers, reports = numbers_and_reports(file)
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    assert numbers[-1] == 29
    assert 21 <= len(numbers) < 30
    assert reports[0].reason == "bag damaged"
    assert "chunk" in reports[0].detail
    assert reports[1].frames == 30 - len(numbers)


def test_damage_between_chunks_does_not_take_the_chunks_that_follow(
        write_bag: Callable[..., Path], tmp_path: Path) -> None:
    file = write_bag(tmp_path / "drive.mcap", noisy_messages(30))
    with Reader(file) as reader:
        second = reader.storage.chunks[1].chunk_start_offset
    content = bytearray(file.read_bytes())
    content[second:second + 100] = b"\xfe" * 100  # the head of the chunk and of the first message in it
    file.write_bytes(content)
    numbers, reports = numbers_and_reports(file)
    assert numbers == [*range(9), *range(18, 30)]
    assert "it is read on from byte" in reports[0].detail


def test_a_recording_without_its_metadata_is_read_file_by_file(write_bag: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "drive")
    (folder / "metadata.yaml").unlink()
    numbers, reports = numbers_and_reports(folder)
    assert numbers == list(range(10))
    assert not reports
    assert "metadata" in open_recording(folder).notices[0]


def test_of_a_sqlite_bag_that_was_cut_off_all_before_the_cut_is_read(
        write_sqlite_bag: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_sqlite_bag(tmp_path / "drive", 40)
    cut(folder / "drive.db3", 0.5)
    numbers, reports = numbers_and_reports(folder)
    assert 15 <= len(numbers) <= 20
    assert numbers == list(range(len(numbers)))
    assert [report.frames for report in reports] == [0, 40 - len(numbers)]


def test_of_a_sqlite_bag_with_damage_in_the_middle_both_sides_are_read(
        write_sqlite_bag: Callable[..., Path], tmp_path: Path) -> None:
    file = write_sqlite_bag(tmp_path / "drive", 400, height=16, width=16) / "drive.db3"
    content = bytearray(file.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle:middle + 3 * 4096] = b"\xff" * 3 * 4096
    file.write_bytes(content)
    numbers, reports = numbers_and_reports(tmp_path / "drive")
    lost = 400 - len(numbers)
    assert 0 < lost < 40
    assert numbers[0] == 0
    assert numbers[-1] == 399 % 256
    assert reports[-1].frames == lost
