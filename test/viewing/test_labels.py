"""The labels: which objects get one, what it says, and where it lies."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.classes import ClassTable
from panoptic_ros.segments import Segments
from panoptic_ros.viewing import labels

CLASSES = ClassTable("test", ("road", "car", "motorcycle"), (False, True, True),
                     ((128, 64, 128), (0, 0, 142), (0, 0, 230)))
Written = list[tuple[str, tuple[int, int, int, int]]]


def segments_of(boxes: list[list[int]], class_id: list[int] | None = None) -> Segments:
    box = np.array(boxes, np.int32).reshape(-1, 4)
    classes = np.array(class_id or [1] * len(box), np.int32)
    tracks = np.arange(1, len(box) + 1, dtype=np.int32)
    return Segments(classes, CLASSES.thing_mask[classes], np.ones(len(box), np.float32),
                    ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])).astype(np.int32), box, None, tracks, tracks)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """The texts and plates (x0, y0, x1, y1) of the labels that are written, in their order."""
    found: Written = []
    write = labels._write

    def record(picture: np.ndarray, text: str, plate: tuple[int, int, int, int], *rest: object) -> None:
        found.append((text, plate))
        write(picture, text, plate, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(labels, "_write", record)
    return found


def draw(boxes: list[list[int]], class_id: list[int] | None = None, size: tuple[int, int] = (256, 512)) -> np.ndarray:
    picture = np.full((*size, 3), 100, np.uint8)
    segments = segments_of(boxes, class_id)
    labels.draw_labels(picture, segments, CLASSES, np.full((len(segments), 3), 200, np.uint8))
    return picture


def test_a_label_says_class_and_track_and_lies_above_the_middle_of_the_box(written: Written) -> None:
    picture = draw([[100, 100, 200, 160]])
    (text, (x0, y0, x1, y1)), = written
    assert text == "car 1"
    assert y1 == 100
    assert abs((x0 + x1) / 2 - 150) <= 1
    assert picture[y0:y1, x0:x1].max() == 255  # white text
    assert picture[y0, x1 - 1].tolist() == [30, 30, 30]  # on a dark plate
    assert picture[y0, x0].tolist() == [200, 200, 200]  # with the object's colour
    picture[y0:y1, x0:x1] = 100
    assert (picture == 100).all()


def test_at_the_upper_edge_a_label_goes_inside_the_box(written: Written) -> None:
    draw([[100, 0, 200, 160]])
    assert written[0][1][1] == 0


def test_an_object_lower_than_its_text_gets_no_label(written: Written) -> None:
    draw([[100, 100, 200, 114]])
    assert not written


def test_an_object_that_is_mostly_hidden_gets_no_label(written: Written) -> None:
    segments = segments_of([[100, 100, 200, 160]])
    segments.area[:] = 1000  # of 6000
    labels.draw_labels(np.zeros((256, 512, 3), np.uint8), segments, CLASSES, np.zeros((1, 3), np.uint8))
    assert not written


def test_a_narrow_object_gets_its_number_alone(written: Written) -> None:
    draw([[100, 100, 118, 160]], [2])
    assert [text for text, _ in written] == ["1"]


def test_stuff_gets_no_label(written: Written) -> None:
    draw([[0, 100, 512, 256]], [0])
    assert not written


def test_an_object_without_a_track_is_named_by_its_class(written: Written) -> None:
    segments = segments_of([[100, 100, 200, 160]])
    segments.track_id[:] = 0
    labels.draw_labels(np.zeros((256, 512, 3), np.uint8), segments, CLASSES, np.zeros((1, 3), np.uint8))
    assert [text for text, _ in written] == ["car"]


def test_the_largest_object_is_labelled_first(written: Written) -> None:
    draw([[10, 100, 60, 150], [100, 100, 300, 200], [400, 100, 500, 150]])
    assert [text for text, _ in written] == ["car 2", "car 3", "car 1"]


@pytest.mark.parametrize("size", [(256, 512), (512, 1024), (1024, 2048), (30, 40), (8, 8)])
def test_labels_never_overlap_and_never_leave_the_image(written: Written, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.9, (200, 2)) * size[::-1]
    high = np.minimum(low + rng.uniform(0.02, 0.5, (200, 2)) * size[::-1] + 1, size[::-1])
    draw(np.concatenate([low, high], axis=1).astype(int).tolist(), size=size)
    assert len(written) > 10 or min(size) < 100
    cover = np.zeros(size, int)
    for _, (x0, y0, x1, y1) in written:
        assert 0 <= x0 < x1 <= size[1]
        assert 0 <= y0 < y1 <= size[0]
        cover[y0:y1, x0:x1] += 1
    assert cover.max() <= 1


def test_text_grows_with_the_image_and_stays_legible_on_a_small_one(written: Written) -> None:
    heights = []
    for scale in (1, 2, 4):
        draw([[100 * scale, 100 * scale, 200 * scale, 160 * scale]], size=(256 * scale, 512 * scale))
        heights.append(written[-1][1][3] - written[-1][1][1])
    assert heights[0] >= 12
    assert heights[2] > 1.8 * heights[0]
