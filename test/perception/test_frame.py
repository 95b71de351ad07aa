"""What a frame tells of its segments, and that its pictures are those of its image."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import ClassTable
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.segments import Segment, Segments
from panoptic_ros.viewing import OverlayStyle

CLASSES = ClassTable("test", ("road", "car"), (False, True), ((128, 64, 128), (0, 0, 142)))


@pytest.fixture
def frame() -> PanopticFrame:
    """4 x 6 pixels: void in the first row, then road, with a car of track 7 in it."""
    segment_map = np.array([[0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 2, 2, 2, 1], [1, 1, 1, 1, 1, 1]], np.uint16)
    segments = Segments(
        class_id=np.array([0, 1], np.int32), is_thing=np.array([False, True]), score=np.array([1, 0.5], np.float32),
        area=np.array([15, 3], np.int32), box=np.array([[0, 1, 6, 4], [2, 2, 5, 3]], np.int32),
        embedding=np.array([[1, 0], [0.6, 0.8]], np.float32), track_id=np.array([0, 7], np.int32),
        track_age=np.array([0, 3], np.int32))
    pixels = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    return PanopticFrame(CameraImage(pixels), segment_map, segments, CLASSES)


def test_a_frame_goes_through_its_segments_one_by_one(frame: PanopticFrame) -> None:
    road, car = frame
    assert len(frame) == 2
    assert replace(car, embedding=None) == Segment(
        id=2, class_id=1, class_name="car", is_thing=True, score=0.5, area=3, box=(2, 2, 5, 3), track_id=7, track_age=3,
        embedding=None)
    assert [segment.id for segment in frame] == [1, 2]
    assert car.embedding is not None
    assert car.embedding.tolist() == pytest.approx([0.6, 0.8])
    assert (road.class_name, road.is_thing) == ("road", False)
    # Python's own numbers, which JSON and comparisons take.
    assert [type(value) for value in (car.id, car.class_id, car.is_thing, car.score, car.area, car.box[0])] == [
        int, int, bool, float, int, int]


def test_segments_of_a_method_without_embeddings_have_none(frame: PanopticFrame) -> None:
    assert [s.embedding for s in replace(frame, segments=replace(frame.segments, embedding=None))] == [None, None]


def test_a_frame_without_segments_has_none_to_go_through(frame: PanopticFrame) -> None:
    empty = replace(frame, segment_map=np.zeros((4, 6), np.uint16), segments=Segments.empty())
    assert (len(empty), list(empty)) == (0, [])
    assert (empty.semantic_map() == 255).all()
    assert np.array_equal(empty.overlay(), frame.image.pixels)
    with pytest.raises(IndexError, match="no segment 1"):
        empty.mask(1)


def test_the_mask_of_a_segment_is_its_pixels(frame: PanopticFrame) -> None:
    _, car = frame
    expected = np.zeros((4, 6), bool)
    expected[2, 2:5] = True
    # By the segment, by its id, and by what the map has at a pixel.
    for segment in (car, 2, frame.segment_map[2, 3]):
        mask = frame.mask(segment)
        assert mask.dtype == bool
        assert np.array_equal(mask, expected)
    assert [int(frame.mask(segment).sum()) for segment in frame] == [segment.area for segment in frame]


@pytest.mark.parametrize("number", [-1, 0, 3])
def test_there_is_no_mask_of_what_is_no_segment(frame: PanopticFrame, number: int) -> None:
    with pytest.raises(IndexError, match=f"no segment {number} in this frame: ids are 1 to 2"):
        frame.mask(number)


def test_the_semantic_map_has_the_class_of_each_pixel(frame: PanopticFrame) -> None:
    assert frame.semantic_map().tolist() == [[255] * 6, [0] * 6, [0, 0, 1, 1, 1, 0], [0] * 6]


def test_where_a_frame_has_semantics_they_are_its_semantic_map_and_tracking_leaves_them(frame: PanopticFrame) -> None:
    semantics = np.ones((4, 6), np.uint8)
    tracked = replace(frame, semantics=semantics).with_tracks(np.array([0, 9]), np.array([0, 1]))
    assert np.array_equal(tracked.semantic_map(), semantics)


def test_the_overlay_is_the_painted_image_red_first(frame: PanopticFrame) -> None:
    style = OverlayStyle(thing_opacity=1.0, stuff_opacity=0.0, labels=False)
    overlay = frame.overlay(style)
    assert (overlay.shape, overlay.dtype) == ((4, 6, 3), np.uint8)
    assert np.array_equal(overlay[..., ::-1], frame.overlay_bgr(style))
    assert np.array_equal(overlay[0], frame.image.pixels[0])
    assert not np.array_equal(overlay[2, 2:5], frame.image.pixels[2, 2:5])
    assert frame.image.pixels.tolist() == np.arange(72).reshape(4, 6, 3).tolist()


def test_new_tracks_change_nothing_but_the_tracks(frame: PanopticFrame) -> None:
    other = frame.with_tracks(np.array([0, 9]), np.array([0, 1]))
    assert [(s.track_id, s.track_age) for s in other] == [(0, 0), (9, 1)]
    assert [(s.track_id, s.track_age) for s in frame] == [(0, 0), (7, 3)]
    for column in fields(Segments):
        if not column.name.startswith("track"):
            assert getattr(other.segments, column.name) is getattr(frame.segments, column.name)


def test_rows_are_selected_by_index_or_mask(frame: PanopticFrame) -> None:
    for rows in ([1], np.array([False, True])):
        one = frame.segments.select(rows)
        assert (len(one), one.class_id.tolist(), one.box.tolist()) == (1, [1], [[2, 2, 5, 3]])
