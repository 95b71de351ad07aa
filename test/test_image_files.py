"""Image files: which a folder has, in which order, and what is read of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.image_files import check_size, image_files, png_size, read_image, read_label_image, trailing_number


def test_image_files_are_in_natural_order_and_other_files_are_left_out(tmp_path: Path) -> None:
    names = ["10.png", "b.png", "b2.jpg", "b10.JPG", "2.png", "02.png", "2.pgm", "a²3.webp", "b.txt", "timestamps.txt"]
    for name in names:
        (tmp_path / name).touch()
    assert [file.name for file in image_files(tmp_path)] == [
        "02.png", "2.pgm", "2.png", "10.png", "a²3.webp", "b.png", "b2.jpg", "b10.JPG"]


@pytest.mark.parametrize(("stem", "number"), [("0016E5_07959", 7959), ("000000", 0), ("frame", -1), ("12_left", -1)])
def test_the_number_of_a_frame_is_what_its_name_ends_in(stem: str, number: int) -> None:
    assert trailing_number(stem) == number


def test_a_camera_image_is_red_first(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((2, 3, 3), (1, 2, 3), np.uint8))
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [3, 2, 1]
    with pytest.raises(InputError, match=r"b\.png cannot be read"):
        read_image(tmp_path / "b.png")


def test_a_label_image_has_the_values_that_were_written(tmp_path: Path) -> None:
    values = np.array([[0, 300, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    assert read_label_image(tmp_path / "a.png").tolist() == values.tolist()
    assert png_size(tmp_path / "a.png") == (1, 3)
    check_size(tmp_path / "a.png", values, (1, 3))
    with pytest.raises(InputError, match="3 x 1 pixels, its label 1 x 3"):
        check_size(tmp_path / "a.png", values, (3, 1))


def test_a_label_image_that_is_cut_off_or_no_png_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.arange(4096, dtype=np.uint16).reshape(64, 64))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-20])
    with pytest.raises(InputError, match="cut off"):
        read_label_image(tmp_path / "a.png")
    cv2.imwrite(str(tmp_path / "b.jpg"), np.zeros((8, 8), np.uint8))
    for read in (read_label_image, png_size):
        with pytest.raises(InputError, match="no PNG"):
            read(tmp_path / "b.jpg")
