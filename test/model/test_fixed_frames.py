"""What the shipped models find in two fixed frames stays what it was: work on the code changes no result.

The frames are of the synthetic city and lie in `fixed_frames`, with what each model made of them. After a change of a
model's weights or thresholds write it anew: python test/model/test_fixed_frames.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception

FOLDER = Path(__file__).parent / "fixed_frames"
MODELS = Path(__file__).parents[2] / "config" / "models"
STAMPS_NS = (0, 200_000_000)
# Another processor adds up in another order: there a pixel between two segments may go to the other one.
SAME_PIXELS = 0.999


def frames_of(model: str) -> list[PanopticFrame]:
    """Both frames through a model, in single precision, followed from the first to the second."""
    perception = Perception(load_model(model), "torch", "cpu", "single")
    images = [CameraImage(cv2.imread(str(FOLDER / f"frame_{i}.jpg")), "bgr8", stamp)
              for i, stamp in enumerate(STAMPS_NS)]
    return [frame for image in images for frame in perception([image])]


def processor() -> str:
    """What decides how numbers are rounded."""
    return f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def rows_of(frame: PanopticFrame) -> list[dict[str, Any]]:
    rows = frame.segments
    return [{"class": int(rows.class_id[k]), "area": int(rows.area[k]), "box": rows.box[k].tolist(),
             "score": round(float(rows.score[k]), 4), "track": int(rows.track_id[k])} for k in range(len(rows))]


def pixels_of(segment_map: np.ndarray, rows: list[dict[str, Any]]) -> np.ndarray:
    """Class and track of each pixel, whatever the segments' order."""
    return np.array([-1, *(row["class"] + 1000 * row["track"] for row in rows)])[segment_map]


@pytest.mark.parametrize("model", sorted(folder.name for folder in MODELS.iterdir()))
def test_a_shipped_model_finds_in_fixed_frames_what_it_found_before(model: str) -> None:
    expected = json.loads((FOLDER / f"{model}.json").read_text())
    same_processor = expected["processor"] == processor()
    for i, frame in enumerate(frames_of(model)):
        before = cv2.imread(str(FOLDER / f"{model}_{i}.png"), cv2.IMREAD_UNCHANGED)
        rows_before, rows = expected["frames"][i], rows_of(frame)
        same = pixels_of(before, rows_before) == pixels_of(frame.segment_map, rows)
        assert same.mean() >= SAME_PIXELS
        if same_processor and same.all():
            assert np.array_equal(before, frame.segment_map)
            assert rows == rows_before


def write() -> None:
    for model in sorted(folder.name for folder in MODELS.iterdir()):
        frames = frames_of(model)
        for i, frame in enumerate(frames):
            cv2.imwrite(str(FOLDER / f"{model}_{i}.png"), frame.segment_map)
        content = {"processor": processor(), "frames": [rows_of(frame) for frame in frames]}
        (FOLDER / f"{model}.json").write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    write()
