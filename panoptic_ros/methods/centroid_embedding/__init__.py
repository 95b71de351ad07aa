"""Centroid embedding: panoptic segmentation and depth by per-pixel prediction (Prisadnikov et al., preprint)."""

from panoptic_ros.methods.centroid_embedding.decode import Thresholds, decode
from panoptic_ros.methods.centroid_embedding.network import Hyperparameters, Network

__all__ = ["Hyperparameters", "Network", "Thresholds", "decode"]
