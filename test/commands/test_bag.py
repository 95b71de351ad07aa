"""`panoptic-ros bag` makes bags with calibration from recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from panoptic_ros.bags.calibration import read_calibration
from panoptic_ros.bags.read import open_recording
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.cli import main
from panoptic_ros.errors import InputError

KITTI = """calib_time: 09-Jan-2012 13:57:47
S_rect_02: 1.200000e+01 8.000000e+00
P_rect_02: 7.0 0.0 6.0 4.5 0.0 7.0 4.0 0.2 0.0 0.0 1.0 0.003
S_rect_03: 1.200000e+01 8.000000e+00
P_rect_03: 7.0 0.0 6.0 -3.5 0.0 7.0 4.0 2.2 0.0 0.0 1.0 0.003
"""
ROS_YAML = """image_width: 12
image_height: 8
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [9.0, 0.0, 6.0, 0.0, 9.5, 4.0, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.3, 0.1, 0.0, 0.0, 0.0]}
rectification_matrix: {rows: 3, cols: 3, data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]}
projection_matrix: {rows: 3, cols: 4, data: [8.0, 0.0, 6.0, 0.0, 0.0, 8.0, 4.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
"""


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    folder = tmp_path / "drive"
    for camera, shift in (("image_02", 0), ("image_03", 7)):
        (folder / camera).mkdir(parents=True)
        for k in range(3):
            cv2.imwrite(str(folder / camera / f"{k:06d}.png"), np.full((8, 12, 3), 10 * k + shift, np.uint8))
        (folder / camera / "timestamps.txt").write_text("".join(f"{10**18 + k * 10**8 + shift}\n" for k in range(3)))
    (folder / "calib_cam_to_cam.txt").write_text(KITTI)
    return folder


def messages_of(path: Path) -> list[tuple[str, Any]]:
    with AnyReader([path]) as reader:
        return [(connection.topic, reader.deserialize(cdr, connection.msgtype))
                for connection, _, cdr in reader.messages()]


def test_a_drive_becomes_a_bag_with_the_calibration_of_each_camera(drive: Path, tmp_path: Path) -> None:
    assert main(["bag", str(drive), "--out", str(tmp_path / "bag")]) == 0
    messages = messages_of(tmp_path / "bag")
    assert [topic for topic, _ in messages[:4]] == ["/image_02/image", "/image_02/camera_info", "/image_03/image",
                                                    "/image_03/camera_info"]
    assert len(messages) == 12
    (_, image), (_, info) = messages[2:4]
    assert (image.encoding, image.step, set(image.data.tolist()), image.header.stamp.nanosec) == ("bgr8", 36, {7}, 7)
    assert info.header == image.header
    assert (info.width, info.height, info.k.tolist()) == (12, 8, [7, 0, 6, 0, 7, 4, 0, 0, 1])
    assert info.p.tolist() == [7, 0, 6, -3.5, 0, 7, 4, 2.2, 0, 0, 1, 0.003]
    images = list(open_recording(tmp_path / "bag", ["/image_03/image"]).frames())
    assert [image.stamp_ns for image in images if isinstance(image, CameraImage)] == [
        10**18 + k * 10**8 + 7 for k in range(3)]


def test_one_camera_gets_the_topic_and_the_yaml_calibration_it_is_given(drive: Path, tmp_path: Path) -> None:
    (tmp_path / "front.yaml").write_text(ROS_YAML)
    assert main(["bag", str(drive / "image_02"), "--out", str(tmp_path / "front.mcap"), "--compressed",
                 "--topic", "/front/image_raw", "--calib", str(tmp_path / "front.yaml")]) == 0
    messages = messages_of(tmp_path / "front.mcap")
    assert [topic for topic, _ in messages[:2]] == ["/front/image_raw/compressed", "/front/camera_info"]
    info = messages[1][1]
    assert (info.distortion_model, info.d.tolist()) == ("plumb_bob", [-0.3, 0.1, 0, 0, 0])
    assert (info.k[4], info.p[0]) == (9.5, 8)
    first = next(iter(open_recording(tmp_path / "front.mcap").frames()))
    assert isinstance(first, CameraImage)
    assert first.pixels.shape == (8, 12, 3)


def test_a_calibration_of_another_size_is_refused_and_leaves_no_bag(drive: Path, tmp_path: Path) -> None:
    calibration = tmp_path / "other.yaml"
    calibration.write_text(ROS_YAML.replace("image_width: 12", "image_width: 640"))
    assert main(["bag", str(drive / "image_02"), "--out", str(tmp_path / "bag"), "--calib", str(calibration)]) == 2
    assert not (tmp_path / "bag").exists()


def test_a_bag_that_is_there_is_not_touched(drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "precious").write_text("")
    assert main(["bag", str(drive), "--out", str(tmp_path / "bag")]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "bag" / "precious").exists()


def test_images_that_cannot_be_read_are_left_out_and_none_at_all_is_an_error(
        drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = drive / "image_02"
    (folder / "000001.png").write_bytes(b"broken")
    assert main(["bag", str(folder), "--out", str(tmp_path / "two")]) == 0
    assert "2 images on /camera/image; 1 could not be read" in capsys.readouterr().out
    for file in folder.glob("*.png"):
        file.write_bytes(b"broken")
    assert main(["bag", str(folder), "--out", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("content", "camera"), [
    (KITTI, "image_07"), ("hello: world", "front"), ("[1, 2", "front"), (KITTI.replace("7.0 4.0 2.2", ""), "image_03"),
    (ROS_YAML.replace("data: [9.0, ", "data: ["), "front")])
def test_a_file_that_does_not_calibrate_the_camera_is_refused(tmp_path: Path, content: str, camera: str) -> None:
    (tmp_path / "calibration").write_text(content)
    with pytest.raises(InputError, match=f"has no calibration for {camera}"):
        read_calibration(tmp_path / "calibration", camera)
