"""DeepLab decoders: atrous spatial pyramid pooling, fused with low-level features once (Chen et al. 2018) or twice."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def convolution(inputs: int, outputs: int, kernel: int = 3, dilation: int = 1, separable: bool = False) -> nn.Module:
    """Convolution + BatchNorm + ReLU that keeps the size; separable: depthwise, then pointwise."""
    padding = dilation * (kernel // 2)
    if separable and kernel > 1:
        return nn.Sequential(
            nn.Conv2d(inputs, inputs, kernel, padding=padding, dilation=dilation, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs), nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
                         nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class AtrousSpatialPyramidPooling(nn.Module):
    """ASPP: convolutions at several dilations and a global average pool, concatenated and mixed: (B, C, h, w) ->
    (B, C', h, w)."""

    def __init__(self, inputs: int, outputs: int, rates: tuple[int, ...], separable: bool = False) -> None:
        super().__init__()
        self.branches = nn.ModuleList([convolution(inputs, outputs, 1)])
        self.branches.extend(convolution(inputs, outputs, 3, rate, separable) for rate in rates)
        # No BatchNorm behind the global average: one value per channel and image has no statistics to speak of.
        self.global_branch = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True))
        self.mix = convolution(outputs * (len(rates) + 2), outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        whole = self.global_branch(features.mean((2, 3), keepdim=True)).expand(-1, -1, *features.shape[2:])
        return self.mix(torch.cat([branch(features) for branch in self.branches] + [whole], 1))


class DeepLabV3PlusDecoder(nn.Module):
    """Encoder features and low-level features -> (B, channels, H/4, W/4)."""

    def __init__(self, inputs: int, low_level_inputs: int, channels: int, low_level_channels: int,
                 rates: tuple[int, ...], separable: bool = False) -> None:
        super().__init__()
        self.pyramid = AtrousSpatialPyramidPooling(inputs, channels, rates, separable)
        self.low_level = convolution(low_level_inputs, low_level_channels, 1)
        self.fuse = nn.Sequential(convolution(channels + low_level_channels, channels, 3, separable=separable),
                                  convolution(channels, channels, 3, separable=separable))

    def forward(self, features: Tensor, low_level: Tensor) -> Tensor:
        pyramid = F.interpolate(self.pyramid(features), size=low_level.shape[2:], mode="bilinear", align_corners=False)
        return self.fuse(torch.cat([pyramid, self.low_level(low_level)], 1))


class TwoSkipDecoder(nn.Module):
    """ASPP and two fusions, with the maps at strides 8 and 4, in separable 5 x 5 convolutions (Panoptic-DeepLab, Cheng
    et al. 2020) -> (B, channels, H/4, W/4).

    separable: the convolutions of the ASPP too.
    """

    def __init__(self, inputs: int, skips: tuple[int, int], channels: int, skip_channels: tuple[int, int],
                 rates: tuple[int, ...], separable: bool = False) -> None:
        super().__init__()
        self.pyramid = AtrousSpatialPyramidPooling(inputs, channels, rates, separable)
        self.skips = nn.ModuleList(convolution(n, m, 1) for n, m in zip(skips, skip_channels, strict=True))
        self.fuse = nn.ModuleList(convolution(channels + n, channels, 5, separable=True) for n in skip_channels)

    def forward(self, features: Tensor, eighth: Tensor, quarter: Tensor) -> Tensor:
        x: Tensor = self.pyramid(features)
        for low_level, skip, fuse in zip((eighth, quarter), self.skips, self.fuse, strict=True):
            x = F.interpolate(x, size=low_level.shape[2:], mode="bilinear", align_corners=False)
            x = fuse(torch.cat([x, skip(low_level)], 1))
        return x
