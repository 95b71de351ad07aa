"""Loss of Hierarchical Lovász Embeddings (Eq. 10-16) and the Thomson initialisation (Eq. 17)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from panoptic_ros.classes import VOID
from panoptic_ros.methods.hle.kernels import (
    CELLS_PER_UNIT,
    log_class_kernel,
    log_instance_kernel,
    pixel_features,
    position_grid,
)

from ..batches import Objects
from ..losses.lovasz import lovasz_binary, lovasz_softmax
from .objective import Objective, weighted_total

# Of the root mean square distance of an instance's pixels to their centre. At 1.5 the spatial kernel is 0.64 at the
# edge of a disc and 0.51 at the ends of a bar: the embedding is left to tell neighbours apart.
EXTENT = 1.5


@dataclass(frozen=True)
class Settings:
    """Weights and choices of the loss; defaults are the paper's, the other choices those of its ablation (Table 6).

    semantic, instance: loss of the classes' psi and of the instances' phi. `lovasz`: Eq. 12 and Eq. 11.
        `cross_entropy`: of the same probabilities. `associative`: pull and push in place of them (Eq. 1 and 2); the
        sigmas, which the decode needs, then learn by the Lovász loss (`seg_sigma`, `ins_sigma`), the embeddings not.
    means: whether the class means are moved by L_seg-mean alone (`regression`, Eq. 15, as in VQ-VAE) or by the
        gradient of the semantic loss (`backpropagation`).
    thomson: class means are initialised spread over the sphere (Eq. 17), not at random.
    seg, seg_mean, ins, seed: weights of the terms. gamma: weight of L_ins-var (Eq. 14).
    cross_entropy: weight of a cross entropy on psi beside L_seg. The paper has none; from random weights, without an
        ImageNet backbone, the Lovász softmax alone is slow to start.
    seed_foreground: weight in L_seed of a pixel inside an instance; the paper's is 1, as that of a pixel of stuff, of
        which there are ten times as many: their targets of 0 leave the seeds of objects little gradient.
    extent: weight of a regression of the predicted spatial sigma to EXTENT times the standard deviation of the
        instance's pixels, for instances that the crop has not cut: L_ins alone hardly makes it small for small objects.
        Nothing where one sigma is shared, as in the paper.
    hierarchy: weight of a hinge on the logarithms of the deviations, for the order that the paper describes and leaves
        to be learned (section 3.4): an instance's sigma is no larger than its class's. Without it the city's instances
        had 0.37 and their classes 0.2: what told neighbours of one class apart was then position alone.
    smallest_instance: instances of fewer cells of the output are left out of the instance and seed terms; the paper
        has no such limit.
    class_margins, instance_margins: delta_pull and delta_push of Eq. 1 and 2, in L1 distance, larger for classes than
        for instances (section 3.2).
    """

    semantic: Literal["lovasz", "cross_entropy", "associative"] = "lovasz"
    instance: Literal["lovasz", "cross_entropy", "associative"] = "lovasz"
    means: Literal["regression", "backpropagation"] = "regression"
    thomson: bool = True
    seg: float = 1.0
    seg_mean: float = 1.0
    ins: float = 1.0
    gamma: float = 10.0
    seed: float = 1.0
    seed_foreground: float = 1.0
    cross_entropy: float = 0.0
    extent: float = 1.0
    hierarchy: float = 0.0
    smallest_instance: int = 1
    class_margins: tuple[float, float] = (1.0, 3.0)
    instance_margins: tuple[float, float] = (0.25, 1.0)


class HLEObjective(Objective):
    """Eq. 10 to 16 on the outputs of `methods.hle.Network`.

    The truth is taken at the pixels nearest to the centres of the outputs' cells. An instance is what has one number in
    a clip, so that an object in two images of it is one: it has one mean embedding and one mean sigma, and its loss is
    over the pixels of all images that show it. Its centre is each image's own: Eq. 8 compares positions within an image
    alone, and an object that moved is as near to itself as before.
    """

    settings_type = Settings
    uses_clips = True

    def initialise(self, seed: int) -> None:
        """Set the class means to those of Eq. 17, unless the settings ask for random ones."""
        class_mean: Tensor = self.network.class_mean
        if self.settings.thomson:
            with torch.no_grad():
                class_mean.copy_(thomson_means(len(class_mean), class_mean.shape[1], seed))

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """The terms of Eq. 16 and their weighted sum `total`."""
        settings = self.settings
        outputs = {**outputs, **self.network.decode_parameters()}
        class_map, instance_map = (
            F.interpolate(batch[name][:, None].float(), outputs["seed"].shape[2:], mode="nearest-exact")[:, 0].long()
            for name in ("class_map", "instance_map"))
        terms = {**_semantic_terms(self.network, outputs, class_map, settings),
                 **_instance_terms(outputs, class_map, instance_map, batch["clip"], batch.get("objects"), self.is_thing,
                                   settings)}
        return weighted_total(terms, {"seg": settings.seg, "seg_mean": settings.seg_mean, "ins": settings.ins,
                                      "cross_entropy": settings.cross_entropy, "extent": settings.extent,
                                      "hierarchy": settings.hierarchy, "seed": settings.seed})


def _semantic_terms(network: nn.Module, outputs: dict[str, Tensor], class_map: Tensor,
                    settings: Settings) -> dict[str, Tensor]:
    valid = (class_map != VOID).flatten()
    classes = class_map.flatten()[valid]
    if "class_logits" in outputs:
        return {"seg": _probability_loss(_pixels(outputs["class_logits"])[valid].log_softmax(1), classes, settings)}
    pixels = _pixels(outputs.get("class_embedding", outputs["embedding"]))[valid]  # (P, D)
    mean, terms = outputs["class_mean"], {}
    if settings.means == "regression":
        # Eq. 9 with the class means held fixed: they are moved by Eq. 15 alone.
        mean = mean.detach()
        terms["seg_mean"] = class_mean_loss(network.class_mean, pixels.detach(), classes)  # type: ignore[arg-type]
    if settings.semantic == "associative":
        member = torch.arange(len(mean), device=classes.device)[:, None] == classes  # (C, P)
        # The decode takes the sigmas: they are fitted to the embeddings, which pull and push alone move.
        log_psi = log_class_kernel(pixels.detach(), mean.detach(), outputs["class_log_sigma"]).log_softmax(1)
        return {"seg": associative_loss(pixels, member, mean, settings.class_margins),
                "seg_sigma": lovasz_softmax(log_psi.exp().T, classes), **terms}
    log_psi = log_class_kernel(pixels, mean, outputs["class_log_sigma"]).log_softmax(1)  # Eq. 9
    terms["seg"] = _probability_loss(log_psi, classes, settings)
    if settings.cross_entropy:
        terms["cross_entropy"] = F.nll_loss(log_psi, classes) if len(classes) else log_psi.sum()
    return terms


def _probability_loss(log_psi: Tensor, classes: Tensor, settings: Settings) -> Tensor:
    """L_seg of (P, C) logarithms of probabilities: Eq. 12, or the cross entropy."""
    if settings.semantic == "lovasz":
        return lovasz_softmax(log_psi.exp().T, classes)
    return F.nll_loss(log_psi, classes) if len(classes) else log_psi.sum()


def _instance_terms(outputs: dict[str, Tensor], class_map: Tensor, instance_map: Tensor, clip: Tensor,
                    objects: Objects | None, is_thing: Tensor, settings: Settings) -> dict[str, Tensor]:
    height, width = class_map.shape[1:]
    grid = position_grid(height, width, class_map.device).view(-1, 2)
    is_predicted = "spatial_log_sigma" in outputs
    is_associative = settings.instance == "associative"
    ins, ins_sigma, ins_var, extent, hierarchy, seed_loss = [], [], [], [], [], []
    counts = clip.unique_consecutive(return_counts=True)[1]
    for images, end in zip(counts.tolist(), counts.cumsum(0).tolist(), strict=True):
        b = slice(end - images, end)
        valid = class_map[b].flatten() != VOID
        e, s, log_s = (_pixels(outputs[name][b])[valid] for name in ("embedding", "seed", "log_sigma"))
        s, log_s = s[:, 0], log_s[:, 0]
        position = grid.repeat(images, 1)[valid]
        pixels = valid.view(images, -1).sum(1).tolist()  # of each image
        target = torch.zeros_like(s)
        ids, index, cells = instance_map[b].flatten()[valid].unique(return_inverse=True, return_counts=True)
        member = index == ((ids > 0) & (cells >= settings.smallest_instance)).nonzero()  # (L, P)
        if len(member):
            spatial = (outputs["spatial_log_sigma"][b].flatten()[valid] if is_predicted
                       else outputs["shared_spatial_log_sigma"].expand(len(e)))
            phi = instance_probability(e.detach() if is_associative else e, log_s, position, member, spatial, pixels)
            ins.append(_instance_loss(phi, e, member, settings))
            if is_associative:
                ins_sigma.append(lovasz_binary(phi, member))  # as `seg_sigma`
            inside = member.any(0)
            assigned = member.int().argmax(0)
            target = torch.where(inside, phi.detach().gather(0, assigned[None])[0], 0)
            ins_var.append(variance_loss(log_s, member))
            if settings.hierarchy:
                class_id = class_map[b].flatten()[valid][member.int().argmax(1)]
                hierarchy.append(hierarchy_loss(log_s, member, outputs["class_log_sigma"][class_id]))
            if is_predicted:
                row_ids = ids[(ids > 0) & (cells >= settings.smallest_instance)]
                for image, part in enumerate(zip(spatial.split(pixels), position.split(pixels), member.split(pixels, 1),
                                                 strict=True), end - images):
                    extent.append(extent_loss(part[0], part[1], part[2][_is_whole(row_ids, image, objects)]))
        # Eq. 13; a pixel of a thing class outside all instances (a crowd, or too small a thing) has no seed target.
        is_target = (target > 0) | ~is_thing[class_map[b].flatten()[valid]]
        weight = torch.where(target > 0, settings.seed_foreground, 1.0)
        seed_loss.append((weight * (s - target).square())[is_target])
    zero = outputs["embedding"].sum() * 0
    extents = torch.cat(extent) if extent else zero[None][:0]  # none also where the crops have cut all instances
    terms = {"extent": extents.mean() if len(extents) else zero} if is_predicted else {}
    if settings.hierarchy:
        terms["hierarchy"] = torch.cat(hierarchy).mean() if hierarchy else zero
    if is_associative:
        terms["ins_sigma"] = torch.cat(ins_sigma).mean() if ins_sigma else zero
    return {**terms, "ins": torch.cat(ins).mean() if ins else zero,
            "ins_var": settings.gamma * torch.cat(ins_var).mean() if ins_var else zero,  # Eq. 14
            "seed": torch.cat(seed_loss).mean() if sum(map(len, seed_loss)) else zero}


def _is_whole(ids: Tensor, image: int, objects: Objects | None) -> Tensor:
    """Which of these instances of an image of the batch its crop has not cut, (L,) bool."""
    if objects is None:
        return torch.ones_like(ids, dtype=torch.bool)
    cut = objects.number[(objects.image == image) & objects.cut.any(1)]
    return ~torch.isin(ids, cut)


def _instance_loss(phi: Tensor, embedding: Tensor, member: Tensor, settings: Settings) -> Tensor:
    """L_ins of each instance of a clip, (L,), or (1,) where it is of all of them together."""
    if settings.instance == "lovasz":
        return lovasz_binary(phi, member)  # Eq. 11
    if settings.instance == "cross_entropy":
        return F.binary_cross_entropy(phi.clamp(1e-6, 1 - 1e-6), member.float(), reduction="none").mean(1)
    share = member.float() / member.sum(1, keepdim=True)
    return associative_loss(embedding, member, share @ embedding, settings.instance_margins)[None]


def associative_loss(embedding: Tensor, member: Tensor, mean: Tensor, margins: tuple[float, float]) -> Tensor:
    """L_pull + L_push of the L groups that have members (Eq. 1 and 2), a scalar.

    embedding (P, D), member (L, P) bool, disjoint, mean (L, D); margins: delta_pull and delta_push, in L1 distance.
    """
    size = member.sum(1)
    present = size > 0
    mean, member, size = mean[present], member[present], size[present]
    if not len(mean):
        return embedding.sum() * 0
    inside = member.any(0)
    assigned = member.int().argmax(0)[inside]
    pull = F.relu((mean[assigned] - embedding[inside]).abs().sum(1) - margins[0]).square()
    pull = (pull / size[assigned]).sum() / len(mean)
    apart = ~torch.eye(len(mean), dtype=torch.bool, device=mean.device)
    push = F.relu(margins[1] - (mean[:, None] - mean).abs().sum(2))[apart].square()
    return pull + (push.mean() if len(mean) > 1 else 0)


def instance_probability(embedding: Tensor, log_sigma: Tensor, position: Tensor, member: Tensor,
                         spatial_log_sigma: Tensor, pixels: Sequence[int]) -> Tensor:
    """phi_l(e_i) of Eq. 8 with the means of Eq. 10, over the images of a clip.

    embedding (P, D), position (P, 2), log_sigma and spatial_log_sigma (P,), member (L, P) bool: the pixels of the first
    image, then those of the next; pixels: how many of each. Returns (L, P); 0 in an image that does not show l, where
    it has no centre.
    """
    share = member.float() / member.sum(1, keepdim=True)
    mean = F.normalize(share @ embedding, dim=1)
    mean_log_sigma, mean_spatial = share @ log_sigma, share @ spatial_log_sigma
    phi = []
    for features, rho, inside in zip(pixel_features(embedding, position).split(pixels), position.split(pixels),
                                     member.split(pixels, 1), strict=True):
        cells = inside.sum(1, keepdim=True)
        centre = (inside.float() / cells.clamp(min=1)) @ rho
        log_phi = log_instance_kernel(features, mean, centre, mean_log_sigma, mean_spatial).T.contiguous()
        phi.append(log_phi.clamp(max=0).exp() * (cells > 0))
    return torch.cat(phi, 1)


def _pixels(maps: Tensor) -> Tensor:
    """(B, D, h, w) -> (B h w, D)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def hierarchy_loss(log_sigma: Tensor, member: Tensor, class_log_sigma: Tensor) -> Tensor:
    """Squared excess of each instance's log sigma, the mean over its pixels, over that of its class, (L,).

    log_sigma: (P,), member: (L, P) bool, class_log_sigma: (L,).
    """
    share = member.float() / member.sum(1, keepdim=True)
    return F.relu(share @ log_sigma - class_log_sigma).square()


