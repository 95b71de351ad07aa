"""The network of HLE: DeepLabV3+ with one decoder and, per pixel, an embedding, a variance and a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from panoptic_ros.errors import InputError
from panoptic_ros.networks.backbones import Backbone
from panoptic_ros.networks.deeplabv3plus import DeepLabV3PlusDecoder
from panoptic_ros.networks.panoptic_network import APPEARANCE_STRIDE, PanopticNetwork


@dataclass(frozen=True)
class Hyperparameters:
    """The network's architecture; defaults are the paper's on Cityscapes.

    backbone: a timm model; the paper uses resnet50, resnet101 and mobilenetv2_100.
    output_stride: of the encoder.
    embedding_dimension: 12 for Cityscapes, 128 for COCO and Vistas (section 4.2).
    atrous_rates: dilations of the ASPP, for an output stride of 16.
    decoder_channels: of the decoder's convolutions; None takes 256, or 128 in separable convolutions for a light
        backbone, one whose last map has fewer than 1024 channels.
    semantics: how pixels are classified. `embedding`: in the embedding space of the instances (the paper's hierarchy).
        `split`: in the first half of its dimensions, instances in the second. `branch`: by a softmax classifier of its
        own. The last two are the paper's ablations (Table 6).
    spatial_sigma: the spatial standard deviation of Eq. 8. `shared`: one learned number for all instances. `predicted`:
        per pixel, as the embedding's is, so that small instances have narrow kernels.
    """

    backbone: str = "resnet50"
    output_stride: int = 16
    embedding_dimension: int = 12
    atrous_rates: tuple[int, ...] = (6, 12, 18)
    decoder_channels: int | None = None
    semantics: Literal["embedding", "split", "branch"] = "embedding"
    spatial_sigma: Literal["shared", "predicted"] = "shared"

    def __post_init__(self) -> None:
        if self.spatial_sigma not in ("shared", "predicted"):
            raise InputError(f"spatial_sigma is '{self.spatial_sigma}'; it must be shared or predicted")
        if self.semantics not in ("embedding", "split", "branch"):
            raise InputError(f"semantics is '{self.semantics}'; it must be embedding, split or branch")
        if self.semantics == "split" and self.embedding_dimension % 2:
            raise InputError(f"an embedding of {self.embedding_dimension} dimensions cannot be split into halves")


class Network(PanopticNetwork):
    """Image (B, 3, H, W) -> L2-normalised embedding, log sigma and seed score per pixel at stride 4.

    Besides the weights it holds the parameters of the embedding space: the class means mu_k, the logarithms of the
    class deviations sigma_k, and the logarithm of the spatial deviation, where one serves all instances.
    """

    def __init__(self, hyperparameters: Hyperparameters, is_thing: Sequence[bool],
                 pretrained: bool | Mapping[str, Tensor] = False) -> None:
        super().__init__()
        h, classes = hyperparameters, len(is_thing)
        self.dimension, self.semantics = h.embedding_dimension, h.semantics
        class_dimension = h.embedding_dimension // 2 if h.semantics == "split" else h.embedding_dimension
        self.backbone = Backbone(h.backbone, (4, APPEARANCE_STRIDE, h.output_stride), h.output_stride,
                                 pretrained=pretrained)
        low_level_channels, _, encoder_channels = self.backbone.channels
        light = encoder_channels < 1024
        channels = h.decoder_channels or (128 if light else 256)
        self.decoder = DeepLabV3PlusDecoder(encoder_channels, low_level_channels, channels,
                                            24 if light else 48, h.atrous_rates, separable=light)
        self.head = nn.Conv2d(channels, h.embedding_dimension + 2, 1)
        if h.semantics == "branch":
            self.classifier = nn.Conv2d(channels, classes, 1)
        self.class_mean = nn.Parameter(F.normalize(torch.randn(classes, class_dimension), dim=1))
        # sigma^2 = 0.1: an orthogonal embedding then scores exp(-5), one at a distance of 0.1 scores 0.6.
        self.class_log_sigma = nn.Parameter(torch.full((classes,), -1.15))
        if h.spatial_sigma == "predicted":
            self.spatial_head = nn.Conv2d(channels, 1, 1)
            nn.init.constant_(self.spatial_head.bias, -1.5)  # type: ignore[arg-type]
        else:
            self.spatial_log_sigma = nn.Parameter(torch.tensor(-0.7))
        nn.init.constant_(self.head.bias[h.embedding_dimension], -1.15)  # type: ignore[index]
        self.pixel_outputs = frozenset({"embedding", "log_sigma", "seed", "appearance"} | (
            {"spatial_log_sigma"} if h.spatial_sigma == "predicted" else set()) | {
            "split": {"class_embedding"}, "branch": {"class_logits"}}.get(h.semantics, set()))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """
        image: (B, 3, H, W) float, normalised; H and W multiples of 32.

        Returns embedding (B, D, H/4, W/4) of unit length, log_sigma (B, 1, H/4, W/4), seed (B, 1, H/4, W/4) in [0, 1],
        and, where it is predicted, spatial_log_sigma (B, 1, H/4, W/4). Where semantics are split off: class_embedding
        (B, D / 2, H/4, W/4) of unit length, and embedding has D / 2 dimensions; in a branch: class_logits
        (B, C, H/4, W/4).
        """
        maps = self.backbone(image)
        low_level, _, features = maps
        decoded = self.decoder(features, low_level)
        # The embedding space is in single precision also where the rest is trained in half.
        embedding, log_sigma, seed_logit = self.head(decoded).float().split([self.dimension, 1, 1], 1)
        outputs = {"log_sigma": log_sigma, "seed": seed_logit.sigmoid(), **self.appearance(maps)}
        if hasattr(self, "spatial_head"):
            outputs["spatial_log_sigma"] = self.spatial_head(decoded).float()
        if self.semantics == "split":
            half = self.class_mean.shape[1]
            outputs["class_embedding"], embedding = F.normalize(embedding[:, :half], dim=1), embedding[:, half:]
        elif self.semantics == "branch":
            outputs["class_logits"] = self.classifier(decoded).float()
        return {"embedding": F.normalize(embedding, dim=1), **outputs}

    def decode_parameters(self) -> dict[str, Tensor]:
        """class_mean (C, D) of unit length, class_log_sigma (C,), and, where all instances share it,
        shared_spatial_log_sigma ()."""
        parameters = {"class_mean": F.normalize(self.class_mean, dim=1), "class_log_sigma": self.class_log_sigma}
        if not hasattr(self, "spatial_head"):
            parameters["shared_spatial_log_sigma"] = self.spatial_log_sigma
        return parameters

    def no_weight_decay(self) -> set[str]:
        """The class means too, which weight decay would pull to the centre of the embedding space."""
        return super().no_weight_decay() | {"class_mean"}
