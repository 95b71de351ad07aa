"""The table of an ablation beside the paper's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.ablation import table
from benchmarks.ablation_centroid_embedding import ABLATION, iou_by_size, tables
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.segments import Segments


def test_only_variants_on_the_other_side_of_the_full_method_than_in_the_paper_are_marked() -> None:
    papers = {"full": 0.6, "worse": 0.5, "better": 0.7, "other": None}
    ours = {"full": 0.3, "worse": 0.2, "better": 0.4, "other": 0.9}

    def marks(ours: dict[str, float]) -> dict[str, str]:
        rows = {name: {"title": name, "paper_pq": paper, "pq": [ours[name]], "pq_things": [0.0], "pq_stuff": [0.0]}
                for name, paper in papers.items()}
        lines = table({"variants": rows, "steps": 1, "batch_size": 1, "crop": (2, 2)}).splitlines()[2:]
        return {line.split()[0]: line.partition(" the full method")[0].split()[-1] for line in lines
                if "the full method" in line}

    assert marks(ours) == {}
    assert marks({**ours, "worse": 0.35, "better": 0.1}) == {"worse": "above", "better": "below"}


def test_the_iou_of_objects_is_grouped_by_their_size_and_gains_are_relative() -> None:
    class Truth:
        classes = load_class_table("kitti_mots")  # two things

        def __len__(self) -> int:
            return 1

        def image(self, index: int) -> np.ndarray:
            return np.zeros((80, 80, 3), np.uint8)

        def label(self, index: int) -> PanopticLabel:
            segment_map = np.zeros((80, 80), np.int32)
            segment_map[:10, :10], segment_map[20:70, 20:70], segment_map[:10, 40:50] = 1, 2, 3
            return PanopticLabel.of(segment_map, np.array([0, 1, 0]), is_crowd=np.array([False, False, True]))

    found = np.zeros((80, 80), np.uint16)
    found[:10, :5], found[20:70, 20:80] = 1, 2
    one, none = np.ones(2, np.float32), np.zeros(2, np.int32)
    box = np.zeros((2, 4), np.int32)
    segments = Segments(np.zeros(2, np.int32), np.ones(2, bool), one, none, box, None, none, none)

    class Fixed:
        model = SimpleNamespace(classes=Truth.classes)

        def __call__(self, image: np.ndarray) -> PanopticFrame:
            return PanopticFrame(CameraImage(image), found, segments, Truth.classes)

    ours: Any = iou_by_size(Fixed(), Truth())  # type: ignore[arg-type]
    assert ours == [0.5, None, None, pytest.approx(50 / 60)]
    rows = {name: {"title": name, "paper_pq": None, "pq": [0.1], "pq_things": [0.1], "pq_stuff": [0.1],
                   "iou_by_size": [[0.2, None, 0.0, 0.5]]} for name in ABLATION.variants}
    rows["full"]["iou_by_size"] = [[0.3, None, 0.1, 0.5]]
    lines = tables({"variants": rows, "steps": 1, "batch_size": 1, "crop": (2, 2)}).splitlines()
    assert len(ABLATION.variants) == 11
    assert lines[-1].split()[3:] == ["+50.0%", "-", "-", "+0.0%"]
