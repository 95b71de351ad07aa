"""Real-Time Panoptic Segmentation from Dense Detections (Hou, Li et al., CVPR 2020)."""

from panoptic_ros.methods.dense_detections.decode import Thresholds, decode
from panoptic_ros.methods.dense_detections.network import Hyperparameters, Network
from panoptic_ros.methods.dense_detections.views import average_views

__all__ = ["Hyperparameters", "Network", "Thresholds", "average_views", "decode"]
