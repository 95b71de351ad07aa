"""Which truth belongs to which image: by file name, stamp or number, for one camera and for several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.recording import BrokenFrame, Recording, Stream
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.datasets.dataset import Dataset, Entry, Truth
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.truth_sources import MatchedTruth, open_truth
from panoptic_ros.labels import PanopticLabel

SECOND = 10**9


class NumberedTruth(Dataset):
    """Truth k is the class k over 4 x 6 pixels."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.name, self.classes, self.entries = "truth", load_class_table("cityscapes"), entries
        self.truth = frozenset({Truth.SEMANTIC})

    def image(self, index: int) -> np.ndarray:
        raise NotImplementedError

    def label(self, index: int) -> PanopticLabel:
        return PanopticLabel.of(np.ones((4, 6), np.uint8), np.array([index]))


def image(stamp_ns: int, camera: str = "camera") -> CameraImage:
    return CameraImage(np.zeros((4, 6, 3), np.uint8), "rgb8", stamp_ns, camera)


def recording_of(items: Sequence[CameraImage | BrokenFrame], path: str = "drive.mp4") -> Recording:
    cameras = sorted({item.camera for item in items})
    streams = tuple(Stream(camera, path, "video", None) for camera in cameras)
    return Recording(Path(path), "video", streams, lambda: iter(items))


def matched(truth: MatchedTruth) -> list[int | None]:
    """The truth of each image of the recording, by its index."""
    labels = [truth.label(item) for item in truth.follow().frames() if isinstance(item, CameraImage)]
    return [None if label is None else int(label.class_id[0]) for label in labels]


def test_stamps_match_exactly_where_they_are_of_the_same_time() -> None:
    entries = [Entry("a", stamp_ns=7 * SECOND), Entry("b", stamp_ns=8 * SECOND), Entry("c", stamp_ns=9 * SECOND)]
    truth = MatchedTruth(NumberedTruth(entries), recording_of([image(s) for s in (
        7 * SECOND, 8 * SECOND + 1, 9 * SECOND, 10 * SECOND)]))
    assert truth.match == "stamp"
    assert matched(truth) == [0, None, 2, None]
    alone = truth.alone()
    assert alone["without_truth"] == (2, ["camera, frame 1, 8000000001 ns", "camera, frame 3, 10000000000 ns"])
    assert alone["truth_without_frame"] == (1, ["b"])


def test_numbers_match_where_the_truth_has_no_stamps_and_a_broken_image_has_its_number() -> None:
    truth = MatchedTruth(NumberedTruth([Entry("a", number=0), Entry("b", number=1), Entry("c", number=2)]),
                         recording_of([image(5), BrokenFrame("camera", "no image", ""), image(6)]))
    assert truth.match == "number"
    assert "no stamps" in truth.reason
    assert matched(truth) == [0, 2]
    assert truth.alone()["truth_without_frame"] == (1, ["b"])


def test_numbers_match_where_the_stamps_are_of_another_time() -> None:
    entries = [Entry("a", stamp_ns=7 * SECOND, number=0), Entry("b", stamp_ns=8 * SECOND, number=1)]
    truth = MatchedTruth(NumberedTruth(entries), recording_of([image(10**18), image(10**18 + SECOND)]))
    assert truth.match == "number"
    assert "another time" in truth.reason
    assert matched(truth) == [0, 1]


def test_file_names_match_before_everything_else(tmp_path: Path) -> None:
    for name in ("0000_000003.png", "0000_000007.png", "town_000001_leftImg8bit.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 6, 3), np.uint8))
    entries = [Entry("town_000001", number=0), Entry("0000_000007", number=1), Entry("0000_000003", number=2)]
    truth = MatchedTruth(NumberedTruth(entries), open_recording(tmp_path))
    assert truth.match == "name"
    assert matched(truth) == [2, 1, 0]


def test_file_names_need_not_have_the_name_of_their_sequence(tmp_path: Path) -> None:
    for name in ("000003.png", "000004.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((4, 6, 3), np.uint8))
    entries = [Entry("0007_000004", "0007"), Entry("0007_000003", "0007")]
    truth = MatchedTruth(NumberedTruth(entries), open_recording(tmp_path))
    assert matched(truth) == [1, 0]


def test_a_repeated_stamp_has_truth_once() -> None:
    truth = MatchedTruth(NumberedTruth([Entry("a", stamp_ns=5)]), recording_of([image(5), image(5)]))
    assert matched(truth) == [0, None]
    assert truth.alone()["repeated"] == (1, ["camera, frame 1, 5 ns"])
    # Read once more, as a live replay does, everything is counted anew.
    assert matched(truth) == [0, None]
    assert truth.alone()["repeated"].total == 1


def test_only_the_first_twenty_are_listed() -> None:
    truth = MatchedTruth(NumberedTruth([Entry(f"{k}", stamp_ns=1 + 2 * k) for k in range(30)]),
                         recording_of([image(2 + 2 * k) for k in range(30)]))
    assert matched(truth) == [None] * 30
    for kind in ("without_truth", "truth_without_frame"):
        total, first = truth.alone()[kind]
        assert (total, len(first)) == (30, 20)


def test_each_camera_has_the_sequence_of_its_name() -> None:
    entries = [Entry("a", "left", 5), Entry("b", "right", 5)]
    truth = MatchedTruth(NumberedTruth(entries), recording_of([image(5, "right"), image(5, "left"), image(6, "left")]))
    assert matched(truth) == [1, 0, None]


def test_of_several_sequences_the_one_with_the_name_of_the_recording_is_taken() -> None:
    entries = [Entry("a", "0001", number=0), Entry("b", "0002", number=0)]
    truth = MatchedTruth(NumberedTruth(entries), recording_of([image(5)], "0002.mp4"))
    assert matched(truth) == [1]
    # The truth of the other sequence is not missing.
    assert truth.alone()["truth_without_frame"].total == 0


def test_nobody_guesses_which_of_several_sequences_is_meant() -> None:
    entries = [Entry("a", "0001", number=0), Entry("b", "0002", number=0)]
    with pytest.raises(InputError, match=r"same number .* the sequences 0001, 0002"):
        MatchedTruth(NumberedTruth(entries), recording_of([image(5)]))
    with pytest.raises(InputError, match="belongs to the camera left"):
        MatchedTruth(NumberedTruth(entries), recording_of([image(5, "left"), image(5, "right")]))


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(InputError, match="neither file names nor stamps"):
        MatchedTruth(NumberedTruth([Entry("a"), Entry("b")]), recording_of([image(5)]))


def test_truth_of_another_size_than_its_image_is_an_error() -> None:
    large = replace(image(5), pixels=np.zeros((8, 6, 3), np.uint8))
    truth = MatchedTruth(NumberedTruth([Entry("a", stamp_ns=5)]), recording_of([large]))
    with pytest.raises(InputError, match="'a' has 6 x 4 pixels, its image of camera at 5 ns 6 x 8"):
        matched(truth)


def test_a_video_has_no_truth_topics() -> None:
    with pytest.raises(InputError, match="is no bag"):
        open_truth(None, recording_of([image(5)]), load_class_table("cityscapes"))
