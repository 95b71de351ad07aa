"""The network: an encoder, a shallow decoder that all tasks share, and a linear head for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from panoptic_ros.errors import InputError
from panoptic_ros.methods.centroid_embedding.positions import cell_centers, positional_embedding
from panoptic_ros.networks.backbones import Backbone
from panoptic_ros.networks.deeplabv3plus import convolution
from panoptic_ros.networks.panoptic_network import PanopticNetwork

NEAREST = 1e-3  # metres: a depth is never less
UPSAMPLINGS = 3  # transposed convolutions of the decoder, each of a factor of 2
# Of a convolutional encoder: the maps that the decoder takes; it begins at the third's stride, so that it ends at 2.
STRIDES = (4, 8, 16, 32)
POSITION_HARMONICS = 4


@dataclass(frozen=True)
class Hyperparameters:
    """The network's architecture; defaults are the paper's on COCO, with depth.

    backbone: a timm model; the paper's are vit_large_patch14_dinov2 and vit_base_patch14_dinov2. A convolutional one,
        such as tf_efficientnet_lite0, is for small machines.
    blocks: of a vision transformer, after which, counted from 1, its four maps are taken; for the 12 blocks of ViT-B
        the paper has 3, 6, 9, 12. An empty list spaces them evenly.
    decoder_channels: d, of every layer of the decoder, on which the paper is silent; None takes 256, or 64 and a
        separable last convolution for a light backbone, a convolutional one whose last map has fewer than 1024.
    encoding: of an object's centroid: `positional`, `direct` (RGB) or `cross_entropy` (appendix C).
    harmonics: L of the positional embedding.
    grid: rows and columns of the candidate centroids; 160 and 320 on Cityscapes.
    depth: `metric` (metres), `relative` (disparity up to scale and shift, to train on pseudo labels), or `none`.
    max_depth: metres, what the sigmoid of metric depth is multiplied by; 10 on NYUv2.
    focal_length: pixels of the network's input, of the camera that metric depth is predicted for: depth seen by another
        is scaled by the ratio of the two. 0: focal lengths are left out of account.
    """

    backbone: str = "vit_large_patch14_dinov2"
    blocks: tuple[int, ...] = (5, 12, 18, 24)
    decoder_channels: int | None = None
    encoding: Literal["positional", "direct", "cross_entropy"] = "positional"
    harmonics: int = 4
    grid: tuple[int, int] = (80, 80)
    depth: Literal["metric", "relative", "none"] = "metric"
    max_depth: float = 10.0
    focal_length: float = 0.0

    def __post_init__(self) -> None:
        for name, choices in (("encoding", ("positional", "direct", "cross_entropy")),
                              ("depth", ("metric", "relative", "none"))):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} is '{getattr(self, name)}'; it must be one of {', '.join(choices)}")
        if not 1 <= self.harmonics <= 16 or not all(2 <= side <= 1024 for side in self.grid):
            raise InputError(f"harmonics is {self.harmonics}, from 1 to 16; grid is {self.grid[0]} x {self.grid[1]}, "
                             "each from 2 to 1024")
        if self.max_depth <= NEAREST or self.focal_length < 0:
            raise InputError(f"max_depth is {self.max_depth}, metres above {NEAREST}; focal_length is "
                             f"{self.focal_length}, pixels, or 0")


class Network(PanopticNetwork):
    """Image (B, 3, H, W) -> class logits, encoded centroid and depth per pixel.

    They have 8/14 of the image's size where the encoder's patches are 14 wide, half of it where it is convolutional.
    A convolutional encoder does not see where in the image it is, as a transformer does by its position embeddings:
    its head says where the centroid is from the pixel, and this is brought to where it is in the image.
    """

    row_code: Tensor
    column_code: Tensor

    def __init__(self, hyperparameters: Hyperparameters, is_thing: Sequence[bool],
                 pretrained: bool | Mapping[str, Tensor] = False) -> None:
        super().__init__()
        h = hyperparameters
        self.hyperparameters = h
        self.backbone = Backbone(h.backbone, STRIDES, blocks=h.blocks, pretrained=pretrained)
        light = not self.backbone.is_vit and self.backbone.channels[-1] < 1024
        channels = h.decoder_channels or (64 if light else 256)
        # Classes cannot be counted from the pixel: there the decoder is given the pixels' positions.
        self.sees_position = not self.backbone.is_vit and h.encoding == "cross_entropy"
        self.decoder = Decoder(self.backbone.channels, self.backbone.strides, channels, light,
                               POSITION_HARMONICS if self.sees_position else 0)
        self.class_head = nn.Conv2d(channels, len(is_thing), 1)
        self.pixel_outputs = frozenset({"class_logits", "appearance"})
        if any(is_thing):
            size = {"positional": 4 * h.harmonics, "direct": 3, "cross_entropy": sum(h.grid) + 2}[h.encoding]
            self.centroid_head = nn.Conv2d(channels, size, 1)
            self.pixel_outputs |= {"centroid"}
        # Two heads of two names, so that metric depth does not begin with weights for what is its inverse.
        if h.depth == "metric":
            self.depth_head = nn.Conv2d(channels, 1, 1)
            # A sigmoid of 0.1 at first: most of what is seen is nearer than half the largest depth.
            nn.init.constant_(self.depth_head.bias, -2.2)  # type: ignore[arg-type]
            self.pixel_outputs |= {"depth"}
        elif h.depth == "relative":
            self.disparity_head = nn.Conv2d(channels, 1, 1)
            self.pixel_outputs |= {"disparity"}
        for name, count in (("row_code", h.grid[0]), ("column_code", h.grid[1])):
            self.register_buffer(name, code_of_cells(h.encoding, h.harmonics, count), persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """
        image: (B, 3, H, W) float, normalised; H and W multiples of `stride`.

        Returns class_logits (B, C, h, w); where there are things centroid (B, ., h, w), of x before y:
        4L numbers as Eq. 2 has them, red, green and blue, or logits of the columns and void and of the rows and void;
        and depth (B, 1, h, w) metres or disparity (B, 1, h, w) in [0, 1].
        Raises InputError for another size.
        """
        height, width = image.shape[2:]
        if not torch.jit.is_tracing() and (  # type: ignore[attr-defined]
                height % self.stride or width % self.stride):
            raise InputError(f"the image is {height} x {width} pixels; both sides must be multiples of {self.stride}, "
                             "the stride of the network")
        maps = self.backbone(image)
        features = self.decoder(maps)
        # In single precision also where the rest is trained in half.
        outputs = {"class_logits": self.class_head(features).float(), **self.appearance(maps)}
        if "centroid" in self.pixel_outputs:
            centroid = self.centroid_head(features).float()
            outputs["centroid"] = centroid if self.backbone.is_vit else from_own_position(
                centroid, self.hyperparameters.encoding)
        if "depth" in self.pixel_outputs:
            outputs["depth"] = (self.hyperparameters.max_depth * self.depth_head(features).float().sigmoid()).clamp(
                min=NEAREST)
        if "disparity" in self.pixel_outputs:
            outputs["disparity"] = self.disparity_head(features).float().sigmoid()
        return outputs

    def decode_parameters(self) -> dict[str, Tensor]:
        """What each candidate's coordinate is encoded as: row_code (rows, D) and column_code (columns, D)."""
        return {"row_code": self.row_code, "column_code": self.column_code}