def variance_loss(log_sigma: Tensor, member: Tensor) -> Tensor:
    """Eq. 14 without gamma, on the logarithms: squared distance to the instance's mean, for each pixel of an instance.

    log_sigma: (P,), member: (L, P) bool, disjoint. Returns (pixels inside,).
    """
    share = member.float() / member.sum(1, keepdim=True)
    mean = (share @ log_sigma).detach()
    inside = member.any(0)
    return (log_sigma - mean[member.int().argmax(0)]).square()[inside]


def extent_loss(spatial_log_sigma: Tensor, position: Tensor, member: Tensor) -> Tensor:
    """Squared error of the log of the predicted spatial sigma against that of EXTENT times the instance's own standard
    deviation, averaged over the pixels of each instance that has any: (instances,).

    spatial_log_sigma (P,), position (P, 2), member (L, P) bool. Not in the paper, which has one deviation for all.
    """
    member = member[member.any(1)]
    share = member.float() / member.sum(1, keepdim=True)
    centre = share @ position
    squares = ((position - centre[:, None]).square().sum(2) * share).sum(1)
    # A cell is no point: its own deviation, 1/12 in each direction, keeps an instance of one cell from having none.
    target = 0.5 * torch.log(squares + 1 / 6 / CELLS_PER_UNIT**2) + math.log(EXTENT)
    return ((spatial_log_sigma - target[:, None]).square() * share).sum(1)


