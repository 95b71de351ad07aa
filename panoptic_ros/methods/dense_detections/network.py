"""The network of dense detections: ResNet, feature pyramid and one head for boxes and semantics (section 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from panoptic_ros.errors import InputError
from panoptic_ros.networks.backbones import Backbone
from panoptic_ros.networks.feature_pyramid import STRIDES, FeaturePyramid, upsample
from panoptic_ros.networks.panoptic_network import PanopticNetwork

FINEST_STRIDES = (4, 8)
LAST_STRIDE = 32  # of an encoder's maps
LARGEST_OFFSET = 10_000.0  # pixels from a location to the side of its box


@dataclass(frozen=True)
class Hyperparameters:
    """The network's architecture; defaults are the paper's.

    backbone: a timm model with maps at strides 8, 16 and 32, and at 4 where the first level is there; the paper uses
        resnet50, resnet34 and resnet18.
    channels: of the feature pyramid (FPN).
    box_channels, class_channels, tower_depth: channels of the two towers of the head, and convolutions in each.
    two_towers: one tower for localisation and one for semantics; False: the one of `box_channels` serves both, the
        paper's simplified head (Table 3, row 1).
    levelness: predict which pyramid level's box is the one of each location; False: masks are made from the boxes of
        all levels (appendix B).
    finest_stride: of the first level, 8 as in the paper or 4; each further level has twice the stride of the last.
        With 4 the heads see an image as the paper's see it at twice its size, for four times their work.
    """

    # Name before 0.1.0 -> name.
    renamed: ClassVar[dict[str, str]] = {"depth": "tower_depth"}

    backbone: str = "resnet50"
    channels: int = 256
    box_channels: int = 256
    class_channels: int = 128
    tower_depth: int = 4
    two_towers: bool = True
    levelness: bool = True
    finest_stride: int = 8

    def __post_init__(self) -> None:
        if self.finest_stride not in FINEST_STRIDES:
            raise InputError(f"finest_stride is {self.finest_stride}; it must be "
                             f"{' or '.join(map(str, FINEST_STRIDES))}")
        for name in ("channels", "box_channels", "class_channels"):
            if getattr(self, name) < 8 or getattr(self, name) % 8:
                raise InputError(f"{name} is {getattr(self, name)}; it must be a multiple of 8, the channels in a "
                                 "group of its GroupNorm")


class Network(PanopticNetwork):
    """Image (B, 3, H, W) -> class logits, box offsets and centerness at every location of five levels; semantic logits
    at the first level's stride, and levelness at half of it.

    Boxes are in pixels of the image where the first level has the paper's stride of 8. With `finest_stride` 4 they are
    in half pixels: of an image twice as large, in which that level would have a stride of 8. So what follows the
    network has one geometry.

    A class table without things has semantic logits alone.
    """

    def __init__(self, hyperparameters: Hyperparameters, is_thing: Sequence[bool],
                 pretrained: bool | Mapping[str, Tensor] = False) -> None:
        super().__init__()
        h = hyperparameters
        self.has_things = any(is_thing)
        strides = tuple(h.finest_stride * 2**i for i in range(len(STRIDES)))
        self.backbone = Backbone(h.backbone, [s for s in strides if s <= LAST_STRIDE], pretrained=pretrained)
        self.pyramid = FeaturePyramid(self.backbone.channels, h.channels)
        class_channels = h.class_channels if h.two_towers else h.box_channels
        self.class_tower = _tower(h.channels, class_channels, h.tower_depth)
        self.semantics = nn.Conv2d(len(STRIDES) * class_channels, len(is_thing), 3, padding=1)
        if self.has_things:
            if h.two_towers:
                self.box_tower = _tower(h.channels, h.box_channels, h.tower_depth)
            self.box_class = nn.Conv2d(class_channels, sum(is_thing), 3, padding=1)
            self.box = nn.Conv2d(h.box_channels, 4, 3, padding=1)
            self.centerness = nn.Conv2d(h.box_channels, 1, 3, padding=1)
            if h.levelness:
                outputs = len(STRIDES) + 1
                self.levelness = nn.Conv2d(len(STRIDES) * h.box_channels, outputs, 3, padding=1)
                # The kernel that shifts each of an output's nine taps and adds them up: (outputs, 9 outputs, 3, 3).
                shifts = torch.eye(9).view(1, 9, 1, 3, 3) * torch.eye(outputs).view(outputs, 1, outputs, 1, 1)
                self.register_buffer("tap_shifts", shifts.flatten(1, 2), persistent=False)
        self.pixel_outputs = frozenset({"semantic_logits", "appearance"} | (
            {"levelness"} if self.has_things and h.levelness else set()))
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and not name.startswith(("backbone", "pyramid")):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        if self.has_things:
            # Initial offsets are two strides: exp(scale_l log 16) = 2 stride_l.
            nn.init.constant_(self.box.bias, math.log(16))  # type: ignore[arg-type]
            self.scales = nn.Parameter(torch.tensor([math.log(2 * stride) / math.log(16) for stride in STRIDES]))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """
        image: (B, 3, H, W) float, normalised; H and W multiples of 32.

        Returns, where s is the finest stride, semantic_logits (B, C, H/s, W/s); with things among the classes also, for
        the L locations of all levels one after the other (see `boxes.locations`), class_logits (B, T, L) of the T thing
        classes in the order of the table, offsets (B, 4, L), from the location to the left, top, right and bottom side
        of the box in units of s/8 pixels, and centerness (B, L), logits; levelness (B, 6, 2H/s, 2W/s), logits of
        background and the five levels.
        """
        maps = self.backbone(image)
        levels = self.pyramid(maps)
        rows, columns = levels[0].shape[2:]
        class_features = [self.class_tower(level) for level in levels]
        semantic = torch.cat([features if i == 0 else upsample(features, 2**i, (rows, columns))
                              for i, features in enumerate(class_features)], 1)
        outputs = {"semantic_logits": self.semantics(semantic).float(), **self.appearance(maps)}
        if self.has_things:
            box_features = [self.box_tower(level) for level in levels] if hasattr(self, "box_tower") else class_features
            outputs["class_logits"] = torch.cat([self.box_class(x).flatten(2) for x in class_features], 2).float()
            exponents = [self.scales[i] * self.box(x).float().flatten(2) for i, x in enumerate(box_features)]
            outputs["offsets"] = torch.cat(exponents, 2).clamp(max=math.log(LARGEST_OFFSET)).exp()
            outputs["centerness"] = torch.cat([self.centerness(x).flatten(1) for x in box_features], 1).float()
            if hasattr(self, "levelness"):
                outputs["levelness"] = self._levelness(box_features, 2 * rows, 2 * columns).float()
        return outputs

    def _levelness(self, features: list[Tensor], rows: int, columns: int) -> Tensor:
        """`self.levelness` of all levels' features, upsampled to twice the first level's size and stacked.

        Upsampling and a 1 x 1 convolution commute: each level first goes through the nine taps of the 3 x 3 kernel as
        1 x 1 convolutions, 54 channels in place of 256; then the upsampled taps are shifted and added up. The result is
        the same, for a fraction of the memory and of the work.
        """
        convolution = self.levelness
        outputs = convolution.out_channels
        weights = convolution.weight.chunk(len(features), 1)
        taps = sum(upsample(F.conv2d(x, weight.permute(2, 3, 0, 1).reshape(9 * outputs, -1, 1, 1)), 2**(i + 1),
                            (rows, columns)) for i, (x, weight) in enumerate(zip(features, weights, strict=True)))
        return F.conv2d(taps, self.tap_shifts, convolution.bias, padding=1)  # type: ignore[arg-type]


def _tower(inputs: int, channels: int, depth: int) -> nn.Sequential:
    """`depth` times 3 x 3 convolution, GroupNorm with eight channels a group, ReLU; shared by the levels."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Conv2d(channels if i else inputs, channels, 3, padding=1), nn.GroupNorm(channels // 8, channels),
                   nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
