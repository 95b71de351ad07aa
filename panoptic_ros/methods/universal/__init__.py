"""Universal segmentation by mask classification: Mask2Former, OneFormer and EoMT of the library transformers."""

from panoptic_ros.methods.universal.decode import Thresholds, decode
from panoptic_ros.methods.universal.network import Hyperparameters, Network
from panoptic_ros.methods.universal.test_time_augmentation import test_time_augmentation

__all__ = ["Hyperparameters", "Network", "Thresholds", "test_time_augmentation", "decode"]
