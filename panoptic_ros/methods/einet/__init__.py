"""Embedding Interaction Network: bottom-up panoptic segmentation by centroid embeddings (ICCV submission 8435)."""

from panoptic_ros.methods.einet.decode import Thresholds, decode
from panoptic_ros.methods.einet.network import Hyperparameters, Network
from panoptic_ros.methods.einet.test_time_augmentation import test_time_augmentation

__all__ = ["Hyperparameters", "Network", "Thresholds", "test_time_augmentation", "decode"]
