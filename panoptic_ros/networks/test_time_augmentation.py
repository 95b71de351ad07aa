"""Test-time augmentation: a network's outputs for resized and mirrored copies of an image, aligned with the image.

What the methods' averages share, tensors alone; `engines.test_time_augmentation` applies them to an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AugmentedOutputs:
    """A network's outputs for an augmented image.

    size: (H, W) of the image as it was resized. mirrored: whether left and right are exchanged.
    """

    outputs: dict[str, Tensor]
    size: tuple[int, int]
    mirrored: bool

    def unmirrored(self, output: Tensor, columns: int) -> Tensor:
        """A map (B, ., h, w) flipped back where mirrored, without the columns of the padding."""
        return output.flip(3)[..., :columns] if self.mirrored else output

    def aligned(self, output: Tensor, size: tuple[int, int]) -> Tensor:
        """A map (B, ., h, w) of this image, unmirrored, on the grid of such cells that the image (H, W) itself has."""
        cell = self.size[0] // output.shape[2]
        output, grid = self.unmirrored(output, self.size[1] // cell), (size[0] // cell, size[1] // cell)
        if tuple(output.shape[2:]) == grid:
            return output
        return F.interpolate(output, grid, mode="bilinear", align_corners=False)


def augmented(network: Callable[[Tensor], dict[str, Tensor]], image: Tensor, scales: Sequence[float], flip: bool,
              stride: int, largest_stride: int = 0) -> Iterator[AugmentedOutputs]:
    """The network's outputs for the image (B, 3, H, W) at each of the scales, and with `flip` for its mirror images.

    stride: sides of its input are multiples of it. largest_stride: of the network's outputs, where that is larger. A
    mirror image is padded on the left, by replication, to a multiple of it: so its cells are the mirrored ones, also
    of outputs whose stride does not divide the image's width.
    """
    for scale in scales:
        height, width = (stride * max(1, round(side * scale / stride)) for side in image.shape[2:])
        resized = image if (height, width) == tuple(image.shape[2:]) else F.interpolate(
            image, (height, width), mode="bilinear", align_corners=False, antialias=scale < 1)
        yield AugmentedOutputs(network(resized), (height, width), False)
        if flip:
            mirror = F.pad(resized.flip(3), (-width % max(stride, largest_stride), 0, 0, 0), mode="replicate")
            yield AugmentedOutputs(network(mirror), (height, width), True)
