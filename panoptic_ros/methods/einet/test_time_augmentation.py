"""Test-time augmentation of EINet (section 4): its maps averaged over scales and mirror images, before the peaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from panoptic_ros.networks.test_time_augmentation import augmented


def test_time_augmentation(network: Callable[[Tensor], dict[str, Tensor]], image: Tensor, scales: Sequence[float],
                           flip: bool, stride: int) -> dict[str, Tensor]:
    """See `panoptic_ros.methods.AugmentedNetwork`; class probabilities, heatmaps, embeddings and offsets are averaged.

    class_logits are the logarithms of the mean probabilities.
    """
    size = (image.shape[2], image.shape[3])
    totals: dict[str, Tensor] = {}
    count = 0
    for one in augmented(network, image, scales, flip, stride):
        for name, output in one.outputs.items():
            if name == "offset":  # in cells of this size, and x in the mirror image points the other way
                x_scale, y_scale = (whole / side for whole, side in zip(size[::-1], one.size[::-1], strict=True))
                output = output * output.new_tensor([-x_scale if one.mirrored else x_scale, y_scale])[:, None, None]
            output = one.aligned(output.softmax(1) if name == "class_logits" else output, size)
            totals[name] = totals[name] + output if name in totals else output
        count += 1
    return {name: (total / count).clamp(min=1e-12).log() if name == "class_logits" else total / count
            for name, total in totals.items()}
