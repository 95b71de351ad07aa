"""Views of an image, resized and mirrored: what a network says of them, the right way round on the image's own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

# Networks take multiples of this.
MULTIPLE = 32


@dataclass(frozen=True)
class View:
    """A network's outputs for a view. size: (H, W) of the image as it was resized. mirrored: whether left is right."""

    outputs: dict[str, Tensor]
    size: tuple[int, int]
    mirrored: bool

    def upright(self, output: Tensor, columns: int) -> Tensor:
        """A map (B, ., h, w) of this view the right way round: its columns but those that continue the image."""
        return output.flip(3)[..., :columns] if self.mirrored else output

    def brought_back(self, output: Tensor, size: tuple[int, int]) -> Tensor:
        """A map (B, ., h, w) of this view, upright on the grid of cells as large that the image (H, W) itself has."""
        cell = self.size[0] // output.shape[2]
        output, grid = self.upright(output, self.size[1] // cell), (size[0] // cell, size[1] // cell)
        if tuple(output.shape[2:]) == grid:
            return output
        return F.interpolate(output, grid, mode="bilinear", align_corners=False)


def views(network: Callable[[Tensor], dict[str, Tensor]], image: Tensor, scales: Sequence[float], flip: bool,
          largest_stride: int = MULTIPLE) -> Iterator[View]:
    """What the network says of the image (B, 3, H, W) at each of the scales, and with `flip` of its mirror images too.

    largest_stride: of the network's outputs. A mirror image is continued to the left up to a multiple of it: so the
    cells in it are the mirrored ones, also of outputs whose cells the image's width does not fill.
    """
    for scale in scales:
        height, width = (MULTIPLE * max(1, round(side * scale / MULTIPLE)) for side in image.shape[2:])
        view = image if (height, width) == tuple(image.shape[2:]) else F.interpolate(
            image, (height, width), mode="bilinear", align_corners=False, antialias=scale < 1)
        yield View(network(view), (height, width), False)
        if flip:
            mirror = F.pad(view.flip(3), (-width % largest_stride, 0, 0, 0), mode="replicate")
            yield View(network(mirror), (height, width), True)
