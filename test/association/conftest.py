"""Frames made of a few boxes, for the tests of the tracker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from panoptic_ros.frame import CameraImage, PanopticFrame, Segments

FrameFactory = Callable[..., PanopticFrame]

CAR = 13


@pytest.fixture
def make_frame() -> FrameFactory:
    """`make_frame(seconds, boxes, embeddings, class_ids, scores)`: an image 100 high and 200 wide."""

    def make(seconds: float, boxes: Sequence[Sequence[int]] = (), embeddings: Sequence[Sequence[float]] | None = None,
             class_ids: Sequence[int] | None = None, scores: Sequence[float] | None = None,
             is_thing: Sequence[bool] | None = None) -> PanopticFrame:
        count = len(boxes)
        box = np.array(boxes, np.int32).reshape(count, 4)
        embedding = None
        if embeddings is not None:
            embedding = np.array(embeddings, np.float32).reshape(count, -1 if count else 3)
            embedding = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
        segments = Segments(
            class_id=np.array(class_ids if class_ids is not None else [CAR] * count, np.int32),
            is_thing=np.array(is_thing if is_thing is not None else [True] * count, bool),
            score=np.array(scores if scores is not None else [0.9] * count, np.float32),
            area=((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])).astype(np.int32), box=box, embedding=embedding,
            track_id=np.zeros(count, np.int32), track_age=np.zeros(count, np.int32))
        image = CameraImage(np.zeros((100, 200, 3), np.uint8), "bgr8", round(seconds * 1e9))
        return PanopticFrame(image, np.zeros((100, 200), np.uint16), segments)

    return make
