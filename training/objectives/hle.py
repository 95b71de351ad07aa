"""The loss of Hierarchical Lovász Embeddings (Eq. 10-16) and the Thomson initialisation (Eq. 17)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.methods.hle.kernels import log_class_kernel, log_instance_kernel, pixel_features, position_grid
from training.losses.lovasz import lovasz_binary, lovasz_softmax

VOID = 255


@dataclass(frozen=True)
class Weights:
    """Weights of the terms, and what they leave out; the paper's are all 1, with gamma = 10 in the variance term.

    cross_entropy: weight of a cross entropy on psi beside L_seg. The paper has none; from random weights, without an
        ImageNet backbone, the Lovász softmax alone is slow to start.
    smallest_instance: instances of fewer cells of the output are left out of the instance and seed terms; the paper
        has no such limit.
    """

    seg: float = 1.0
    seg_mean: float = 1.0
    ins: float = 1.0
    gamma: float = 10.0
    seed: float = 1.0
    cross_entropy: float = 0.0
    smallest_instance: int = 1


def hle_loss(outputs: dict[str, Tensor], class_map: Tensor, instance_map: Tensor, class_mean: Tensor,
             is_thing: Tensor, weights: Weights = Weights()) -> dict[str, Tensor]:
    """The terms of Eq. 16 and their weighted sum `total`.

    outputs: of `methods.hle.Network`. class_map: (B, H, W) class ids, 255 = void. instance_map: (B, H, W) int, 0 = no
    instance. class_mean: (C, D), the parameter itself, before it is brought to unit length. is_thing: (C,) bool.
    The truth is taken at the pixels nearest to the centres of the outputs' cells.
    """
    embedding, log_sigma, seed = outputs["embedding"], outputs["log_sigma"], outputs["seed"]
    batch, _, height, width = embedding.shape
    class_map, instance_map = (F.interpolate(m[:, None].float(), (height, width), mode="nearest-exact")[:, 0].long()
                               for m in (class_map, instance_map))
    position = position_grid(height, width, embedding.device).view(-1, 2)
    zero = embedding.sum() * 0
    ins, ins_var, seed_loss = [], [], []
    for b in range(batch):
        known = class_map[b].flatten() != VOID
        e, s, log_s = (x[b].flatten(1).T[known] for x in (embedding, seed, log_sigma))
        s, log_s = s[:, 0], log_s[:, 0]
        target = torch.zeros_like(s)
        ids, index, cells = instance_map[b].flatten()[known].unique(return_inverse=True, return_counts=True)
        member = index == ((ids > 0) & (cells >= weights.smallest_instance)).nonzero()  # (L, P)
        if len(member):
            phi = instance_probability(e, log_s, position[known], member, outputs["spatial_log_sigma"][0])
            ins.append(lovasz_binary(phi, member))  # Eq. 11
            inside = member.any(0)
            owner = member.int().argmax(0)
            target = torch.where(inside, phi.detach().gather(0, owner[None])[0], 0)
            ins_var.append(variance_loss(log_s, member))
        # Eq. 13; a pixel of a thing class outside all instances (a crowd, or too small a thing) has no known seed.
        is_target = (target > 0) | ~is_thing[class_map[b].flatten()[known]]
        seed_loss.append((s - target).square()[is_target])

    known = (class_map != VOID).flatten()
    classes = class_map.flatten()[known]
    pixels = embedding.permute(0, 2, 3, 1).flatten(0, 2)[known]  # (P, D)
    # Eq. 9 with the class means held fixed: they are moved by Eq. 15 alone.
    log_psi = log_class_kernel(pixels, outputs["class_mean"].detach(), outputs["class_log_sigma"]).log_softmax(1)
    terms = {
        "seg": lovasz_softmax(log_psi.exp().T, classes),  # Eq. 12
        "seg_mean": class_mean_loss(class_mean, pixels.detach(), classes),
        "ins": torch.cat(ins).mean() if ins else zero,
        "ins_var": weights.gamma * torch.cat(ins_var).mean() if ins_var else zero,  # Eq. 14
        "seed": torch.cat(seed_loss).mean() if sum(map(len, seed_loss)) else zero,
    }
    total = (weights.seg * terms["seg"] + weights.seg_mean * terms["seg_mean"]
             + weights.ins * terms["ins"] + terms["ins_var"] + weights.seed * terms["seed"])  # Eq. 16
    if weights.cross_entropy and len(classes):
        terms["cross_entropy"] = F.nll_loss(log_psi, classes)
        total = total + weights.cross_entropy * terms["cross_entropy"]
    return {"total": total, **terms}


def instance_probability(embedding: Tensor, log_sigma: Tensor, position: Tensor, member: Tensor,
                         spatial_log_sigma: Tensor) -> Tensor:
    """phi_l(e_i) of Eq. 8 with the means of Eq. 10: embedding (P, D), position (P, 2), log_sigma (P,), member (L, P)
    bool -> (L, P)."""
    share = member.float() / member.sum(1, keepdim=True)
    mean = F.normalize(share @ embedding, dim=1)
    log_phi = log_instance_kernel(pixel_features(embedding, position), mean, share @ position, share @ log_sigma,
                                  spatial_log_sigma)
    return log_phi.T.contiguous().clamp(max=0).exp()


def variance_loss(log_sigma: Tensor, member: Tensor) -> Tensor:
    """Eq. 14 without gamma, on the logarithms: squared distance to the instance's mean, for each pixel of an instance.

    log_sigma: (P,), member: (L, P) bool, disjoint. Returns (pixels inside,).
    """
    share = member.float() / member.sum(1, keepdim=True)
    mean = (share @ log_sigma).detach()
    inside = member.any(0)
    return (log_sigma - mean[member.int().argmax(0)]).square()[inside]


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
