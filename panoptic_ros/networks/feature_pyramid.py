"""The feature pyramid of one-stage detectors: five levels from the encoder's maps (Lin et al. 2017; FCOS)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

# Of P3 to P7, what detectors use; a network may have all of them a power of two finer.
STRIDES = (8, 16, 32, 64, 128)


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of each level, where the first has `height` x `width`: halved again and again, rounded up."""
    sizes = [(height, width)]
    while len(sizes) < len(STRIDES):
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes


def upsample(features: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Bilinear upsampling (B, C, h, w) -> (B, C, *size) that keeps pixels aligned: by a whole factor, then cropped.

    Where a level was rounded up, stretching it to `size` would shift what lies far from the origin.
    """
    larger = F.interpolate(features, scale_factor=float(factor), mode="bilinear", align_corners=False)
    return larger[:, :, :size[0], :size[1]]


class FeaturePyramid(nn.Module):
    """The encoder's maps, each half the size of the one before -> `levels` maps of `channels`, from the same stride on.

    What the encoder has no map for comes from the last level: P6 and P7 from P5, where it has P3 to P5.
    """

    def __init__(self, inputs: list[int], channels: int, levels: int = len(STRIDES)) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(n, channels, 1) for n in inputs)
        self.smooth = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in inputs)
        self.coarser = nn.ModuleList(nn.Conv2d(channels, channels, 3, stride=2, padding=1)
                                     for _ in range(levels - len(inputs)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        top_down = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for i in reversed(range(len(top_down) - 1)):
            top_down[i] = top_down[i] + F.interpolate(top_down[i + 1], scale_factor=2.0, mode="nearest")
        levels = [smooth(x) for smooth, x in zip(self.smooth, top_down, strict=True)]
        for i, coarser in enumerate(self.coarser):
            levels.append(coarser(F.relu(levels[-1]) if i else levels[-1]))
        return levels
