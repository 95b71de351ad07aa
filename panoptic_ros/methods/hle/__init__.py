"""Hierarchical Lovász Embeddings for proposal-free panoptic segmentation (Kerola et al., CVPR 2021)."""

from panoptic_ros.methods.hle.decode import Thresholds, decode
from panoptic_ros.methods.hle.network import Hyperparameters, Network
from panoptic_ros.methods.hle.test_time_augmentation import test_time_augmentation

__all__ = ["Hyperparameters", "Network", "Thresholds", "test_time_augmentation", "decode"]
