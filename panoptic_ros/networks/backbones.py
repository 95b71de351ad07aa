"""Backbones: convolutional encoders from timm that return feature maps at several strides."""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn


class Backbone(nn.Module):
    """A timm encoder that returns its feature maps at stride 4 and at the last stride.

    name: any timm model with `features_only`, such as `resnet50` or `mobilenetv2_100`.
    output_stride: stride of the last map, 8, 16 or 32; the stages beyond it are dilated instead.
    pretrained: load ImageNet weights by name; needs a network connection once.
    """

    def __init__(self, name: str, output_stride: int, pretrained: bool = False) -> None:
        super().__init__()
        self.encoder: Any = timm.create_model(name, features_only=True, pretrained=pretrained,
                                              output_stride=output_stride)
        strides = self.encoder.feature_info.reduction()
        channels = self.encoder.feature_info.channels()
        self._low_level = strides.index(4)
        self.low_level_channels: int = channels[self._low_level]
        self.channels: int = channels[-1]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> low-level features (B, C4, H/4, W/4) and features (B, C, H/stride, W/stride)."""
        maps = self.encoder(image)
        return maps[self._low_level], maps[-1]


class MultiScaleBackbone(nn.Module):
    """A timm encoder that returns its feature maps at several strides.

    name, pretrained: as for `Backbone`. strides: of the maps, powers of two that the encoder has.
    """

    def __init__(self, name: str, strides: tuple[int, ...], pretrained: bool = False) -> None:
        super().__init__()
        self.encoder: Any = timm.create_model(name, features_only=True, pretrained=pretrained)
        available = self.encoder.feature_info.reduction()
        self._maps = [available.index(stride) for stride in strides]
        self.channels: list[int] = [self.encoder.feature_info.channels()[i] for i in self._maps]

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> (B, C_i, H/stride_i, W/stride_i) for each stride."""
        maps = self.encoder(image)
        return [maps[i] for i in self._maps]
