"""Test-time augmentation of EINet (section 4): its maps averaged over scales and mirror images, before the peaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from panoptic_ros.networks.test_time_augmentation import augmented


def test_time_augmentation(network: Callable[[Tensor], dict[str, Tensor]], image: Tensor, scales: Sequence[float],
                           flip: bool, stride: int) -> dict[str, Tensor]:
    """See `panoptic_ros.methods.AugmentedNetwork`; class probabilities, heatmaps and embeddings are averaged.

    class_logits are the logarithms of the mean probabilities.
    """
    size = (image.shape[2], image.shape[3])
    totals: dict[str, Tensor] = {}
    count = 0
    for one in augmented(network, image, scales, flip, stride):
        for name, output in one.outputs.items():
            output = one.aligned(output.softmax(1) if name == "class_logits" else output, size)
            totals[name] = totals[name] + output if name in totals else output
        count += 1
    return {name: (total / count).clamp(min=1e-12).log() if name == "class_logits" else total / count
            for name, total in totals.items()}
