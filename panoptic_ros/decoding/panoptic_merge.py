"""Panoptic merge: overlapping instance masks, best first, become one label map (Kirillov et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor


def panoptic_merge(pixel: Tensor, instance: Tensor, pixels: int, instances: int, overlap_threshold: float,
                   weight: Tensor | None = None) -> Tensor:
    """Label map of overlapping masks: each pixel goes to the best kept instance that covers it.

    pixel, instance: (E,) int64, that the mask of instance 0 .. instances - 1, best first, covers pixel 0 .. pixels - 1;
    no pair twice. An instance is dropped if kept better ones hide more of it than the share `overlap_threshold`, and
    its pixels are free for worse ones. weight: (pixels,) int64, area of each, where they are groups of pixels.
    Returns (pixels,) int64: 0 = none, k = instance k - 1.
    """
    def count(covered: Tensor) -> Tensor:
        covered = covered.long() if weight is None else covered * weight[pixel]
        return instance.new_zeros(instances).scatter_add_(0, instance, covered)

    area = count(torch.ones_like(instance))
    keep = torch.ones(instances, dtype=torch.bool, device=pixel.device)
    # As in `greedy_suppression`: the result of going through the instances one by one is the only fixed point of this
    # step, and a handful of steps reaches it.
    while True:
        claims = torch.where(keep[instance], instance, instances)
        best = instance.new_full((pixels,), instances).scatter_reduce_(0, pixel, claims, "amin")
        settled = count(best[pixel] < instance) <= overlap_threshold * area
        if torch.equal(settled, keep):
            return torch.where(best < instances, best + 1, 0)
        keep = settled
