"""Folders of images are read in order, at the times their timestamps say."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.read_images import images_in_order
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


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    write_images(tmp_path, ["f0.png", "f1.png"])
    for name in ("._f0.png", "._f1.png", ".hidden.png"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7 Mac OS X")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "timestamps.txt").write_text("1\n2\n")
    assert [image.stamp_ns for image in images_of(tmp_path)] == [1, 2]


@pytest.mark.parametrize(("orientation", "dark"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_images_are_turned_as_viewers_show_them(tmp_path: Path, orientation: int, dark: tuple[int, int]) -> None:
    pixels = np.full((16, 32, 3), 200, np.uint8)
    pixels[:8, :16] = 10
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    tag = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0]) + bytes(4)
    (tmp_path / "a.jpg").write_bytes(
        jpeg[:2] + b"\xff\xe1" + (len(tag) + 2).to_bytes(2, "big") + tag + jpeg[2:])
    (image,) = images_of(tmp_path)
    assert image.pixels.shape[:2] == ((16, 32) if orientation in (1, 3) else (32, 16))
    assert image.pixels[dark].max() < 60
    assert [int(image.pixels[y, x, 0] > 150) for y in (0, -1) for x in (0, -1)].count(1) == 3


@pytest.mark.parametrize("start", ["", "mav0"])
def test_euroc_has_nanoseconds_and_two_cameras(tmp_path: Path, start: str) -> None:
    times = [1403636579763555584 + k * 50_000_000 for k in range(3)]
    for camera in (0, 1):
        folder = tmp_path / "mav0" / f"cam{camera}"
        write_images(folder / "data", [f"{time + camera}.png" for time in times])
        (folder / "data.csv").write_text("#timestamp [ns],filename\r\n" + "".join(
            f"{time + camera},{time + camera}.png\r\n" for time in times))
    found = [(image.camera, image.stamp_ns) for image in images_of(tmp_path / start)]
    assert found == [(f"cam{camera}", time + camera) for time in times for camera in (0, 1)]


def test_tum_has_a_table_whose_times_decide_the_order(tmp_path: Path) -> None:
    write_images(tmp_path / "rgb", ["b.png", "a.png"])
    write_images(tmp_path / "depth", ["1.png"])
    (tmp_path / "rgb.txt").write_text("# color images\n# timestamp filename\n1305031102.175304 rgb/b.png\n"
                                      "1305031102.275304 rgb/a.png\n1305031102.375304 rgb/gone.png\n")
    for path in (tmp_path, tmp_path / "rgb"):
        assert [(int(image.pixels[0, 0, 0]), image.stamp_ns) for image in images_of(path)] == [
            (0, 1305031102175304000), (1, 1305031102275304000)]
    assert [file.name for file in images_in_order(tmp_path / "rgb")] == ["b.png", "a.png"]
    (tmp_path / "rgb.txt").write_text("1305031102.175304 rgb/b.png\n")
    with pytest.raises(InputError, match=r"rgb\.txt has no time for a\.png of"):
        open_recording(tmp_path)
    (tmp_path / "rgb.txt").write_text("1305031102.175304\n")
    with pytest.raises(InputError, match=r"rgb\.txt, line 1: '1305031102.175304' is not a time and an image's path"):
        open_recording(tmp_path)


def test_nuscenes_has_microseconds_in_its_names(tmp_path: Path) -> None:
    for camera, late in (("CAM_FRONT", 0), ("CAM_BACK", 5)):
        write_images(tmp_path / "samples" / camera, [
            f"n015-2018-07-24-11-22-45+0800__{camera}__{1532402927612460 + 100_000 * k + late}.jpg" for k in range(2)])
    (tmp_path / "samples" / "LIDAR_TOP").mkdir()
    assert [(image.camera, image.stamp_ns) for image in images_of(tmp_path)] == [
        ("cam_front", 1532402927612460000), ("cam_back", 1532402927612465000),
        ("cam_front", 1532402927712460000), ("cam_back", 1532402927712465000)]
    assert open_recording(tmp_path).notices == ("the images of cam_back, cam_front have the times in their names",)


def test_kitti_odometry_has_seconds_in_times_txt(tmp_path: Path) -> None:
    write_images(tmp_path / "image_2", ["000000.png", "000001.png"])
    (tmp_path / "times.txt").write_text("0.000000e+00\n1.037359e-01\n")
    assert [image.stamp_ns for image in images_of(tmp_path)] == [0, 103_735_900]


@pytest.mark.parametrize(("names", "times"), [
    (["0000000000.png", "0000000001.png"], None), (["20180724112245.png", "20180724112246.png"], None),
    (["1403636579763555584.png", "x.png"], None), (["①.png", "②.png"], None),
    (["a_1305031102.175304.png", "a_1305031102.205304.png"], [1305031102175304000, 1305031102205304000]),
    (["1305031102175.jpg", "1305031102205.jpg"], [1305031102175000000, 1305031102205000000])])
def test_a_name_is_a_time_where_all_names_are(tmp_path: Path, names: list[str], times: list[int] | None) -> None:
    write_images(tmp_path, names)
    assert [image.stamp_ns for image in images_of(tmp_path)] == (times or [0, 100_000_000])


@pytest.mark.parametrize("name", ["a:b", "a b#?%41", b"\xff\xfe", "new\nline", "-", "🚗"])
def test_any_name_that_a_folder_and_a_file_may_have_is_read(tmp_path: Path, name: str | bytes) -> None:
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "x.png").rename(folder / f"{os.fsdecode(name)}.png")
    assert len(images_of(folder)) == 1


def test_an_image_that_claims_more_pixels_than_memory_has_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 4, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "1.jpg"), np.zeros((8, 8, 3), np.uint8))
    png, jpeg = bytearray((tmp_path / "0.png").read_bytes()), bytearray((tmp_path / "1.jpg").read_bytes())
    png[16:24] = (1 << 30).to_bytes(4, "big") * 2
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5:frame + 9] = b"\xff\xff\xff\xff"
    (tmp_path / "0.png").write_bytes(png)
    (tmp_path / "1.jpg").write_bytes(jpeg)
    assert [item.reason for item in open_recording(tmp_path).frames() if isinstance(item, BrokenFrame)] == [
        "image too large"] * 2