class Decoder(nn.Module):
    """Maps of the encoder -> (B, channels, h, w): three transposed convolutions and a convolution (section 5.1).

    A map joins where the decoder has come to its stride. Those of a transformer have one stride and are concatenated at
    the beginning, as in the paper; of a convolutional encoder the two coarsest are, at the finer one's stride, and the
    others are added on the way.
    """

    def __init__(self, inputs: Sequence[int], strides: Sequence[int], channels: int, separable: bool,
                 position_harmonics: int = 0) -> None:
        """position_harmonics: where above 0, it takes so many harmonics of the pixels' positions besides the maps."""
        super().__init__()
        start = strides[2]
        self.strides = list(strides)
        self.position_harmonics = position_harmonics
        self.first = [i for i, stride in enumerate(strides) if stride >= start]
        before = sum(inputs[i] for i in self.first) + 4 * position_harmonics
        self.upsample = nn.ModuleList()
        self.skip = nn.ModuleDict()
        self.joins: list[int | None] = []
        for step in range(1, UPSAMPLINGS + 1):
            self.upsample.append(nn.Sequential(nn.ConvTranspose2d(before, channels, 2, stride=2, bias=False),
                                               nn.BatchNorm2d(channels), nn.ReLU(inplace=True)))
            join = next((i for i, stride in enumerate(strides) if stride * 2 ** step == start), None)
            self.joins.append(join)
            if join is not None:
                self.skip[str(join)] = convolution(inputs[join], channels, 1)
            before = channels
        self.fuse = convolution(channels, channels, 3, separable=separable)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        size = maps[self.first[0]].shape[2:]
        x = torch.cat([maps[i] if self.strides[i] == self.strides[self.first[0]] else
                       F.interpolate(maps[i], size=size, mode="bilinear", align_corners=False) for i in self.first], 1)
        if self.position_harmonics:
            codes = [positional_embedding(along, self.position_harmonics).permute(0, 3, 1, 2).to(x.dtype)
                     for along in own_position(x)]
            x = torch.cat([x, *(code.expand(len(x), -1, *x.shape[2:]) for code in codes)], 1)
        for upsample, join in zip(self.upsample, self.joins, strict=True):
            x = upsample(x)
            if join is not None:
                x = x + self.skip[str(join)](maps[join])
        fused: Tensor = self.fuse(x)
        return fused


