"""Test-time augmentation of HLE (section 4.2): its outputs averaged over scales and mirror images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.networks.test_time_augmentation import augmented

# Vectors of unit length: of these the direction of the sum is taken. All other maps are linear in the evidence:
# probabilities, logits, logarithms of deviations.
UNIT_LENGTH = {"embedding", "class_embedding"}


def test_time_augmentation(network: Callable[[Tensor], dict[str, Tensor]], image: Tensor, scales: Sequence[float],
                           flip: bool, stride: int) -> dict[str, Tensor]:
    """See `panoptic_ros.methods.AugmentedNetwork`; all outputs are maps."""
    height, width = image.shape[2:]
    totals: dict[str, Tensor] = {}
    count = 0
    for one in augmented(network, image, scales, flip, stride):
        for name, output in one.outputs.items():
            if name == "spatial_log_sigma":  # the logarithm of a length: where the image is larger, so is it
                output = output - math.log(one.size[0] / height)
            output = one.aligned(output, (height, width))
            totals[name] = totals[name] + output if name in totals else output
        count += 1
    return {name: F.normalize(total, dim=1) if name in UNIT_LENGTH else total / count for name, total in totals.items()}
