"""Folders of images are read in order, at the times their timestamps say."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.recording import BrokenFrame
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError


def write_images(folder: Path, names: list[str]) -> None:
    """Image k of the list is filled with the value k."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((8, 12, 3), k, np.uint8))


def images_of(path: Path, *cameras: str) -> list[CameraImage]:
    items = list(open_recording(path, cameras).frames())
    assert not [item for item in items if isinstance(item, BrokenFrame)]
    return [item for item in items if isinstance(item, CameraImage)]


def test_images_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_images(tmp_path, ["img_1.png", "img_2.png", "img_10.png"])
    (tmp_path / "notes.md").write_text("not an image")
    recording = open_recording(tmp_path)
    assert "10 frames/s assumed" in recording.notices[0]
    assert [(int(image.pixels[0, 0, 0]), image.stamp_ns) for image in images_of(tmp_path)] == [
        (0, 0), (1, 100_000_000), (2, 200_000_000)]


@pytest.mark.parametrize("place", [".", "images"])
def test_times_are_taken_from_beside_or_above_the_images(tmp_path: Path, place: str) -> None:
    write_images(tmp_path / "images", ["0.png", "1.png"])
    (tmp_path / place / "timestamps.txt").write_text("5000000000\n5.25\n")
    for path in (tmp_path / "images", tmp_path):
        assert [image.stamp_ns for image in images_of(path)] == [5_000_000_000, 5_250_000_000]
        (stream,) = open_recording(path).streams
        assert (stream.camera, stream.frames, stream.frame_rate) == ("camera", 2, pytest.approx(4))


def test_a_drive_of_kitti_is_two_cameras_interleaved_by_time(tmp_path: Path) -> None:
    for camera, stamps in (("image_02", "1.00\n1.10\n"), ("image_03", "0.99\n1.11\n")):
        write_images(tmp_path / camera / "data", ["0000000000.png", "0000000001.png"])
        (tmp_path / camera / "timestamps.txt").write_text(stamps)
    write_images(tmp_path / "depth", ["0.png"])
    assert [(image.camera, image.stamp_ns // 10**7) for image in images_of(tmp_path)] == [
        ("image_03", 99), ("image_02", 100), ("image_02", 110), ("image_03", 111)]
    assert {image.camera for image in images_of(tmp_path, "image_03")} == {"image_03"}
    with pytest.raises(InputError, match="no camera image_07; it has: image_02, image_03"):
        open_recording(tmp_path, ["image_07"])


def test_folders_that_would_give_one_name_are_two_cameras(tmp_path: Path) -> None:
    write_images(tmp_path / "cam-1", ["0.png"])
    write_images(tmp_path / "cam_1", ["0.png", "1.png"])
    recording = open_recording(tmp_path)
    assert {stream.camera: (Path(stream.topic).name, stream.frames) for stream in recording.streams} == {
        "cam_1": ("cam_1", 2), "cam_1_2": ("cam-1", 1)}
    assert "cam-1 is called cam_1_2, for cam_1 is the one of" in recording.notices[0]
    assert [image.camera for image in images_of(tmp_path, "cam_1_2")] == ["cam_1_2"]


def test_times_that_are_not_as_many_as_the_images_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, ["0.png", "1.png"])
    (tmp_path / "timestamps.txt").write_text("1\n2\n3\n")
    with pytest.raises(InputError, match="has 3 times, but there are 2 images"):
        open_recording(tmp_path)


def test_a_damaged_image_is_reported_and_those_around_it_kept(tmp_path: Path) -> None:
    write_images(tmp_path, ["0.png", "1.png", "2.png", "3.jpg"])
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])
    (tmp_path / "2.png").write_bytes(b"")
    items = list(open_recording(tmp_path).frames())
    assert [item.reason if isinstance(item, BrokenFrame) else item.stamp_ns for item in items] == [
        0, "image cut off", "no pixels", 300_000_000]
    assert isinstance(items[1], BrokenFrame)
    assert "1.png" in items[1].detail
