"""The scores of a two-stage model's detections, on perfect ones and on worse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.decode_all_scales import oracle_outputs
from benchmarks.detection_scores import detection_scores
from panoptic_ros.datasets import open_dataset
from panoptic_ros.model import load_model
from panoptic_ros.paths import model_folder

DATA = "city:500x3/20@256x512"


def perception(change: Any) -> Any:
    """Of the truth of DATA in place of a network's outputs, after `change`."""
    dataset, model = open_dataset(DATA), load_model(model_folder("city"))
    is_thing = torch.as_tensor(model.classes.thing_mask)
    images = iter(range(len(dataset)))

    def engine(image: Tensor) -> dict[str, Tensor]:
        label = dataset.label(next(images))
        number = torch.from_numpy(label.segment_map.astype(np.int64))[None]
        classes = torch.from_numpy(np.append(255, label.class_id).astype(np.int64))
        crowd = torch.from_numpy(np.append(True, label.is_crowd))
        class_map = classes[number]
        instance_map = torch.where((class_map < 255) & is_thing[class_map % 255] & ~crowd[number], number, 0)
        outputs = oracle_outputs(class_map.clamp(max=18), instance_map, is_thing)
        size = torch.tensor([model.input_size[1] / 512, model.input_size[0] / 256]).repeat(2)
        return change({**outputs, "box": outputs["box"] * size})

    engine.device = torch.device("cpu")  # type: ignore[attr-defined]
    return SimpleNamespace(model=model, engine=engine), dataset


def test_perfect_boxes_have_an_ap_and_an_iou_of_one() -> None:
    scores = detection_scores(*perception(lambda outputs: outputs), (64, 64))
    assert scores["box_ap"] == pytest.approx(1, abs=1e-6)
    assert scores["iou_large_objects"] > 0
    assert scores["iou_large"] == scores["iou_border"] == scores["iou_other"] == pytest.approx(1)
    assert 0.2 < scores["mask_ap"] < 1  # the boxes' masks are full
    assert all(value == pytest.approx(1, abs=1e-6) for name, value in scores.items() if name.startswith("box_ap_"))


def test_missing_boxes_count_as_an_iou_of_zero_and_shifted_ones_as_what_they_share() -> None:
    none = detection_scores(*perception(lambda o: {**o, "score": o["score"] * 0}), (64, 64))
    assert none["iou_other"] == none["iou_large"] == none["box_ap"] == 0

    def half(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        box = outputs["box"].clone()
        box[..., 2] = (box[..., 0] + box[..., 2]) / 2
        return {**outputs, "box": box}

    scores = detection_scores(*perception(half), (64, 64))
    assert scores["iou_large"] == pytest.approx(0.5, abs=0.05)
    assert scores["iou_other"] > 0.45  # a neighbour's may overlap more
