"""Objectives, the targets and loss of each method: a module for each, and the table of all."""

from __future__ import annotations

from training.objectives.all_scales import AllScalesObjective
from training.objectives.centroid_embedding import CentroidEmbeddingObjective
from training.objectives.dense_detections import DenseDetectionsObjective
from training.objectives.einet import EINetObjective
from training.objectives.hle import HLEObjective
from training.objectives.objective import Objective
from training.objectives.universal import UniversalObjective

__all__ = ["OBJECTIVES", "Objective"]

# Method, a key of `panoptic_ros.methods.METHODS` -> its objective.
OBJECTIVES: dict[str, type[Objective]] = {
    "all_scales": AllScalesObjective,
    "centroid_embedding": CentroidEmbeddingObjective,
    "dense_detections": DenseDetectionsObjective,
    "einet": EINetObjective,
    "hle": HLEObjective,
    "universal": UniversalObjective,
}
