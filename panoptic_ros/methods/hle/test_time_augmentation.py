"""HLE's outputs averaged over views of an image: what the paper calls test-time augmentation (section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.networks.test_time_augmentation import views

# Vectors of unit length: of these the direction of the sum is taken. All other maps are linear in the evidence:
# probabilities, logits, logarithms of deviations.
UNIT_LENGTH = {"embedding", "class_embedding"}


def test_time_augmentation(network: Callable[[Tensor], dict[str, Tensor]], image: Tensor, scales: Sequence[float],
                  flip: bool) -> dict[str, Tensor]:
    """See `panoptic_ros.methods.Method`. Parameters of the network among the outputs are those of the first view."""
    height, width = image.shape[2:]
    totals: dict[str, Tensor] = {}
    count = 0
    for view in views(network, image, scales, flip):
        for name, output in view.outputs.items():
            if output.dim() < 4:
                totals.setdefault(name, output)
                continue
            if name == "spatial_log_sigma":  # the logarithm of a length: where the view is larger, so is it
                output = output - math.log(view.size[0] / height)
            output = view.brought_back(output, (height, width))
            totals[name] = totals[name] + output if name in totals else output
        count += 1
    return {name: total if total.dim() < 4 else F.normalize(total, dim=1) if name in UNIT_LENGTH else total / count
            for name, total in totals.items()}
