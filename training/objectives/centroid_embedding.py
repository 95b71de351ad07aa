"""Loss of centroid embedding (Eq. 1 to 14, appendices A to C): centroids, classes and depth, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from panoptic_ros.classes import VOID, ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.methods.centroid_embedding.positions import cell_of, positional_embedding

from ..ground_truth import ground_truth_objects
from ..losses.boundary import boundary_weight, distance_to_boundary, weighted_mean
from ..losses.depth import affine_invariant_loss, scale_invariant_log_loss
from ..losses.dice import generalized_dice_loss
from ..losses.total_variation import cross_entropy_variation, total_variation
from .objective import Objective, weighted_total


@dataclass(frozen=True)
class Settings:
    """Weights and choices of the loss; the numbers that the paper has are the defaults.

    instance, semantic, depth: weights of the tasks; at 0 one is not trained, as in the paper's first stage all but the
        instances.
    total_variation, dice: weights of these terms, on which the paper is silent.
    edge_sampling: EDS: pixels count by their distance to the nearest boundary, else all alike.
    edge_distance: D of Eq. 5, in pixels of the outputs. edge_weight: w_min, far from all boundaries.
    train_on_void: whether pixels of no instance are to become the zero vector; else they are left out, and instances
        expand into them (Figure 4).
    scale_invariance: lambda of Eq. 9.
    """

    instance: float = 1.0
    semantic: float = 1.0
    depth: float = 1.0
    total_variation: float = 0.1
    dice: float = 1.0
    edge_sampling: bool = True
    edge_distance: float = 20.0
    edge_weight: float = 0.0
    train_on_void: bool = True
    scale_invariance: float = 0.5

    def __post_init__(self) -> None:
        if self.edge_distance <= 0 or not 0 <= self.edge_weight <= 1 or not 0 <= self.scale_invariance <= 1:
            raise InputError(f"edge_distance is {self.edge_distance}, pixels above 0; edge_weight is "
                             f"{self.edge_weight} and scale_invariance {self.scale_invariance}, from 0 to 1")


class Centroids(NamedTuple):
    """The G instances of a batch.

    number: (B, h, w) int64, 0 = none, k = row k - 1 of image (G,), the index into the batch, area (G,), pixels, and
    position (G, 2): x and y of the centre of mass, from -1 to 1 over the image.
    """

    number: Tensor
    image: Tensor
    area: Tensor
    position: Tensor


class CentroidEmbeddingObjective(Objective):
    """Eq. 1 to 14 on the outputs of `methods.centroid_embedding.Network`.

    The truth is taken at the pixels nearest to the centres of the outputs' cells. A centroid is that of the part of an
    instance that the crop shows. A crowd's centroids are not known: its pixels are in no term of instances but DICE's.
    An image without any label has depth alone.
    """

    settings_type = Settings
    uses_depth = True

    def __init__(self, network: nn.Module, settings: Settings, classes: ClassTable) -> None:
        super().__init__(network, settings, classes)
        # A first stage on instances alone needs no depth in its data.
        self.uses_depth = settings.depth > 0 and bool({"depth", "disparity"} & self.network.pixel_outputs)

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """The terms `instance`, `dice`, `semantic`, `depth` and those of total variation, and their weighted `total`.

        Raises InputError for a class id that the table does not have.
        """
        s: Settings = self.settings
        size = outputs["class_logits"].shape[2:]
        class_map, instance_map = (_nearest(batch[name], size).long() for name in ("class_map", "instance_map"))
        if bool(((class_map >= len(self.is_thing)) & (class_map != VOID)).any()):
            raise InputError(f"the truth has a class id beyond the {len(self.is_thing)} classes of the table")
        terms: dict[str, Tensor] = {}
        if s.instance and "centroid" in outputs:
            terms |= self._instance_terms(outputs["centroid"], class_map, instance_map)
        if s.semantic:
            logits = outputs["class_logits"]
            errors = F.cross_entropy(logits, class_map, ignore_index=VOID, reduction="none")
            terms["semantic"] = weighted_mean(errors, self._edge_weight(class_map) * (class_map != VOID))
            terms["semantic_variation"] = cross_entropy_variation(logits)
        if s.depth and "depth" in outputs:
            truth = self._canonical(_nearest(batch["depth"], size), batch["focal_length"])
            terms["depth"] = scale_invariant_log_loss(outputs["depth"][:, 0], truth, s.scale_invariance)
        if s.depth and "disparity" in outputs:
            truth = _nearest(batch["depth"], size)
            known = torch.isfinite(truth) & (truth > 0)
            terms["depth"] = affine_invariant_loss(outputs["disparity"][:, 0], 1 / torch.where(known, truth, 1), known)
        if not terms:
            terms["nothing"] = sum((output.sum() * 0 for output in outputs.values()), class_map.new_zeros(()))
        return weighted_total(terms, {
            "instance": s.instance, "dice": s.dice * s.instance, "semantic": s.semantic, "depth": s.depth,
            "instance_variation": s.total_variation * s.instance, "semantic_variation": s.total_variation * s.semantic})

    def _instance_terms(self, predicted: Tensor, class_map: Tensor, instance_map: Tensor) -> dict[str, Tensor]:
        s: Settings = self.settings
        h = self.network.hyperparameters
        on_thing = F.pad(self.is_thing, (0, VOID + 1 - len(self.is_thing)))[class_map]
        centroids = centroids_of(class_map, torch.where(on_thing, instance_map, 0))
        is_crowd = on_thing & (centroids.number == 0)
        weight = self._edge_weight(torch.where(is_crowd, -1, centroids.number)) * ~is_crowd
        weight = weight * (class_map != VOID).flatten(1).any(1)[:, None, None]
        if not s.train_on_void:
            weight = weight * (centroids.number > 0)
        terms: dict[str, Tensor] = {}
        if h.encoding == "positional":
            code = positional_embedding(centroids.position, h.harmonics).flatten(1)
            terms["instance"] = weighted_mean(embedding_error(predicted, _of_pixels(code, centroids.number)), weight)
            terms["instance_variation"] = total_variation(predicted)
            if s.dice:
                terms["dice"] = dice_loss(predicted, code, centroids)
        elif h.encoding == "direct":
            color = F.pad((centroids.position + 1) / 2, (0, 1), value=1.0)
            errors = (predicted - _of_pixels(color, centroids.number)).abs().sum(1)
            terms["instance"] = weighted_mean(errors, weight)
            terms["instance_variation"] = total_variation(predicted, "l1")
        else:
            columns = h.grid[1]
            both = predicted.split([columns + 1, h.grid[0] + 1], 1)
            errors = sum((F.cross_entropy(logits, _cells(centroids, axis, logits.shape[1] - 1), reduction="none")
                          for axis, logits in enumerate(both)), torch.zeros_like(weight)) / 2
            terms["instance"] = weighted_mean(errors, weight)
            terms["instance_variation"] = (cross_entropy_variation(both[0]) + cross_entropy_variation(both[1])) / 2
        return terms

    def _edge_weight(self, labels: Tensor) -> Tensor:
        s: Settings = self.settings
        if not s.edge_sampling:
            return torch.ones_like(labels, dtype=torch.float32)
        return boundary_weight(distance_to_boundary(labels), s.edge_distance, s.edge_weight)

    def _canonical(self, depth: Tensor, focal_length: Tensor) -> Tensor:
        """Depth as the camera of the network's focal length would have to see it, to show the same; 0 where it is not
        known, or beyond what the network can say."""
        h = self.network.hyperparameters
        if h.focal_length:
            factor = torch.where(focal_length > 0, h.focal_length / focal_length, 1)
            depth = depth * factor[:, None, None]
        return torch.where(depth <= h.max_depth, depth, 0)


def centroids_of(class_map: Tensor, instance_map: Tensor) -> Centroids:
    """Centres of mass of the instances of maps (B, h, w); numbers of instances, 0 = none, are each image's own."""
    truth = ground_truth_objects(class_map, instance_map)
    height, width = class_map.shape[1:]
    number = truth.number.flatten()
    cell = (number > 0).nonzero()[:, 0]
    own, count = number[cell] - 1, len(truth.class_id) - 1
    area = torch.bincount(own, minlength=count)
    pixel = torch.stack([(cell % width + 0.5) * (2 / width) - 1, (cell // width % height + 0.5) * (2 / height) - 1], 1)
    mean = pixel.new_zeros(count, 2).index_add_(0, own, pixel) / area[:, None]
    return Centroids(truth.number, truth.image[1:], area, mean)


def embedding_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Eq. 4: half the sum of the distances of the two halves, of u and of v, (B, h, w) for (B, 4L, h, w)."""
    u, v = (predicted - target).square().chunk(2, 1)
    # With a finite gradient at 0.
    return sum((half.sum(1).clamp(min=1e-12).sqrt() for half in (u, v)), torch.zeros_like(u[:, 0])) / 2


def dice_loss(predicted: Tensor, code: Tensor, centroids: Centroids) -> Tensor:
    """Eq. 12 to 14, the mean over the images that have instances: every pixel, void as well, is as far in an instance
    as it is near to its code.

    predicted: (B, 4L, h, w); code: (G, 4L).
    """
    losses = []
    for b in range(len(predicted)):
        own = (centroids.image == b).nonzero()[:, 0]
        if len(own):
            pixels, codes = predicted[b].flatten(1), code[own]
            # Eq. 14: the two distances' exponentials multiply to that of the distance of both.
            distance = pixels.square().sum(0) - 2 * codes @ pixels + codes.square().sum(1, keepdim=True)
            member = centroids.number[b].flatten() == own[:, None] + 1
            losses.append(generalized_dice_loss((-distance.clamp(min=0)).exp(), member, 1 / centroids.area[own]))
    return torch.stack(losses).mean() if losses else predicted.sum() * 0


def _of_pixels(rows: Tensor, number: Tensor) -> Tensor:
    """Row number - 1 of (G, D) at every pixel, 0 where it is 0: (B, D, h, w)."""
    return F.pad(rows, (0, 0, 1, 0))[number].permute(0, 3, 1, 2)


def _cells(centroids: Centroids, axis: int, count: int) -> Tensor:
    """The class of each pixel along an axis: the cell of its centroid, or `count` for void."""
    return F.pad(cell_of(centroids.position[:, axis], count), (1, 0), value=count)[centroids.number]


def _nearest(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, H, W) at the pixels nearest to the centres of (h, w) cells."""
    return F.interpolate(maps[:, None].float(), size, mode="nearest-exact")[:, 0]
