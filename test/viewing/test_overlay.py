"""The overlay: what is painted where, for all images and maps that can come."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.camera_image import PIXEL_ENCODINGS, CameraImage
from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.segments import Segments
from panoptic_ros.viewing import OverlayStyle

CLASSES = ClassTable("test", ("road", "car", "person"), (False, True, True),
                     ((128, 64, 128), (0, 0, 142), (220, 20, 60)))
PLAIN = OverlayStyle(labels=False)


def grey_image(height: int = 60, width: int = 80, value: int = 100) -> CameraImage:
    return CameraImage(np.full((height, width, 3), value, np.uint8), "bgr8")


def frame_of(image: CameraImage, segment_map: np.ndarray, class_id: list[int], track_id: list[int]) -> PanopticFrame:
    """A frame whose boxes and areas are those of the map."""
    box = np.zeros((len(class_id), 4), np.int32)
    for row in range(len(class_id)):
        y, x = np.nonzero(segment_map == row + 1)
        box[row] = x.min(), y.min(), x.max() + 1, y.max() + 1
    area = np.bincount(segment_map.ravel(), minlength=len(class_id) + 1)[1:].astype(np.int32)
    tracks = np.array(track_id, np.int32)
    return PanopticFrame(image, segment_map.astype(np.uint16), Segments(
        np.array(class_id, np.int32), CLASSES.thing_mask[class_id], np.ones(len(class_id), np.float32), area, box, None,
        tracks, tracks), CLASSES)


def two_halves(class_id: list[int], track_id: list[int], image: CameraImage | None = None) -> PanopticFrame:
    """Void in the upper rows; below them a left and a right segment."""
    segment_map = np.zeros((60, 80), np.uint16)
    segment_map[20:, :40], segment_map[20:, 40:] = 1, 2
    return frame_of(image or grey_image(), segment_map, class_id, track_id)


def test_stuff_is_the_image_mixed_with_the_class_colour() -> None:
    overlay = two_halves([0, 1], [0, 7]).overlay_bgr(OverlayStyle(stuff_opacity=0.25, labels=False))
    # blue 128, green 64, red 128 at a quarter over grey 100
    assert overlay[40, 20].tolist() == [107, 91, 107]
    assert overlay.shape == (60, 80, 3)
    assert overlay.dtype == np.uint8


def test_void_is_the_image_itself() -> None:
    overlay = two_halves([0, 1], [0, 7]).overlay_bgr(PLAIN)
    assert (overlay[:19] == 100).all()


def test_an_object_has_a_crisp_edge_inside_its_outline_and_nowhere_else() -> None:
    overlay = two_halves([0, 1], [0, 7]).overlay_bgr(PLAIN).astype(int)
    fill = overlay[40, 60]
    assert np.abs(overlay[20:, 40] - fill).sum(axis=1).min() > 100
    assert (overlay[22:58, 42:78] == fill).all()
    assert np.abs(overlay[40, 39] - overlay[40, 20]).max() < 20


def test_neighbours_of_one_class_have_different_colours() -> None:
    overlay = two_halves([1, 1], [7, 8]).overlay_bgr(PLAIN).astype(int)
    assert np.abs(overlay[40, 20] - overlay[40, 60]).max() > 15


def test_a_track_keeps_its_colour_where_its_segment_has_another_number() -> None:
    first = two_halves([1, 1], [7, 8]).overlay_bgr(PLAIN)
    second = two_halves([1, 1], [8, 7]).overlay_bgr(PLAIN)
    assert first[40, 20].tolist() == second[40, 60].tolist()


def test_neighbours_differ_where_nobody_tracks() -> None:
    overlay = two_halves([1, 1], [0, 0]).overlay_bgr(PLAIN).astype(int)
    assert np.abs(overlay[40, 20] - overlay[40, 60]).max() > 15


def test_no_segments_leave_the_image_as_it_is() -> None:
    image = grey_image()
    overlay = PanopticFrame(image, np.zeros((60, 80), np.uint16), Segments.empty(), CLASSES).overlay_bgr()
    assert (overlay == image.pixels).all()
    assert not np.shares_memory(overlay, image.pixels)


@pytest.mark.parametrize("encoding", PIXEL_ENCODINGS)
def test_every_encoding_gives_the_same_picture(encoding: str) -> None:
    blue_first = np.full((60, 80, 3), (10, 90, 200), np.uint8)
    if encoding == "mono8":
        blue_first[:] = 77
    channels = PIXEL_ENCODINGS[encoding]
    padded = np.zeros((60, 80 + 3, channels), np.uint8)
    pixels = padded[:, :80]
    colors = blue_first if encoding.startswith("bgr") else blue_first[..., ::-1]
    pixels[..., :3] = colors[..., :channels]
    pixels.setflags(write=False)
    expected = two_halves([0, 1], [0, 7], CameraImage(blue_first, "bgr8")).overlay_bgr()
    overlay = two_halves([0, 1], [0, 7], CameraImage(pixels, encoding)).overlay_bgr()
    assert (overlay == expected).all()


def test_the_frame_is_not_written_to() -> None:
    frame = two_halves([1, 2], [7, 8])
    before = frame.image.pixels.copy(), frame.segment_map.copy()
    frame.overlay_bgr()
    assert (frame.image.pixels == before[0]).all()
    assert (frame.segment_map == before[1]).all()


def test_as_many_segments_as_sixteen_bits_can_number() -> None:
    count = 65535
    segment_map = (np.arange(256 * 257) % (count + 1)).reshape(256, 257).astype(np.uint16)
    ones = np.ones(count, np.int32)
    segments = Segments(ones, ones.astype(bool), ones.astype(np.float32), ones, np.zeros((count, 4), np.int32), None,
                        ones, ones)
    frame = PanopticFrame(grey_image(256, 257), segment_map, segments, CLASSES)
    overlay = frame.overlay_bgr()
    assert (overlay[0, 0] == 100).all()  # void
    assert (overlay[128:] != 100).any(axis=2).mean() > 0.99


def test_opacity_zero_shows_the_image_and_one_hides_it() -> None:
    frame = two_halves([0, 0], [0, 0])
    clear = frame.overlay_bgr(OverlayStyle(stuff_opacity=0.0, labels=False))
    assert (clear[40, 20] == 100).all()
    solid = frame.overlay_bgr(OverlayStyle(stuff_opacity=1.0, labels=False))
    assert solid[40, 20].tolist() == [128, 64, 128]


def test_an_opacity_out_of_range_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="thing_opacity"):
        OverlayStyle(thing_opacity=1.5)
