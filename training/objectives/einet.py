"""Loss of EINet (Eq. 1 to 10): embeddings that interact through the dictionary of semantic centres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.classes import VOID
from panoptic_ros.errors import InputError
from panoptic_ros.methods.einet.positions import located_embedding

from ..ground_truth import ground_truth_objects
from ..losses.cross_entropy import bootstrapped_cross_entropy
from .objective import Objective, weighted_total

MIN_OVERLAP = 0.7  # IoU of a box whose corners lie within the radius of the heatmap's Gaussian with the true box


@dataclass(frozen=True)
class Settings:
    """Weights and choices of the loss; defaults are the paper's on Cityscapes.

    instance_augmentation, semantic_augmentation, centroid_regularisation: InsAug (Eq. 5 to 7), SemAug (Eq. 2 to 4) and
        CenReg (Eq. 8), the switches of the paper's Table 3.
    mu: share of a semantic centre that an update keeps (Eq. 3, Table 5).
    interaction: which instances move a thing's centre: those of its `category`, as the text on Table 5 has it, or
        `all`, over which Eq. 3 sums; each by its omega.
    ins, cen, sem, reg: weights lambda_e, lambda_c, lambda_s and lambda_r of Eq. 10.
    heatmap_loss: `focal` (objects as points, alpha 2, beta 4), or `mse` (Panoptic-DeepLab). heatmap: its weight
        lambda_h; None takes 1 for the focal loss and the paper's 200, which is of the size of the other, for the MSE.
    semantic_margin: m of Eq. 1. The paper's 5 is beyond the largest distance, 2, and never met; one below 2 can be.
    pull_margin, push_margin: sigma_v and sigma_d of Eq. 1.
    consistency_margin: alpha of Eq. 6.
    bootstrap: share of the pixels, those with the largest loss, that L_sem is the mean of.
    small_instance, small_instance_weight: pixels of instances of less area, in pixels of the crop, have this weight in
        L_sem.
    """

    instance_augmentation: bool = True
    semantic_augmentation: bool = True
    centroid_regularisation: bool = True
    mu: float = 0.9
    interaction: Literal["category", "all"] = "category"
    ins: float = 0.01
    cen: float = 10.0
    sem: float = 1.0
    reg: float = 0.01
    heatmap_loss: Literal["focal", "mse"] = "focal"
    heatmap: float | None = None
    semantic_margin: float = 5.0
    pull_margin: float = 0.5
    push_margin: float = 1.5
    consistency_margin: float = 0.15
    bootstrap: float = 0.2
    small_instance: int = 4096
    small_instance_weight: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.mu <= 1 or not 0 < self.bootstrap <= 1:
            raise InputError(f"mu is {self.mu}, a share from 0 to 1; bootstrap is {self.bootstrap}, a share above 0 "
                             "and up to 1")
        if self.interaction not in ("category", "all") or self.heatmap_loss not in ("focal", "mse"):
            raise InputError(f"interaction is '{self.interaction}', which must be category or all; heatmap_loss is "
                             f"'{self.heatmap_loss}', which must be focal or mse")


class Instances(NamedTuple):
    """The K instances of a batch, as they are seen at the P = B h w cells of the outputs.

    of_cell: (P,) int64, -1 = none. class_id, image, area (cells): (K,) int64. box: (K, 4) float, cells.
    centroid: (K,) int64, the cell of the instance that is nearest to the mean of its cells. That mean itself may lie
        on what splits or surrounds the instance, where neither the embedding nor the class is the instance's.
    """

    of_cell: Tensor
    class_id: Tensor
    image: Tensor
    area: Tensor
    box: Tensor
    centroid: Tensor


class EINetObjective(Objective):
    """Eq. 1 to 10 on the outputs of `methods.einet.Network`, whose semantic centres it moves while it trains.

    The truth is taken at the pixels nearest to the centres of the outputs' cells; an instance without such a pixel is
    none. Sums over instances and classes are over those of the batch. Crowds are in no term of instances.
    """

    settings_type = Settings

    def network_outputs(self, image: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.network.training_outputs(image)
        return outputs

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """The terms of Eq. 10 and their weighted sum `total`.

        Raises InputError for a class id that the table does not have.
        """
        settings: Settings = self.settings
        class_map, instance_map = (
            F.interpolate(batch[name][:, None].float(), outputs["class_logits"].shape[2:], mode="nearest-exact")[:, 0]
            .long() for name in ("class_map", "instance_map"))
        classes = len(self.is_thing)
        if bool(((class_map >= classes) & (class_map != VOID)).any()):
            raise InputError(f"the truth has a class id beyond the {classes} classes of the table")
        # Things by class id up to 255, void.
        is_thing = F.pad(self.is_thing, (0, VOID + 1 - classes))
        on_thing = is_thing[class_map]
        instances = instances_of(class_map, torch.where(on_thing, instance_map, 0))
        class_id = class_map.flatten()
        semantic = _pixels(outputs["semantic_embedding"])
        centre = self._interact(outputs, semantic, class_id, instances)

        width = batch["class_map"].shape[2]
        terms = {"sem": self._semantic_loss(outputs, class_map, on_thing, centre, instances, width),
                 "reg": semantic_regularisation(semantic, class_id, centre.detach(), settings.semantic_margin)}
        if "heatmap" not in outputs:
            return self._weighted(terms)
        embedding = _pixels(outputs["embedding"])
        mean = extract_and_summarise(embedding, outputs["attention"].flatten(), instances.of_cell,
                                     len(instances.class_id))
        # Positions tell instances apart; they have no part in what embeddings say of classes.
        located, located_mean = embedding, mean
        if "offset" in outputs:
            located = _pixels(located_embedding(outputs["embedding"], outputs["offset"]))
            located_mean = extract_and_summarise(located, outputs["attention"].flatten(), instances.of_cell,
                                                 len(instances.class_id))
        terms["reg"] = terms["reg"] + instance_regularisation(
            located, located_mean, instances.of_cell, instances.image, settings.pull_margin, settings.push_margin)
        if settings.instance_augmentation:
            present = torch.bincount(class_id, minlength=VOID + 1)[:classes] > 0
            terms["ins"] = consistency_loss(mean, instances.class_id, centre.detach(), present,
                                            settings.consistency_margin)
        if settings.centroid_regularisation:
            terms["cen"] = _mean((located_mean - located[instances.centroid]).square().sum(1), mean)  # Eq. 8
        target = heatmap_target(instances, self.is_thing, class_map.shape)
        # Of a crowd nobody knows where the centroids are, and of void not what is there.
        thing_classes = self.is_thing.nonzero()[:, 0]
        crowd = on_thing & (instances.of_cell.view(class_map.shape) < 0)
        known = (class_map != VOID)[:, None] & ~(crowd[:, None] & (class_map[:, None] == thing_classes[:, None, None]))
        if settings.heatmap_loss == "focal":
            terms["hm"] = focal_loss(outputs["heatmap"], target, known)
        else:
            terms["hm"] = ((outputs["heatmap"] - target).square() * known).sum() / known.sum().clamp(min=1)
        return self._weighted(terms)

    def _weighted(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        s: Settings = self.settings
        heatmap = (1.0 if s.heatmap_loss == "focal" else 200.0) if s.heatmap is None else s.heatmap
        return weighted_total(terms, {"ins": s.ins, "cen": s.cen, "sem": s.sem, "reg": s.reg, "hm": heatmap})

    def _interact(self, outputs: dict[str, Tensor], semantic: Tensor, class_id: Tensor,
                  instances: Instances) -> Tensor:
        """Eq. 2 and 3: the semantic centres Q (C, D), moved by this batch; kept where the objective trains.

        A thing's centre moves towards its instances. A stuff class has none: it moves towards its average embedding V,
        by the same mu, as all do without SemAug (the paper leaves open how Q is then maintained).
        """
        settings, network = self.settings, self.network
        classes = len(self.is_thing)
        valid = torch.where(class_id == VOID, -1, class_id)
        present = torch.bincount(valid[valid >= 0], minlength=classes) > 0
        average = F.normalize(extract_and_summarise(semantic, outputs["semantic_attention"].flatten(), valid, classes),
                              dim=1)  # V
        share, direction = present.to(average.dtype), average  # W and N / W of what a centre moves towards
        moved = share[:, None] * direction
        if settings.semantic_augmentation and "embedding" in outputs:
            mean = F.normalize(extract_and_summarise(
                _pixels(outputs["embedding"]), outputs["attention"].flatten(), instances.of_cell,
                len(instances.class_id)), dim=1)
            omega = correlation(mean, average, present)
            if settings.interaction == "category":
                omega = omega * F.one_hot(instances.class_id, classes)
            share = torch.where(self.is_thing, omega.sum(0), share)
            moved = torch.where(self.is_thing[:, None], omega.T @ mean, moved)
        table = torch.cat([moved, share[:, None], average * present[:, None], present[:, None].to(average.dtype)], 1)
        if self.training:
            table = summed_over_processes(table)
        centre = updated_centre(network.center.clone(), network.center_seen, table, settings.mu)
        if self.training:
            with torch.no_grad():
                network.center.copy_(centre)
                network.center_seen.logical_or_(table[:, -1] > 0)
        return centre

    def _semantic_loss(self, outputs: dict[str, Tensor], class_map: Tensor, on_thing: Tensor, centre: Tensor,
                       instances: Instances, width: int) -> Tensor:
        """L_sem of the semantic embedding, and of the one that Eq. 4 re-calibrates by the truth.

        At inference there is no truth to re-calibrate by: so the classifier has to know both, and L_sem is their mean.
        """
        settings: Settings = self.settings
        cell = (width / class_map.shape[2]) ** 2  # pixels
        is_small = F.pad(instances.area * cell < settings.small_instance, (0, 1))[instances.of_cell]  # row -1: none
        weight = torch.where(is_small, settings.small_instance_weight, 1.0).view(class_map.shape)
        loss = bootstrapped_cross_entropy(outputs["class_logits"], class_map, settings.bootstrap, weight)
        if not settings.semantic_augmentation:
            return loss
        own_centre = centre[torch.where(on_thing, class_map, 0)].permute(0, 3, 1, 2)
        recalibrated = torch.where(on_thing[:, None], own_centre, outputs["semantic_embedding"])
        logits = self.network.classifier(recalibrated)
        return (loss + bootstrapped_cross_entropy(logits, class_map, settings.bootstrap, weight)) / 2


def instances_of(class_map: Tensor, instance_map: Tensor) -> Instances:
    """The instances of maps (B, h, w); numbers of instances, 0 = none, are each image's own."""
    truth = ground_truth_objects(class_map, instance_map)
    height, width = class_map.shape[1:]
    of_cell = truth.number.flatten() - 1
    cell = (of_cell >= 0).nonzero()[:, 0]
    instance, count = of_cell[cell], len(truth.class_id) - 1
    area = torch.bincount(instance, minlength=count)
    position = torch.stack([cell // width % height, cell % width], 1).float()
    mean = position.new_zeros(count, 2).index_add_(0, instance, position) / area[:, None]
    away = (position - mean[instance]).square().sum(1)
    nearest = away.new_full((count,), torch.inf).scatter_reduce_(0, instance, away, "amin")
    is_nearest = away == nearest[instance]
    centroid = cell.new_full((count,), class_map.numel()).scatter_reduce_(
        0, instance[is_nearest], cell[is_nearest], "amin")  # of equally near cells the first
    return Instances(of_cell, truth.class_id[1:], truth.image[1:], area, truth.box[1:], centroid)


def extract_and_summarise(embedding: Tensor, attention: Tensor, group: Tensor, count: int) -> Tensor:
    """ESM: the attention-weighted mean embedding of each group of cells, (count, D), 0 where it has none.

    embedding: (P, D), attention: (P,), group: (P,) int64, -1 = none. Unlike the paper's, divided by the sum of weights.
    """
    group = torch.where(group < 0, count, group)
    sums = embedding.new_zeros(count + 1, embedding.shape[1]).index_add_(0, group, embedding * attention[:, None])
    total = attention.new_zeros(count + 1).index_add_(0, group, attention)
    return (sums / total.clamp(min=1e-6)[:, None])[:count]


def correlation(mean: Tensor, average: Tensor, present: Tensor) -> Tensor:
    """omega (K, C) of Eq. 2: softmax of similarity -D_e over the classes that are present; as printed, of the distance,
    the farthest would weigh most. mean (K, D) and average (C, D): unit rows."""
    return (-_distance(mean, average)).masked_fill(~present, -torch.inf).softmax(1)


def updated_centre(centre: Tensor, seen: Tensor, table: Tensor, mu: float) -> Tensor:
    """Eq. 3: Q (C, D) -> mu Q + (1 - mu) of the weighted mean that it moves towards, where there is one.

    table: (C, 2 D + 2): sum of weighted directions, sum of weights, sum of V over processes, how many of them have the
    class. The division by the sum of weights, which Eq. 3 lacks, keeps Q within the unit ball. A class that was not
    seen before begins with V.
    """
    moved, share, average, count = table.split([centre.shape[1], 1, centre.shape[1], 1], 1)
    begun = torch.where(seen[:, None] | (count == 0), centre, F.normalize(average, dim=1))
    return torch.where(share > 0, mu * begun + (1 - mu) * moved / share.clamp(min=1e-12), begun)


def summed_over_processes(table: Tensor) -> Tensor:
    """The sum of all processes' tensors; the gradient is that of this one's summand."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return table
    total = table.detach().clone()
    torch.distributed.all_reduce(total)
    return total + (table - table.detach())


def semantic_regularisation(semantic: Tensor, class_id: Tensor, centre: Tensor, margin: float) -> Tensor:
    """First term of Eq. 1, summed over the classes that are present: pixels to their own centre and away from others'.

    semantic (P, D), class_id (P,), 255 = void, centre (C, D). Both sums are means over their pixels, without which the
    second would outweigh the first by the size of the image.
    """
    valid = class_id != VOID
    if not bool(valid.any()):
        return semantic.sum() * 0
    member = F.one_hot(class_id[valid], len(centre)).T.to(semantic.dtype)  # (C, P)
    distance = _distance(F.normalize(semantic[valid], dim=1), F.normalize(centre, dim=1)).T
    own = (distance * member).sum(1) / member.sum(1).clamp(min=1)
    other = (distance * (1 - member)).sum(1) / (1 - member).sum(1).clamp(min=1)
    return F.relu(own - other + margin)[member.any(1)].sum()


def instance_regularisation(embedding: Tensor, mean: Tensor, of_cell: Tensor, image: Tensor, pull_margin: float,
                            push_margin: float) -> Tensor:
    """Second and third term of Eq. 1: mean embeddings of an image apart, pixels to the mean of their instance.

    embedding (P, D), mean (K, D), of_cell (P,), -1 = none, image (K,).
    """
    inside = (of_cell >= 0).nonzero()[:, 0]
    if not len(mean):
        return embedding.sum() * 0
    own = of_cell[inside]
    pull = F.relu(_norm(embedding[inside] - mean[own]) - pull_margin)
    pixels = torch.bincount(own, minlength=len(mean))
    first, second = ((image[:, None] == image).triu(1)).nonzero(as_tuple=True)
    push = F.relu(2 * push_margin - _norm(mean[first] - mean[second]))
    return (pull / pixels[own]).sum() / len(mean) + _mean(push, mean)


def consistency_loss(mean: Tensor, class_id: Tensor, centre: Tensor, present: Tensor, margin: float) -> Tensor:
    """R_ins of Eq. 5 to 7: instances point where the centre of their class does, and not where others' do.

    mean (K, D), class_id (K,), centre (C, D), present (C,) bool: J. D_c = (1 + cos) / 2. The text asks for a small
    cosine to the own centre; the equations, which are followed, raise it. For j = g(k) they give
    -log(d_p / (1 + alpha)), which has no bound: the argument of the logarithm is clamped.
    """
    similarity = (1 + F.normalize(mean, dim=1) @ F.normalize(centre, dim=1).T) / 2  # (K, C)
    positive = similarity.gather(1, class_id[:, None])
    negative = torch.where(F.one_hot(class_id, len(centre)).bool(), 1.0, similarity)
    errors = -(1 - F.relu(negative - positive + margin) / (1 + margin)).clamp(min=1e-4).log()
    return _mean((errors * present).sum(1), mean)


def gaussian_radius(height: Tensor, width: Tensor) -> Tensor:
    """The radius within which both corners of a box may move so that its IoU with the box is at least MIN_OVERLAP (Law
    and Deng 2018), the least of three cases: moved, shrunk, grown."""
    o, half, area = MIN_OVERLAP, height + width, height * width
    moved = (half - (half.square() - 4 * area * (1 - o) / (1 + o)).sqrt()) / 2
    shrunk = (half - (half.square() - 4 * area * (1 - o)).sqrt()) / 4
    grown = (-half + (half.square() + 4 * area * (1 - o) / o).sqrt()) / 4
    return torch.minimum(torch.minimum(moved, shrunk), grown)


def heatmap_target(instances: Instances, is_thing: Tensor, size: tuple[int, ...]) -> Tensor:
    """Heatmap (B, T, h, w) with a Gaussian at each centroid, sigma a sixth of the diameter; where they meet, the
    largest.

    size: (B, h, w).
    """
    batch, height, width = size
    things = int(is_thing.sum())
    device = is_thing.device
    box = instances.box
    radius = gaussian_radius(box[:, 3] - box[:, 1], box[:, 2] - box[:, 0]).floor()
    precision = 0.5 * ((2 * radius + 1) / 6) ** -2
    # The Gaussian of an instance is the product of a row and a column.
    along = [(-(torch.arange(n, device=device) - at[:, None]).square() * precision[:, None]).exp()
             for n, at in ((height, instances.centroid // width % height), (width, instances.centroid % width))]
    channel = instances.image * things + (is_thing.cumsum(0) - 1)[instances.class_id]
    gaussian = along[0][:, :, None] * along[1][:, None]  # (K, h, w)
    target = gaussian.new_zeros(batch * things, height, width)
    target.scatter_reduce_(0, channel[:, None, None].expand_as(gaussian), gaussian, "amax")
    return target.view(batch, things, height, width)


def focal_loss(heatmap: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Penalty-reduced focal loss (Zhou et al. 2019; alpha 2, beta 4), divided by the number of centroids.

    heatmap, target: (B, T, h, w) in [0, 1]; known: the same, bool.
    """
    heatmap = heatmap.clamp(1e-4, 1 - 1e-4)
    is_centroid = target == 1
    errors = torch.where(is_centroid, (1 - heatmap).square() * heatmap.log(),
                         (1 - target) ** 4 * heatmap.square() * (1 - heatmap).log())
    return -(errors * known).sum() / is_centroid.sum().clamp(min=1)


def _pixels(maps: Tensor) -> Tensor:
    """(B, D, h, w) -> (B h w, D)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _norm(vectors: Tensor) -> Tensor:
    """Length of the rows, with a finite gradient at 0."""
    return vectors.square().sum(1).clamp(min=1e-12).sqrt()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """D_e of all pairs of unit rows (K, D) and (C, D): (K, C)."""
    return (2 - 2 * a @ b.T).clamp(min=1e-12).sqrt()


def _mean(values: Tensor, mean: Tensor) -> Tensor:
    """The mean, 0 where there is none, and then still part of the graph of `mean`."""
    return values.mean() if len(values) else mean.sum() * 0
