"""The report: one well-formed page that says what it was given, and keeps little of many frames."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import ClassTable
from panoptic_ros.datasets.dataset import Truth
from panoptic_ros.evaluation.report import Report, render
from panoptic_ros.evaluation.report.clips import CLIP_FRAMES, ClipKeeper
from panoptic_ros.evaluation.report.pictures import (
    CORRECT,
    FALSE_OBJECT,
    MISSED,
    NOT_JUDGED,
    WRONG_CLASS,
    WRONG_OBJECT,
    error_map,
    matches,
    painted,
    scaled_image,
)
from panoptic_ros.evaluation.report.tracks import TrackTimeline
from panoptic_ros.evaluation.scorer import FrameScore
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import NO_CLASS, PanopticLabel
from panoptic_ros.segments import Segments

ROAD, CAR = 0, 1
CLASSES = ClassTable("two", ("road", "car"), (False, True), ((128, 64, 128), (0, 0, 142)))
VOID_ELEMENTS = {"meta", "link", "img", "input", "br"}


class WellFormed(HTMLParser):
    """Fails where elements are not nested; counts elements, and keeps the text and what refers to elsewhere."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.ids |= {value for name, value in attrs if name == "id" and value}
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += text


def frame(k: int, camera: str = "camera", step_ns: int = 100_000_000) -> PanopticFrame:
    """A road with one car, which moves to the right and is track 7."""
    pixels = np.full((32, 64, 3), 90 + k % 50, np.uint8)
    segment_map = np.ones((32, 64), np.uint16)
    segment_map[8:20, 4 + k % 20:24 + k % 20] = 2
    segments = Segments(np.array([ROAD, CAR], np.int32), np.array([False, True]), np.ones(2, np.float32),
                        np.ones(2, np.int32), np.zeros((2, 4), np.int32), None, np.array([0, 7], np.int32),
                        np.array([0, k + 1], np.int32))
    return PanopticFrame(CameraImage(pixels, "rgb8", k * step_ns, camera), segment_map, segments,
                         CLASSES)


def add(report: Report, k: int, quality: float | None = 0.5, camera: str = "camera", with_truth: bool = True) -> None:
    of_frame = frame(k, camera)
    label = PanopticLabel.of_frame(of_frame)
    truth = PanopticLabel.of(label.segment_map, label.class_id, np.array([0, 3]))
    report.add(of_frame, label, truth if with_truth else None,
               FrameScore(quality, 0.0, {}) if with_truth else None, {"network": 20.0, "end_to_end": 25.0})


def evaluation(**more: Any) -> dict[str, Any]:
    return {"panoptic_ros": "1.2.3", "input": "drives/a.mcap", "bag_hash": "12ab", "model": "city",
            "frames": {"in": 5, "out": 4, "scored": 3, "dropped": {"image is damaged": 1}},
            "panoptic": {"all": {"pq": 0.512, "sq": 0.78, "rq": 0.634},
                         "classes": {"road": {"pq": 0.9, "sq": 0.9, "rq": 1.0, "tp": 4, "fp": 0, "fn": 0}}},
            "iou": {"road": 0.87}, "miou": 0.431, "mots": {"smotsa": -0.125, "id_switches": 2}, **more}


def written(report: Report, result: dict[str, Any]) -> str:
    page = render(report, result)
    assert WellFormed(page)
    return page


@pytest.fixture
def report() -> Report:
    return Report(CLASSES)


def test_the_page_is_well_formed_and_has_every_section_that_there_is_something_for(report: Report) -> None:
    for k in range(4):
        add(report, k, 0.1 * k)
    page = WellFormed(written(report, evaluation()))
    assert {"numbers", "what", "classes", "quality", "latency", "tracks", "worst", "clips"} <= page.ids
    assert page.count["article"] == 4
    assert page.count["canvas"] == 1
    for text in ("Evaluation of a.mcap", "51.2", "43.1", "-12.5", "12ab", "1 image is damaged", "1.2.3"):
        assert text in page.text


def test_frames_without_a_stamp_are_shown_by_their_numbers(report: Report) -> None:
    for k in range(4):
        of_frame = frame(k)
        if k != 1:
            of_frame = replace(of_frame, image=replace(of_frame.image, stamp_ns=None))
        label = PanopticLabel.of_frame(of_frame)
        report.add(of_frame, label, label, FrameScore(0.1 * k, 0.0, {}), {"network": 20.0})
    page = WellFormed(written(report, evaluation()))
    assert page.count["article"] == 4
    assert "frame 1, stamp 100000000 ns" in page.text
    assert "None" not in page.text
    assert "time (s)" not in page.text


def test_what_was_not_measured_is_not_there(report: Report) -> None:
    for k in range(3):
        add(report, k, with_truth=False)
    page = WellFormed(written(report, {"input": "a.mcap"}))
    assert page.ids == {"what", "latency", "tracks", "clips"}
    assert not re.search(r"\b0\.0\b", page.text)


def test_without_truth_the_numbers_are_how_often_classes_change(report: Report) -> None:
    page = WellFormed(written(report, {"input": "a.mcap", "class_change": {"predicted_change": 0.059}}))
    assert "numbers" in page.ids
    assert "Changes predicted" in page.text
    assert "5.9" in page.text