def class_mean_loss(class_mean: Tensor, embedding: Tensor, classes: Tensor) -> Tensor:
    """Eq. 15, averaged over the classes in the batch; the batch means are brought back to unit length.

    class_mean: (C, D) parameter; embedding: (P, D) without gradient; classes: (P,) ids. Returns ().
    """
    count = len(class_mean)
    sums = torch.zeros(count, embedding.shape[1], device=embedding.device).index_add_(0, classes, embedding)
    present = torch.bincount(classes, minlength=count) > 0
    if not bool(present.any()):
        return class_mean.sum() * 0
    return (class_mean - F.normalize(sums, dim=1)).square().sum(1)[present].mean()


@torch.enable_grad()
def thomson_means(count: int, dimension: int, seed: int = 0, steps: int = 500, rate: float = 0.03) -> Tensor:
    """Points spread over the unit sphere: a local minimum of Eq. 17 by gradient descent, (count, dimension).

    Adam with renormalisation after each step, from seeded random points.
    """
    generator = torch.Generator().manual_seed(seed)
    points = F.normalize(torch.randn(count, dimension, generator=generator), dim=1).requires_grad_()
    optimiser = torch.optim.Adam([points], lr=rate)
    others = ~torch.eye(count, dtype=torch.bool)
    for _ in range(steps if count > 1 else 0):
        unit = F.normalize(points, dim=1)
        energy = (1 / (1 - unit @ unit.T)[others].clamp(min=1e-6)).sum()
        optimiser.zero_grad()
        energy.backward()
        optimiser.step()
        with torch.no_grad():
            points.copy_(F.normalize(points, dim=1))
    return points.detach()
