"""Hierarchical Lovász Embeddings for proposal-free panoptic segmentation (Kerola et al., CVPR 2021)."""

from panoptic_ros.methods.hle.decode import Thresholds, decode
from panoptic_ros.methods.hle.network import Hyperparameters, Network
from panoptic_ros.methods.hle.views import average_views

__all__ = ["Hyperparameters", "Network", "Thresholds", "average_views", "decode"]
