"""Models whose name begins with `depth` predict one, though no method does: for tests, in process and in a node.

As a script it is the node with such models: `python depth_models.py --ros-args ...`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from panoptic_ros.frame import PanopticFrame
from panoptic_ros.model import Model
from panoptic_ros.perception import Perception


def predicted_depth(height: int, width: int) -> np.ndarray:
    """What such a model predicts for every image: from 2 m at the bottom to 50 m, and in one pixel nothing."""
    depth = np.repeat(np.linspace(50, 2, height, dtype=np.float32)[:, None], width, axis=1)
    depth[0, 0] = 0
    return depth


def add_depth_models(set_attribute: Callable[[Any, str, Any], None]) -> None:
    """set_attribute: `setattr`, or that of pytest's monkeypatch."""
    original: Any = Perception.__call__

    def with_depth(perception: Perception, images: Sequence[Any]) -> list[PanopticFrame]:
        frames: list[PanopticFrame] = original(perception, images)
        if not perception.model.predicts_depth:
            return frames
        return [replace(frame, depth=predicted_depth(*frame.segment_map.shape)) for frame in frames]

    set_attribute(Perception, "__call__", with_depth)
    set_attribute(Model, "predicts_depth", property(lambda model: model.model_id.startswith("depth")))


if __name__ == "__main__":
    from panoptic_ros.ros.node import main

    add_depth_models(setattr)
    sys.exit(main())
