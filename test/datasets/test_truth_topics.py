"""Truth in topics of a bag: which segments of it are crowds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from panoptic_ros.bags.types import bag_types
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.datasets.dataset import Truth
from panoptic_ros.datasets.truth_topics import TruthTopics, find_truth_topics
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.messages import camera_image_message, panoptic_image_message, segments_message
from panoptic_ros.segments import Segments

CLASSES = load_class_table("cityscapes")
ROAD, CAR = CLASSES.names.index("road"), CLASSES.names.index("car")
CAMERAS = {"front": "/front/image"}


def truth_of(folder: Path, model_id: str, track_id: list[int]) -> TruthTopics:
    """A bag with one image of a road and two cars, one pixel each."""
    rows = np.arange(3)
    box = np.stack([rows, 0 * rows, rows + 1, 0 * rows + 1], 1).astype(np.int32)
    class_id, ids = np.array([ROAD, CAR, CAR], np.int32), np.array(track_id, np.int32)
    segments = Segments(class_id, class_id == CAR, np.ones(3, np.float32), np.ones(3, np.int32), box, None, ids, ids)
    frame = PanopticFrame(CameraImage(np.zeros((1, 3, 3), np.uint8), "rgb8", 10**18, "front", "front"),
                          np.array([[1, 2, 3]], np.uint16), segments, CLASSES)
    with BagWriter(folder / "bag") as bag:
        bag.write("/front/image", camera_image_message(frame.image, bag_types()), 10**18)
        bag.write("/front/truth/panoptic/image", panoptic_image_message(frame, bag_types()), 10**18)
        bag.write("/front/truth/segments", segments_message(frame, model_id, bag_types()), 10**18)
    return TruthTopics(folder / "bag", CAMERAS, find_truth_topics(folder / "bag", CAMERAS), CLASSES)


@pytest.mark.parametrize(("model_id", "track_id", "is_crowd"), [
    ("truth", [1, 0, 7], [False, True, False]),
    ("truth", [1, 0, 0], [False, True, True]),  # an image that shows nothing but crowds; surfaces have their numbers
    ("truth", [0, 0, 7], [False, True, False]),
    ("truth", [1, 6, 7], [False, False, False]),
    ("truth", [0, 0, 0], [False, False, False]),  # of a single image: nobody numbered anything
    ("city@01234567", [0, 0, 7], [False, False, False]),  # what a model found, and does not follow yet
])
def test_a_thing_without_a_number_is_a_crowd_in_truth_that_has_numbers(tmp_path, model_id, track_id, is_crowd):
    dataset = truth_of(tmp_path, model_id, track_id)
    label = dataset.label(0)
    assert label.is_crowd.tolist() == is_crowd
    assert label.object_id.tolist() == [0, *track_id[1:]]
    assert label.class_id.tolist() == [ROAD, CAR, CAR]
    assert (Truth.TRACKS in dataset.truth) == any(track_id[1:])
