"""Frames made of a few boxes, for the tests of the tracker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.segments import Segments

FrameFactory = Callable[..., PanopticFrame]

CLASSES = load_class_table("cityscapes")
CAR = 13


@pytest.fixture
def make_frame() -> FrameFactory:
    """`make_frame(seconds, boxes, embeddings, class_ids, scores, is_thing, camera)`: an image 100 high and 200 wide.

    Each segment fills its box, the later ones in front.
    """

    def make(seconds: float, boxes: Sequence[Sequence[int]] = (), embeddings: Sequence[Sequence[float]] | None = None,
             class_ids: Sequence[int] | None = None, scores: Sequence[float] | None = None,
             is_thing: Sequence[bool] | None = None, camera: str = "camera") -> PanopticFrame:
        count = len(boxes)
        box = np.array(boxes, np.int32).reshape(count, 4)
        embedding = None
        if embeddings is not None:
            embedding = np.array(embeddings, np.float32).reshape(count, -1 if count else 3)
            embedding = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
        segment_map = np.zeros((100, 200), np.uint16)
        for number, (x0, y0, x1, y1) in enumerate(box.tolist(), 1):
            segment_map[max(y0, 0):max(y1, 0), max(x0, 0):max(x1, 0)] = number
        segments = Segments(
            class_id=np.array(class_ids if class_ids is not None else [CAR] * count, np.int32),
            is_thing=np.array(is_thing if is_thing is not None else [True] * count, bool),
            score=np.array(scores if scores is not None else [0.9] * count, np.float32),
            area=np.bincount(segment_map.ravel(), minlength=count + 1)[1:].astype(np.int32), box=box,
            embedding=embedding, track_id=np.zeros(count, np.int32), track_age=np.zeros(count, np.int32))
        image = CameraImage(np.zeros((100, 200, 3), np.uint8), "bgr8", round(seconds * 1e9), camera)
        return PanopticFrame(image, segment_map, segments, CLASSES)

    return make