@pytest.mark.parametrize("frames", [0, 1])
def test_a_page_is_written_of_no_frame_or_one(report: Report, frames: int) -> None:
    for k in range(frames):
        add(report, k)
    page = WellFormed(written(report, evaluation()))
    assert page.count.get("article", 0) == frames


def test_frames_without_tracks_or_latency_make_no_section_of_them() -> None:
    report = Report(CLASSES, frozenset({Truth.SEMANTIC}))
    label = PanopticLabel.of(np.ones((32, 64), np.uint16), np.array([ROAD]))
    report.add(frame(0), label, label, FrameScore(0.5, 0.0, {}), {})
    page = WellFormed(written(report, {}))
    assert {"tracks", "latency"} & page.ids == set()
    assert "mIoU of the frame" in page.text


def test_nothing_is_fetched_from_elsewhere(report: Report) -> None:
    for k in range(3):
        add(report, k)
    text = written(report, evaluation())
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]*", "", text))
    assert all(link.startswith(("data:", "#")) for link in WellFormed(text).links)


def test_names_from_outside_are_text_and_nothing_else() -> None:
    evil = "<script>alert('x')</script>\"&"
    classes = ClassTable("evil", ("road", evil), (False, True), CLASSES.colors)
    report = Report(classes)
    for k in range(3):
        add(report, k, camera=evil)
        add(report, k, camera="other")
    result = evaluation(input=evil, warnings={evil: 2}, settings={evil: evil}, unmatched={"without_truth": [evil]})
    result["panoptic"]["classes"][evil] = {"pq": 0.5}
    result["frames"]["dropped"] = {evil: 1}
    page = written(report, result)
    assert "<script>alert" not in page
    assert WellFormed(page).count["script"] == 1
    assert WellFormed(page).text.count("alert(") > 10


def test_the_same_frames_make_the_same_page() -> None:
    pages = []
    for _ in range(2):
        report = Report(CLASSES)
        for k in range(6):
            add(report, k, 1 / (k + 1))
        pages.append(render(report, evaluation()))
    assert pages[0] == pages[1]


def test_the_worst_frames_are_those_of_least_quality_the_worst_first(report: Report) -> None:
    quality = np.random.default_rng(0).permutation(40) / 40
    for k in range(40):
        add(report, k, float(quality[k]))
    assert [worst.number for worst in report.worst] == np.argsort(quality)[:10].tolist()
    assert [worst.quality for worst in report.worst] == (np.arange(10) / 40).tolist()
    assert {tuple(worst.pictures) for worst in report.worst} == {("image", "truth", "prediction", "errors")}


def test_of_equally_bad_frames_the_first_are_shown(report: Report) -> None:
    for k in range(15):
        add(report, k, 0.0)
    assert [worst.number for worst in report.worst] == list(range(10))


def test_frames_without_a_quality_are_never_the_worst(report: Report) -> None:
    add(report, 0, None)
    add(report, 1, 0.9)
    add(report, 2, with_truth=False)
    assert [worst.number for worst in report.worst] == [1]
    assert len(report.stamps_ns) == 3


def test_pictures_kept_do_not_grow_with_the_number_of_frames() -> None:
    keeper = ClipKeeper()
    overlay = np.zeros((8, 8, 3), np.uint8)
    for k in range(5 * CLIP_FRAMES):
        keeper.add(overlay, k, k, 0.5)
    kept = len(keeper.beginning) + len(keeper.worst) + len(keeper._latest)
    assert kept == 3 * CLIP_FRAMES


def test_the_clip_of_the_worst_stretch_is_where_quality_is_lowest() -> None:
    keeper = ClipKeeper()
    overlay = np.zeros((8, 8, 3), np.uint8)
    bad = range(2 * CLIP_FRAMES, 3 * CLIP_FRAMES)
    for k in range(5 * CLIP_FRAMES):
        keeper.add(overlay, k, k, 0.2 if k in bad else 0.9)
    assert [picture.number for picture in keeper.worst] == list(bad)
    assert keeper.has_worse_than_beginning()


def test_a_clip_leaves_out_frames_of_fast_cameras(report: Report) -> None:
    for k in range(10):
        of_frame = frame(k, step_ns=40_000_000)
        report.add(of_frame, PanopticLabel.of_frame(of_frame), None, None, {})
    assert [picture.number for picture in report.cameras["camera"].beginning] == [0, 2, 4, 6, 8]


