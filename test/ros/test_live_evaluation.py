"""A recording scored on its way through the real node: what comes back is scored, what is lost is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from panoptic_ros.bags.types import bag_types
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.cli import main
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.messages import camera_image_message, panoptic_image_message, segments_message
from panoptic_ros.segments import Segments

FRAMES = 12


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Twelve images of blocks at ten per second, whose truth is a road."""
    classes = load_class_table("cityscapes")
    with BagWriter(tmp_path / "bag") as bag:
        for k in range(FRAMES):
            blocks = np.random.default_rng(k // 4).integers(0, 255, (8, 16, 3), np.uint8)
            image = CameraImage(blocks.repeat(16, axis=0).repeat(16, axis=1), "rgb8", 10**18 + k * 10**8, "front", "f")
            road = Segments(np.zeros(1, np.int32), np.zeros(1, bool), np.ones(1, np.float32),
                            np.array([128 * 256], np.int32), np.array([[0, 0, 256, 128]], np.int32), None,
                            np.zeros(1, np.int32), np.zeros(1, np.int32))
            truth = PanopticFrame(image, np.ones((128, 256), np.uint16), road, classes)
            bag.write("/front/image", camera_image_message(image, bag_types()), image.stamp_ns)
            bag.write("/front/truth/panoptic/image", panoptic_image_message(truth, bag_types()), image.stamp_ns)
            bag.write("/front/truth/segments", segments_message(truth, "truth", bag_types()), image.stamp_ns)
    return tmp_path / "bag"


def test_without_haste_the_node_scores_what_a_replay_in_process_does(bag: Path, tmp_path: Path,
                                                                     model_folder: Path) -> None:
    def evaluated(name: str, *options: str) -> dict[str, Any]:
        assert main(["evaluate", str(bag), "--model", str(model_folder), "--out", str(tmp_path / name), "--overwrite",
                     "--engine", "torch", *options]) == 0
        result: dict[str, Any] = json.loads((tmp_path / name / "evaluation.json").read_text())
        return result

    # Images go to the node best effort: on a machine that is busy with other things one may be lost, however slow.
    for rate in ("0.5", "0.2", "0.05"):
        live = evaluated("live", "--live", "--rate", rate)
        if live["frames"]["scored"] == FRAMES:
            break
    in_process = evaluated("in process")
    assert live["frames"]["scored"] == FRAMES
    # mIoU and flicker are of the semantic map, which the node makes only because the evaluation asks for it.
    for metric in ("panoptic", "miou", "iou", "flicker", "class_change"):
        assert live[metric] == in_process[metric]


def test_frames_that_come_back_are_scored_and_lost_ones_are_no_missing_truth(bag: Path, tmp_path: Path,
                                                                             model_folder: Path) -> None:
    assert main(["evaluate", str(bag), "--model", str(model_folder), "--out", str(tmp_path / "out"),
                 "--engine", "torch", "--live", "--rate", "1000"]) == 0
    result = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    frames = result["frames"]
    assert frames["in"] == FRAMES
    assert 1 <= frames["out"] < FRAMES
    assert frames["out"] + sum(frames["dropped"].values()) == FRAMES
    assert frames["scored"] == frames["out"] == result["images"]
    assert (frames["without_truth"], frames["truth_without_frame"]) == (0, 0)
    assert (result["mode"], result["settings"]["rate"]) == ("live", 1000)
    assert "road" in result["panoptic"]["classes"]
