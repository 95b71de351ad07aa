"""Videos are written so that they can be read back, picture by picture."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.viewing import VideoWriter


def read(path: Path) -> tuple[list[np.ndarray], float]:
    video = cv2.VideoCapture(str(path))
    pictures = []
    while (found := video.read())[0]:
        pictures.append(found[1])
    return pictures, video.get(cv2.CAP_PROP_FPS)


def test_pictures_come_back_in_order_at_the_rate_they_were_written(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "new" / "clip.mp4", 12.5) as video:
        for level in range(10):
            video.write(np.full((64, 96, 3), 20 * level, np.uint8))
    pictures, rate = read(tmp_path / "new" / "clip.mp4")
    assert video.frames == 10
    assert [round(picture.mean() / 20) for picture in pictures] == list(range(10))
    assert rate == pytest.approx(12.5)


def test_odd_sides_lose_a_pixel(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", 10) as video:
        video.write(np.full((65, 97, 3), 90, np.uint8))
    (picture,), _ = read(tmp_path / "clip.mp4")
    assert picture.shape == (64, 96, 3)


def test_a_picture_of_another_size_is_fitted_between_black_bars(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", 10) as video:
        video.write(np.full((64, 128, 3), 200, np.uint8))
        video.write(np.full((200, 200, 3), 200, np.uint8))
    pictures, _ = read(tmp_path / "clip.mp4")
    assert pictures[1].shape == (64, 128, 3)
    assert pictures[1][:, 40:88].mean() > 180
    assert pictures[1][:, :24].mean() < 20
    assert pictures[1][:, 104:].mean() < 20


def test_a_part_of_a_larger_array_can_be_written(tmp_path: Path) -> None:
    large = np.zeros((100, 200, 3), np.uint8)
    large[10:74, 20:116] = 150
    with VideoWriter(tmp_path / "clip.mp4", 10) as video:
        video.write(large[10:74, 20:116])
    (picture,), _ = read(tmp_path / "clip.mp4")
    assert abs(picture.mean() - 150) < 5


def test_without_pictures_there_is_no_file(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "clip.mp4", 10):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(InputError, match=r"clip\.mp4"), VideoWriter(tmp_path / "clip.mp4", 10) as video:
        video.write(np.zeros((64, 64, 3), np.uint8))


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        VideoWriter(tmp_path / "file" / "clip.mp4", 10)


def test_a_format_that_cannot_hold_the_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.mp4"), VideoWriter(tmp_path / "clip.txt", 10) as video:
        video.write(np.zeros((64, 64, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [0.0, -5.0, float("nan")])
def test_a_frame_rate_of_nothing_is_refused(tmp_path: Path, rate: float) -> None:
    with pytest.raises(InputError, match="frame rate"):
        VideoWriter(tmp_path / "clip.mp4", rate)


def test_rates_that_are_no_round_number_are_kept(tmp_path: Path) -> None:
    for rate in (0.5, 9.9706, 29.97, 240.0):
        with VideoWriter(tmp_path / "clip.mp4", rate) as video:
            for level in (10, 200):
                video.write(np.full((64, 64, 3), level, np.uint8))
        assert read(tmp_path / "clip.mp4")[1] == pytest.approx(rate, abs=0.01)


def test_the_video_is_h264_which_browsers_show_whatever_the_name(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with VideoWriter("out:2026#?%41.mp4", 10) as video:
        video.write(np.full((64, 96, 3), 90, np.uint8))
    with (tmp_path / "out:2026#?%41.mp4").open("rb") as file, av.open(file) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_a_disk_that_is_full_is_told_as_such(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    (tmp_path / "clip.mp4").symlink_to("/dev/full")

    def write() -> None:
        with VideoWriter(tmp_path / "clip.mp4", 10) as video:
            for _ in range(30):
                video.write(noise)

    with pytest.raises(InputError, match="cannot write the video.*No space"):
        write()
