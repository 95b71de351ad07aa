"""Improving Panoptic Segmentation at All Scales (CVPR 2021): two stages, crop-aware boxes, scale-uniform sampling."""

from panoptic_ros.methods.all_scales.decode import Thresholds, decode
from panoptic_ros.methods.all_scales.network import Hyperparameters, Network
from panoptic_ros.methods.all_scales.test_time_augmentation import test_time_augmentation

__all__ = ["Hyperparameters", "Network", "Thresholds", "test_time_augmentation", "decode"]
