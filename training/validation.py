"""Scores during a training run, on a few images that it does not train on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.datasets import Dataset, Truth
from panoptic_ros.evaluation.scorer import Scorer
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.model import Model
from panoptic_ros.perception import preprocess

# Of each image alone: nothing here follows objects.
_JUDGES = frozenset({Truth.PANOPTIC, Truth.SEMANTIC})
_PICTURES = 3


@dataclass(frozen=True)
class Picture:
    """A validation image as the network sees it: overlay (H, W, 3) uint8 red first, and its maps (D, h, w)."""

    name: str
    overlay: np.ndarray
    maps: Mapping[str, Tensor]


@torch.inference_mode()
def validate(model: Model, network: Callable[[Tensor], dict[str, Tensor]], dataset: Dataset, images: int,
             device: torch.device) -> tuple[dict[str, float], list[Picture]]:
    """Score a model on so many images, evenly spread over the dataset; PQ, its parts and mIoU, where they can be had.

    network: executes the model's network, image (1, 3, H, W) on `device` to its outputs.
    """
    scorer = Scorer(dataset.classes, dataset.truth & _JUDGES, model.classes)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(images, len(dataset))).round().astype(int))
    pictures = []
    for i, entry in enumerate(chosen.tolist()):
        image = CameraImage(dataset.image(entry), "rgb8")
        outputs = network(preprocess(model, [image], device))
        maps, [segments] = model.decode(outputs, model.thresholds, (image.height, image.width))
        frame = PanopticFrame(image, maps[0].to(torch.uint16).cpu().numpy(), segments.numpy(), model.classes)
        name = dataset.entries[entry].name
        scorer.add(PanopticLabel.of_frame(frame), dataset.label(entry), name=name)
        if i < _PICTURES:
            pictures.append(Picture(name, frame.overlay(), {
                key: value[0] for key, value in outputs.items() if value.ndim == 4}))
    return _headline(scorer.result()), pictures


def _headline(result: dict) -> dict[str, float]:  # type: ignore[type-arg]
    panoptic = result.get("panoptic", {})
    scores = {"pq": panoptic.get("all", {}).get("pq"), "pq_things": panoptic.get("things", {}).get("pq"),
              "pq_stuff": panoptic.get("stuff", {}).get("pq"), "miou": result.get("miou")}
    return {name: value for name, value in scores.items() if value is not None}
