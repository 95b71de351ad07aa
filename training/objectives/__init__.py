"""Objectives, the targets and loss of each method: a module for each, and the table of all."""

from __future__ import annotations

from .all_scales import AllScalesObjective
from .centroid_embedding import CentroidEmbeddingObjective
from .dense_detections import DenseDetectionsObjective
from .einet import EINetObjective
from .hle import HLEObjective
from .objective import Objective
from .universal import UniversalObjective

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
