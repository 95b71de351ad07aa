"""Validation during a training run: scores on held-out images, and the metric of model selection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.datasets import Dataset, Truth
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation import metrics
from panoptic_ros.evaluation.metrics import Metric
from panoptic_ros.evaluation.scorer import Scorer
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.model import Model
from panoptic_ros.perception import depth_factor, preprocess

# Of each image alone: nothing here follows objects.
_TRUTH = frozenset({Truth.PANOPTIC, Truth.SEMANTIC, Truth.DEPTH})
_IMAGES_SHOWN = 3
# By the names that recipes and model.yaml have for them.
METRICS: dict[str, Metric] = {
    name: metrics.METRICS[key] for name, key in (
        ("pq", "panoptic.all.pq"), ("pq_things", "panoptic.things.pq"), ("pq_stuff", "panoptic.stuff.pq"),
        ("miou", "miou"), ("depth_rmse", "depth.rmse"), ("depth_abs_rel", "depth.abs_rel"))}


@dataclass(frozen=True)
class ValidationImage:
    """A validation image's prediction: overlay (H, W, 3) uint8 RGB, and the network's maps (D, h, w)."""

    name: str
    overlay: np.ndarray
    maps: Mapping[str, Tensor]


@torch.inference_mode()
def validate(model: Model, network: Callable[[Tensor], dict[str, Tensor]], dataset: Dataset, images: int,
             device: torch.device) -> tuple[dict[str, float], list[ValidationImage]]:
    """Score a model on so many images, evenly spread over the dataset: those of METRICS that can be measured.

    network: executes the model's network, image (1, 3, H, W) on `device` to its outputs.
    """
    truth = dataset.truth & _TRUTH if model.predicts_depth else dataset.truth & _TRUTH - {Truth.DEPTH}
    scorer = Scorer(dataset.classes, truth, model.classes)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(images, len(dataset))).round().astype(int))
    shown = []
    for i, entry in enumerate(chosen.tolist()):
        image = CameraImage(dataset.image(entry), "rgb8", focal_length=dataset.focal_length(entry) or None)
        outputs = network(preprocess(model, [image], device))
        found = model.decode(outputs, model.thresholds, (image.height, image.width), with_semantics=True)
        assert found.semantic_map is not None
        frame = PanopticFrame(image, found.segment_map[0].to(torch.uint16).cpu().numpy(), found.segments[0].numpy(),
                              model.classes, None if found.depth is None else
                              found.depth[0].cpu().numpy() * depth_factor(model, image),
                              semantics=found.semantic_map[0].cpu().numpy())
        name = dataset.entries[entry].name
        scorer.add(PanopticLabel.of_frame(frame), dataset.label(entry), name=name, predicted_depth=frame.depth,
                   truth_depth=dataset.depth(entry) if Truth.DEPTH in truth else None)
        if i < _IMAGES_SHOWN:
            maps = {key: outputs[key][0] for key in sorted(model.network.pixel_outputs)}
            shown.append(ValidationImage(name, frame.overlay(), maps))
    return headline_scores(scorer.result()), shown


def headline_scores(result: Mapping[str, Any]) -> dict[str, float]:
    """Those of METRICS that a result has, by name."""
    return {name: value for name, metric in METRICS.items() if (value := metric.value(result)) is not None}


def selection_score(scores: Mapping[str, float], metric: str = "") -> float:
    """The score by which models are selected, larger is better; metric: of METRICS, "" = pq, else miou.

    Raises InputError where the metric was not measured.
    """
    name = metric or ("pq" if "pq" in scores else "miou")
    if name not in scores:
        raise InputError(f"validation.metric is {name}, but the validation data and the method give "
                         f"{', '.join(scores) or 'none'}")
    return -scores[name] if METRICS[name].better == "lower" else scores[name]
