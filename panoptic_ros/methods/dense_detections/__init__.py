"""Real-Time Panoptic Segmentation from Dense Detections (Hou, Li et al., CVPR 2020)."""

from panoptic_ros.methods.dense_detections.decode import Thresholds, decode
from panoptic_ros.methods.dense_detections.network import Hyperparameters, Network
from panoptic_ros.methods.dense_detections.test_time_augmentation import test_time_augmentation

__all__ = ["Hyperparameters", "Network", "Thresholds", "test_time_augmentation", "decode"]
