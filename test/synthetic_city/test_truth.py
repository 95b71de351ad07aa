"""The truth of a drive's frames: what annotators would outline, and how objects are numbered."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.classes import VOID, load_class_table
from panoptic_ros.synthetic_city import CityFrame
from panoptic_ros.synthetic_city.truth import DriveTruth, frame_label

CLASSES = load_class_table("cityscapes")
ROAD, PERSON, CAR = (CLASSES.names.index(name) for name in ("road", "person", "car"))


def frame_of(*things: tuple[int, int, int], size: tuple[int, int] = (512, 1024)) -> CityFrame:
    """Road with a row of each thing's pixels, (class, instance, pixels), and one row of void."""
    class_map, instance_map = np.full(size, ROAD, np.uint8), np.zeros(size, np.int32)
    for k, (class_id, instance, pixels) in enumerate(things):
        class_map[3 * k, :pixels], instance_map[3 * k, :pixels] = class_id, instance
    class_map[-1] = VOID
    return CityFrame(np.zeros((*size, 3), np.uint8), class_map, instance_map, np.ones(size, np.float32), np.eye(4), 0)


@pytest.mark.parametrize(("size", "tiny", "outlined"), [
    ((512, 1024), 24, 25), ((256, 512), 6, 7), ((1024, 2048), 99, 100), ((370, 1226), 21, 22)])
def test_a_thing_below_25_pixels_at_512_x_1024_is_a_crowd(size, tiny, outlined):
    # 25 / 4 = 6.25, 25 * 4 = 100; 25 * 370 * 1226 / (512 * 1024) = 21.6
    label = frame_label(frame_of((CAR, 8, tiny), (CAR, 9, outlined), size=size), CLASSES)
    assert label.class_id.tolist() == [ROAD, CAR, CAR]
    assert label.object_id.tolist() == [0, 0, 9]
    assert label.is_crowd.tolist() == [False, True, False]
    assert np.bincount(label.segment_map.reshape(-1))[2:].tolist() == [tiny, outlined]


def test_tiny_things_of_a_class_are_one_crowd_and_every_pixel_keeps_its_class():
    frame = frame_of((CAR, 8, 10), (PERSON, 5, 24), (CAR, 1 << 28, 20), (CAR, 9, 30), (PERSON, 7, 24))
    label = frame_label(frame, CLASSES)
    segments = zip(label.class_id.tolist(), label.object_id.tolist(), label.is_crowd.tolist(),
                   np.bincount(label.segment_map.reshape(-1))[1:].tolist(), strict=True)
    assert list(segments) == [(ROAD, 0, False, 511 * 1024 - 108), (PERSON, 0, True, 48), (CAR, 0, True, 30),
                              (CAR, 9, False, 30)]
    assert np.array_equal(label.class_map(), frame.class_map)


def test_stuff_is_no_crowd_however_small():
    frame = frame_of((CAR, 8, 1024))
    frame.class_map[10, :5] = CLASSES.names.index("pole")
    assert not frame_label(frame, CLASSES).is_crowd.any()


def test_everything_is_outlined_where_that_is_asked_for():
    label = frame_label(frame_of((CAR, 8, 1), (CAR, 9, 30)), CLASSES, outline_tiny=True)
    assert label.object_id.tolist() == [0, 8, 9]
    assert not label.is_crowd.any()


def test_an_object_has_no_number_while_it_is_tiny_and_the_same_one_before_and_after():
    truth, found = DriveTruth(CLASSES), []
    for pixels in (24, 25, 24, 26):
        frame = truth.panoptic_frame(frame_of((CAR, 8, pixels), (CAR, 9, 40)))
        rows = frame.segments
        found.append(list(zip(rows.class_id.tolist(), rows.track_id.tolist(), rows.track_age.tolist(),
                              rows.area.tolist(), strict=True))[1:])
        assert rows.is_thing.tolist() == [False, True, True]
        assert np.array_equal(np.bincount(frame.segment_map.reshape(-1))[1:], rows.area)
    # Car 9 is the first to be outlined; car 8 comes into view in the second image.
    assert found == [[(CAR, 0, 0, 24), (CAR, 1000, 1, 40)], [(CAR, 1001, 1, 25), (CAR, 1000, 2, 40)],
                     [(CAR, 0, 0, 24), (CAR, 1000, 3, 40)], [(CAR, 1001, 3, 26), (CAR, 1000, 4, 40)]]