def own_position(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Position of each pixel of maps (B, D, h, w), from -1 to 1: x (1, 1, w) and y (1, h, 1).

    Made of the maps themselves, so that a graph that is traced at one size holds at others.
    """
    def along(line: Tensor) -> Tensor:
        count = torch.ones_like(line, dtype=torch.float32).cumsum(-1)
        return (2 * count - 1) / count[-1] - 1

    return along(maps[0, 0, 0])[None, None], along(maps[0, 0, :, 0])[None, :, None]


def from_own_position(centroid: Tensor, encoding: str) -> Tensor:
    """Where a centroid is in the image (B, D, h, w), encoded, of where it is from each pixel; void stays zero.

    Of positional embeddings sine and cosine of a sum, by which all lengths and distances stay as they are; of colours a
    sum, as far as blue says that there is an object; classes stay as they are.
    """
    if encoding == "cross_entropy":
        return centroid
    position = own_position(centroid)
    if encoding == "direct":
        red, green, blue = centroid.unbind(1)
        x, y = ((along + 1) / 2 for along in position)
        return torch.stack([red + x * blue, green + y * blue, blue], 1)
    moved = []
    for half, along in zip(centroid.chunk(2, 1), position, strict=True):
        own = positional_embedding(along, half.shape[1] // 2).permute(0, 3, 1, 2)
        (sine, cosine), (own_sine, own_cosine) = ((part[:, 0::2], part[:, 1::2]) for part in (half, own))
        moved.append(torch.stack([own_sine * cosine + own_cosine * sine, own_cosine * cosine - own_sine * sine], 2)
                     .flatten(1, 2))
    return torch.cat(moved, 1)


def code_of_cells(encoding: str, harmonics: int, count: int) -> Tensor:
    """What the coordinate of each of `count` candidates is encoded as, (count, D): 2L numbers, one in [0, 1], or none
    where it is a class of its own."""
    centers = cell_centers(count)
    if encoding == "positional":
        return positional_embedding(centers, harmonics)
    return (centers[:, None] + 1) / 2 if encoding == "direct" else centers.new_zeros(count, 0)
