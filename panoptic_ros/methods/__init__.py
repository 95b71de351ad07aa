"""The published methods: each module holds a network and its decode, and knows tensors alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from panoptic_ros.methods import dense_detections, hle


@dataclass(frozen=True)
class Method:
    """What the rest of the package needs to know of a method.

    hyperparameters: frozen dataclass, the paper's values as defaults; built from `model.yaml`.
    network: called with the hyper-parameters, which of the classes are things (C bools) and `pretrained`;
        `forward(image (B, 3, H, W) float)` returns a dict of named tensors, exportable with static shapes.
    thresholds: frozen dataclass of the decode's settings; each field's metadata has `range` and `description`.
    decode: `decode(outputs, is_thing (C,) bool, thresholds, output_size (H, W))` returns the segment map
        (B, H, W) int32 and a list of B Segments.
    test_time_augmentation: `test_time_augmentation(network, image (B, 3, H, W), scales, flip)` returns what the network (a callable, of
        an image to its outputs) says of the image, averaged over the image at these scales and, with flip, over the
        mirror image of each; InputError for scales that the method does not take. None: it is not made.
    """

    hyperparameters: type
    network: Callable[..., nn.Module]
    thresholds: type
    decode: Callable[..., Any]
    test_time_augmentation: Callable[..., dict[str, Tensor]] | None = None


METHODS: dict[str, Method] = {
    "dense_detections": Method(dense_detections.Hyperparameters, dense_detections.Network, dense_detections.Thresholds,
                               dense_detections.decode, dense_detections.test_time_augmentation),
    "hle": Method(hle.Hyperparameters, hle.Network, hle.Thresholds, hle.decode, hle.test_time_augmentation),
}