def test_the_error_map_tells_each_kind_of_error() -> None:
    # Truth: two cars of 4 pixels, road, void, a crowd of cars, what is known to be none of the classes.
    truth = PanopticLabel.of(np.array([[1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 0, 4, 5, 5]]),
                             np.array([CAR, CAR, ROAD, CAR, NO_CLASS]), is_crowd=np.array([0, 0, 0, 1, 0], bool))
    # Prediction: the first car but for a pixel, and one of the road; the second cut in two halves; road, void, a car on
    # the road, void and road on what is none of the classes.
    predicted = PanopticLabel.of(np.array([[1, 1, 1, 0, 2, 2, 3, 3, 1, 4, 4, 0, 5, 5, 5, 0, 4]]),
                                 np.array([CAR, CAR, CAR, ROAD, CAR]))
    expected = ([CORRECT] * 3 + [MISSED] + [WRONG_OBJECT] * 4 + [WRONG_CLASS] + [CORRECT] * 2 + [MISSED, FALSE_OBJECT]
                + [NOT_JUDGED] * 2 + [CORRECT, WRONG_CLASS])
    assert error_map(predicted, truth, CLASSES.thing_mask)[0].tolist() == expected


def test_objects_are_not_told_apart_where_the_truth_has_classes_alone() -> None:
    truth = PanopticLabel.of(np.array([[1, 1, 1, 2]]), np.array([CAR, ROAD]))
    predicted = PanopticLabel.of(np.array([[1, 2, 3, 3]]), np.array([CAR, CAR, CAR]))
    errors = error_map(predicted, truth, np.zeros(2, bool))
    assert errors[0].tolist() == [CORRECT, CORRECT, CORRECT, WRONG_CLASS]


def test_void_of_the_truth_leaves_the_union_of_a_match() -> None:
    truth = PanopticLabel.of(np.array([[1, 1, 1, 0, 0, 0]]), np.array([CAR]))
    predicted = PanopticLabel.of(np.array([[1, 1, 0, 1, 1, 1]]), np.array([CAR]))
    assert matches(predicted, truth).tolist() == [[False, False], [False, True]]  # 2 of 3; with void 2 of 6


def test_an_object_is_painted_where_it_is_and_what_has_no_class_is_not() -> None:
    image = CameraImage(np.full((40, 80, 3), 100, np.uint8), "bgr8")
    segment_map = np.zeros((40, 80), np.int32)
    segment_map[:, :40] = 1
    segment_map[:, 40:] = 2
    picture = painted(image, PanopticLabel.of(segment_map, np.array([NO_CLASS, ROAD])), CLASSES)
    assert (picture[:, :38] == 100).all()
    assert (picture[:, 42:] != 100).any(axis=-1).all()


@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono8"])
def test_pictures_are_smaller_by_whole_numbers_and_of_any_encoding(encoding: str) -> None:
    channels = {"rgb8": 3, "bgra8": 4, "mono8": 1}[encoding]
    image = CameraImage(np.full((101, 202, channels), 7, np.uint8), encoding)
    scaled = scaled_image(image, 100)
    assert scaled.pixels.shape == (33, 67, 3)
    assert (scaled.pixels == 7).all()


def test_the_timeline_knows_gaps_and_where_another_track_follows() -> None:
    timeline = TrackTimeline(CLASSES)
    for number, (track, present) in enumerate([(7, True), (7, True), (0, False), (9, True)]):
        segment_map = np.full((4, 4), int(present))
        predicted = PanopticLabel.of(segment_map, np.array([CAR]), np.array([track]))
        truth = PanopticLabel.of(np.ones((4, 4), int), np.array([CAR]), np.array([3]))
        timeline.add(number, "camera", predicted, truth)
    (followed,) = timeline.objects
    assert [(interval.first, interval.last, interval.matched_track) for interval in followed.intervals] == [
        (0, 1, 7), (2, 2, 0), (3, 3, 9)]
    assert followed.switches == [3]
    assert [(row.object_id, row.frames) for row in timeline.tracks] == [(7, 2), (9, 1)]


def test_a_track_that_comes_back_has_two_bars() -> None:
    timeline = TrackTimeline(CLASSES)
    for number, track in enumerate([7, 7, 8, 7]):
        predicted = PanopticLabel.of(np.ones((4, 4), int), np.array([CAR]), np.array([track]))
        timeline.add(number, "camera", predicted, None)
    assert [(interval.first, interval.last) for interval in timeline.tracks[0].intervals] == [(0, 1), (3, 3)]


def test_cameras_that_come_in_turns_do_not_break_each_others_tracks() -> None:
    timeline = TrackTimeline(CLASSES)
    for number in range(6):
        predicted = PanopticLabel.of(np.ones((4, 4), int), np.array([CAR]), np.array([7]))
        timeline.add(number, ("left", "right")[number % 2], predicted, None)
    assert [(row.camera, [(s.first, s.last) for s in row.intervals]) for row in timeline.tracks] == [
        ("left", [(0, 4)]), ("right", [(1, 5)])]


def test_only_the_longest_tracks_are_drawn_and_the_rest_is_counted(report: Report) -> None:
    segment_map = np.arange(32 * 64).reshape(32, 64) % 70 + 1
    label = PanopticLabel.of(segment_map, np.full(70, CAR), np.arange(1, 71))
    report.add(frame(0), label, None, None, {})
    assert "The longest 60 of 70." in WellFormed(written(report, {})).text


def test_stamps_that_go_back_are_shown_by_frame_number(report: Report) -> None:
    for k in (5, 2, 6):
        add(report, k)
    text = WellFormed(written(report, {})).text
    assert "time (s)" not in text
