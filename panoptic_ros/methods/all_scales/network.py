"""The two-stage network: FPN, region proposal head, box and mask heads over RoIAlign, DeepLabV3+ semantic head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from panoptic_ros.errors import InputError
from panoptic_ros.geometry.boxes import decode_boxes
from panoptic_ros.methods.all_scales.boxes import anchors, clip_boxes, suppressed
from panoptic_ros.methods.all_scales.region_pooling import PyramidCanvas
from panoptic_ros.networks.backbones import Backbone
from panoptic_ros.networks.deeplabv3plus import DeepLabV3PlusDecoder
from panoptic_ros.networks.feature_pyramid import FeaturePyramid
from panoptic_ros.networks.panoptic_network import PanopticNetwork

# Strides of the maps that regions are pooled from; coarser levels serve the proposals alone.
ROI_STRIDES = (4, 8, 16, 32)
# Regression targets of the box head are multiplied by these (Girshick 2015); those of the proposals by 1.
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# Boxes of all classes that the last non-maximum suppression begins with, the best of all proposals.
DETECTION_CANDIDATES = 1000
BOX_SIDE, MASK_SIDE = 7, 14


@dataclass(frozen=True)
class Hyperparameters:
    """The network's architecture and what is selected inside its graph; defaults are the paper's on Cityscapes.

    backbone: a timm model; the paper uses hrnet_w48.
    concatenate: whether the semantic head takes the backbone's maps of all strides, resized and concatenated, as
        HRNetV2's representation is, in place of the coarsest; for HRNets. They are brought to stride 16, for which
        DeepLabV3+ states its rates: at HRNetV2's stride of 4 the pyramid pooling alone would cost more than all else.
    channels: of the FPN and of the heads' convolutions. box_channels: of the box head's two layers.
    levels: of the pyramid, from stride 4; 5 for Cityscapes, 6 for Mapillary Vistas.
    anchor_scale: side of a square anchor in strides; anchor_ratios: height / width of the anchors of a cell.
    atrous_rates: dilations of the semantic head. semantic_channels: None takes 256, or 128 and separable convolutions
        for a light backbone, one whose last map has fewer than 1024 channels.
    mask_convolutions: 3 x 3 convolutions of the mask head.
    candidates, proposals: boxes before and after the non-maximum suppression of the proposals; proposal_iou: its IoU.
    detections: boxes per image at most. detection_iou: of the non-maximum suppression within a class.
        detection_score: those of a lower score take no part in it.
    """

    backbone: str = "hrnet_w48"
    concatenate: bool = True
    channels: int = 256
    box_channels: int = 1024
    levels: int = 5
    anchor_scale: float = 8.0
    anchor_ratios: tuple[float, ...] = (1.0, 0.5, 2.0)
    atrous_rates: tuple[int, ...] = (6, 12, 18)
    semantic_channels: int | None = None
    mask_convolutions: int = 4
    candidates: int = 6000
    proposals: int = 1000
    proposal_iou: float = 0.7
    detections: int = 100
    detection_iou: float = 0.5
    detection_score: float = 0.05

    def __post_init__(self) -> None:
        if self.levels < len(ROI_STRIDES):
            raise InputError(f"levels is {self.levels}; it must be at least {len(ROI_STRIDES)}")
        for name in ("channels", "box_channels", "anchor_scale", "candidates", "proposals", "detections"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not self.anchor_ratios or min(self.anchor_ratios) <= 0:
            raise InputError(f"anchor_ratios are {list(self.anchor_ratios)}; they must be positive, at least one")


class Network(PanopticNetwork):
    """Image (B, 3, H, W) -> at most D detections with a box, a class, a score and a mask; semantic logits at stride 4.

    Proposals and detections are selected inside: both suppressions and both poolings are part of the graph, with K and
    D boxes, padded. The parts that training calls one by one are methods of their own.

    Convolutions that all levels share have no normalisation: BatchNorm's statistics of one level are not another's.
    A class table without things has semantic logits alone.
    """

    def __init__(self, hyperparameters: Hyperparameters, is_thing: Sequence[bool],
                 pretrained: bool | Mapping[str, Tensor] = False) -> None:
        super().__init__()
        h, self.things = hyperparameters, sum(is_thing)
        self.hyperparameters = h
        self.backbone = Backbone(h.backbone, ROI_STRIDES, pretrained=pretrained)
        maps = self.backbone.channels
        light = maps[-1] < 1024
        channels = h.semantic_channels or (128 if light else 256)
        self.semantic_decoder = DeepLabV3PlusDecoder(sum(maps) if h.concatenate else maps[-1], maps[0], channels, 48,
                                                     h.atrous_rates, light)
        self.classifier = nn.Conv2d(channels, len(is_thing), 1)
        self.pixel_outputs = frozenset({"semantic_logits", "appearance"})
        if self.things:
            self.strides = tuple(ROI_STRIDES[0] * 2**level for level in range(h.levels))
            self.pyramid = FeaturePyramid(maps, h.channels, h.levels)
            self.proposal_head = ProposalHead(h.channels, len(h.anchor_ratios))
            self.box_head = BoxHead(h.channels, h.box_channels, self.things)
            self.mask_head = MaskHead(h.channels, h.mask_convolutions, self.things)

    @property
    def dynamic_size(self) -> bool:
        """Not with things: anchors are laid out, and images gone through one by one, for the shape that is traced."""
        return not self.things and super().dynamic_size

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """
        image: (B, 3, H, W) float, normalised; H and W multiples of 32.

        Returns semantic_logits (B, C, H/4, W/4) and, with T things among the classes, of D detections an image, best
        first: box (B, D, 4) pixels, thing (B, D), 0 .. T - 1 in the order of the table, score (B, D), 0 where
        there is no more, and mask_logits (B, D, 28, 28) over the box.
        """
        outputs, levels = self.features(image)
        if levels:
            size = (image.shape[2], image.shape[3])
            objectness, deltas, anchor = self.propose(levels)
            proposal, is_real = self.proposals(objectness, deltas, anchor, size, self.hyperparameters.candidates,
                                               self.hyperparameters.proposals)
            canvas = PyramidCanvas(levels[:len(ROI_STRIDES)], ROI_STRIDES)
            logits, box_deltas = self.box_head(canvas.pool(proposal.flatten(0, 1), _image_of(proposal), BOX_SIDE))
            box, thing, score = self.detections(proposal, is_real, logits, box_deltas, size)
            mask = self.mask_head(canvas.pool(box.flatten(0, 1), _image_of(box), MASK_SIDE))
            chosen = thing.view(-1, 1, 1, 1).expand(-1, 1, *mask.shape[2:])
            mask = mask.gather(1, chosen)[:, 0].unflatten(0, thing.shape)
            # All outputs are floats, as engines return them.
            outputs.update(box=box, thing=thing.float(), score=score, mask_logits=mask.float())
        return outputs

    def features(self, image: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """semantic_logits by name, and the levels of the pyramid; none where no class is a thing."""
        maps = self.backbone(image)
        encoder = maps[-1]
        if self.hyperparameters.concatenate:
            size = maps[2].shape[2:]
            encoder = torch.cat([F.adaptive_avg_pool2d(x, size) if x.shape[2] >= size[0] else F.interpolate(
                x, size, mode="bilinear", align_corners=False) for x in maps], 1)
        outputs = {"semantic_logits": self.classifier(self.semantic_decoder(encoder, maps[0])).float(),
                   **self.appearance(maps)}
        return outputs, self.pyramid(maps) if self.things else []

    def propose(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Objectness logits (B, A), box deltas (B, A, 4) and the anchors (A, 4) of all levels."""
        objectness, deltas = zip(*(self.proposal_head(level) for level in levels), strict=True)
        sizes = [(level.shape[2], level.shape[3]) for level in levels]
        h = self.hyperparameters
        anchor = anchors(sizes, self.strides, h.anchor_scale, h.anchor_ratios, levels[0].device)
        return torch.cat(objectness, 1).float(), torch.cat(deltas, 1).float(), anchor

    def proposals(self, objectness: Tensor, deltas: Tensor, anchor: Tensor, size: tuple[int, int], candidates: int,
                  count: int) -> tuple[Tensor, Tensor]:
        """The best boxes (B, count, 4) of each image after suppression, over all levels, and which are real."""
        boxes, real = [], []
        for score, delta in zip(objectness, deltas, strict=True):
            score, best = score.topk(min(candidates, len(score)))
            box = clip_boxes(decode_boxes(delta[best], anchor[best]), size)
            rows, is_real = suppressed(box, score, self.hyperparameters.proposal_iou, count)
            boxes.append(box[rows] * is_real[:, None])
            real.append(is_real)
        return torch.stack(boxes), torch.stack(real)

    def detections(self, proposal: Tensor, is_real: Tensor, logits: Tensor, deltas: Tensor,
                   size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Box (B, D, 4), thing (B, D) and score (B, D) of the detections, of the box head's outputs for all proposals.

        logits: (B K, T + 1), 0 = background. deltas: (B K, T, 4).
        """
        h = self.hyperparameters
        probability = logits.float().softmax(1)[:, 1:].unflatten(0, is_real.shape) * is_real[..., None]
        deltas = deltas.float().unflatten(0, is_real.shape)
        boxes, things, scores = [], [], []
        for b in range(len(proposal)):
            score, best = probability[b].flatten().topk(min(DETECTION_CANDIDATES, probability[b].numel()))
            row, thing = torch.div(best, self.things, rounding_mode="floor"), best % self.things
            box = clip_boxes(decode_boxes(deltas[b].flatten(0, 1)[best], proposal[b][row], BOX_WEIGHTS), size)
            has_area = (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
            score = torch.where(has_area & (score > h.detection_score), score, 0)
            # Each class apart from the others, in a place of its own: none suppresses another's.
            apart = box + (thing * float(max(size) + 1))[:, None]
            rows, kept = suppressed(apart, score, h.detection_iou, h.detections)
            scores.append(score[rows] * kept)
            kept = scores[-1] > 0
            boxes.append(box[rows] * kept[:, None])
            things.append(thing[rows] * kept)
        return torch.stack(boxes), torch.stack(things), torch.stack(scores)


class ProposalHead(nn.Module):
    """A level (B, C, h, w) -> objectness logits (B, h w R) and box deltas (B, h w R, 4) of R anchors a cell."""

    def __init__(self, channels: int, ratios: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, ratios, 1)
        self.deltas = nn.Conv2d(channels, 4 * ratios, 1)
        for module in (self.convolution, self.objectness, self.deltas):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.convolution(level), inplace=True)
        objectness, deltas = (head(x).permute(0, 2, 3, 1).flatten(1) for head in (self.objectness, self.deltas))
        return objectness, deltas.unflatten(1, (-1, 4))


class BoxHead(nn.Module):
    """Pooled features (N, C, 7, 7) -> class logits (N, T + 1), 0 = background, and box deltas (N, T, 4) by class."""

    def __init__(self, channels: int, hidden: int, things: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels * BOX_SIDE**2, hidden), nn.ReLU(inplace=True),
                                    nn.Linear(hidden, hidden), nn.ReLU(inplace=True))
        self.classes, self.deltas = nn.Linear(hidden, things + 1), nn.Linear(hidden, 4 * things)
        for module in self.layers:
            if isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)
        for head, deviation in ((self.classes, 0.01), (self.deltas, 0.001)):
            nn.init.normal_(head.weight, std=deviation)
            nn.init.zeros_(head.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layers(features.flatten(1))
        return self.classes(x), self.deltas(x).unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """Pooled features (N, C, 14, 14) -> mask logits (N, T, 28, 28) by class."""

    def __init__(self, channels: int, depth: int, things: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.ConvTranspose2d(channels, channels, 2, stride=2), nn.ReLU(inplace=True),
                   nn.Conv2d(channels, things, 1)]
        self.layers = nn.Sequential(*layers)
        for module in self.layers:
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.layers[-1].weight, std=0.001)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers(features)
        return logits


def _image_of(box: Tensor) -> Tensor:
    """The image of each of B K boxes (B, K, 4), flattened: (B K,)."""
    batch, count = box.shape[:2]
    return torch.arange(batch, device=box.device).repeat_interleave(count)
