"""The network of EINet: an encoder, a semantic and an instance decoder, an embedding from each, a centroid heatmap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from panoptic_ros.errors import InputError
from panoptic_ros.networks.backbones import Backbone
from panoptic_ros.networks.deeplabv3plus import TwoSkipDecoder, convolution
from panoptic_ros.networks.panoptic_network import PanopticNetwork


@dataclass(frozen=True)
class Hyperparameters:
    """The network's architecture; defaults are the paper's on Cityscapes.

    backbone: a timm model; the paper uses resnet50 and xception71.
    output_stride: of the encoder.
    embedding_dimension: D of both embeddings; 256 is the best of the paper's Table 4.
    atrous_rates: dilations of the ASPP, for an output stride of 16.
    decoder_channels: of the decoders' convolutions; None takes 256, or 128 and a separable ASPP for a light backbone,
        one whose last map has fewer than 1024 channels. Convolutions of 5 x 5 are separable for all, as those of
        Panoptic-DeepLab, on which the network builds: whole ones would cost several times the encoder.
    semi_convolutional: whether positions stand beside the instance embedding, see `positions`. The paper's have none.
    """

    backbone: str = "resnet50"
    output_stride: int = 16
    embedding_dimension: int = 256
    atrous_rates: tuple[int, ...] = (6, 12, 18)
    decoder_channels: int | None = None
    semi_convolutional: bool = False

    def __post_init__(self) -> None:
        if self.embedding_dimension < 1:
            raise InputError(f"embedding_dimension is {self.embedding_dimension}; it must be at least 1")


class Network(PanopticNetwork):
    """Image (B, 3, H, W) -> class logits, centroid heatmap and instance embedding per pixel at stride 4.

    Besides the weights it holds the dictionary of semantic centres Q, buffers that the objective moves:
    center (C, D), rows of at most unit length, and center_seen (C,) bool, whether a class has been met in training; the
    rows of others are random. A table without things has the semantic branch alone.
    """

    center: Tensor
    center_seen: Tensor

    def __init__(self, hyperparameters: Hyperparameters, is_thing: Sequence[bool],
                 pretrained: bool | Mapping[str, Tensor] = False) -> None:
        super().__init__()
        h, classes, things = hyperparameters, len(is_thing), sum(is_thing)
        self.backbone = Backbone(h.backbone, (4, 8, h.output_stride), h.output_stride, pretrained=pretrained)
        quarter, eighth, encoder = self.backbone.channels
        light = encoder < 1024
        channels = h.decoder_channels or (128 if light else 256)
        self.semantic_decoder = TwoSkipDecoder(encoder, (eighth, quarter), channels, (64, 32), h.atrous_rates, light)
        self.semantic_attention = nn.Conv2d(channels, 1, 1)
        self.semantic_embedding = embedding_head(channels, h.embedding_dimension)
        self.classifier = nn.Conv2d(h.embedding_dimension, classes, 1)
        self.pixel_outputs = frozenset({"class_logits", "appearance"})
        if things:
            self.instance_decoder = InstanceDecoder(encoder, (eighth, quarter), channels)
            self.attention = nn.Conv2d(channels, 1, 1)
            self.embedding = embedding_head(channels, h.embedding_dimension)
            self.offset = embedding_head(channels, 2) if h.semi_convolutional else None
            # From the decoder's features and not from the embedding: one that is the same all over an object, as Eq. 1
            # wants it, cannot say where its centroid is.
            score = nn.Conv2d(32, things, 1)
            nn.init.constant_(score.bias, -2.19)  # type: ignore[arg-type]  # a score of 0.1 (Zhou et al. 2019)
            self.heatmap = nn.Sequential(convolution(channels, 32, 5, separable=True), score)
            self.pixel_outputs |= {"heatmap", "embedding"} | ({"offset"} if h.semi_convolutional else set())
        self.register_buffer("center", F.normalize(torch.randn(classes, h.embedding_dimension), dim=1))
        self.register_buffer("center_seen", torch.zeros(classes, dtype=torch.bool))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """
        image: (B, 3, H, W) float, normalised; H and W multiples of 32.

        Returns class_logits (B, C, H/4, W/4) and, where there are T things, heatmap (B, T, H/4, W/4) in [0, 1],
        embedding (B, D, H/4, W/4), which is not normalised, and, if semi-convolutional, offset (B, 2, H/4, W/4).
        """
        return {name: output for name, output in self.training_outputs(image).items() if name in self.pixel_outputs}

    def training_outputs(self, image: Tensor) -> dict[str, Tensor]:
        """What `forward` returns, and what the loss needs besides: semantic_embedding (B, D, H/4, W/4),
        semantic_attention and, where there are things, attention (B, 1, H/4, W/4) in [0, 1]."""
        maps = self.backbone(image)
        quarter, eighth, features = maps
        semantic = self.semantic_decoder(features, eighth, quarter)
        # The embedding spaces are in single precision also where the rest is trained in half.
        embedding = self.semantic_embedding(semantic).float()
        logits = self.classifier(embedding.to(self.classifier.weight.dtype))
        outputs = {"class_logits": logits.float(), "semantic_embedding": embedding,
                   "semantic_attention": self.semantic_attention(semantic).float().sigmoid(), **self.appearance(maps)}
        if "heatmap" in self.pixel_outputs:
            instance = self.instance_decoder(features, eighth, quarter)
            outputs["heatmap"] = self.heatmap(instance).float().sigmoid()
            outputs["embedding"] = self.embedding(instance).float()
            if self.offset is not None:
                outputs["offset"] = self.offset(instance).float()
            outputs["attention"] = self.attention(instance).float().sigmoid()
        return outputs

    def decode_parameters(self) -> dict[str, Tensor]:
        """class_center (C, D) of unit length: the embedding of a stuff segment."""
        return {"class_center": F.normalize(self.center, dim=1)}


def embedding_head(channels: int, dimension: int) -> nn.Module:
    """A separable 5 x 5 convolution to an embedding, which may have any sign and length."""
    return nn.Sequential(nn.Conv2d(channels, channels, 5, padding=2, groups=channels, bias=False),
                         nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, dimension, 1))


class InstanceDecoder(nn.Module):
    """Encoder features and two skips, without ASPP -> (B, channels, H/4, W/4).

    The 1/8 map is added; at 1/4 half of the channels are the decoder's and half the skip's.
    """

    def __init__(self, inputs: int, skips: tuple[int, int], channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.reduce = convolution(inputs, channels, 1)
        self.add = convolution(skips[0], channels, 1)
        self.narrow = convolution(channels, half, 5, separable=True)
        self.concatenate = convolution(skips[1], channels - half, 1)
        self.fuse = convolution(channels, channels, 5, separable=True)

    def forward(self, features: Tensor, eighth: Tensor, quarter: Tensor) -> Tensor:
        x = F.interpolate(self.reduce(features), size=eighth.shape[2:], mode="bilinear", align_corners=False)
        x = self.narrow(x + self.add(eighth))
        x = F.interpolate(x, size=quarter.shape[2:], mode="bilinear", align_corners=False)
        return self.fuse(torch.cat([x, self.concatenate(quarter)], 1))
