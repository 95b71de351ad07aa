"""Matching of boxes to the truth, and the sampling of positives and negatives, for detectors with anchors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# In place of an object's row: no object, or neither an object nor none.
NEGATIVE, IGNORED = -1, -2


def match_boxes(iou: Tensor, positive: float, negative: float, best_of_each: bool = False) -> Tensor:
    """The object that each box is matched to (Ren et al. 2015), (N,) int64: a row, NEGATIVE or IGNORED.

    iou: (G, N) of G objects and N boxes. A box is an object's from an IoU of `positive` on, negative below `negative`.
    best_of_each: the box that overlaps an object most is that object's, however little it is.
    """
    if not len(iou):
        return torch.full((iou.shape[1],), NEGATIVE, device=iou.device)
    value, row = iou.max(0)
    match = torch.where(value >= positive, row, torch.where(value < negative, NEGATIVE, IGNORED))
    if best_of_each:
        value, box = iou.max(1)
        overlaps = value > 0
        match[box[overlaps]] = overlaps.nonzero()[:, 0]
    return match


def sample_matches(match: Tensor, count: int, positive_share: float,
                   generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of at most `count` boxes of a match (N,), drawn at random: of positives, at most their share, and negatives.

    generator: of the CPU, so that all devices draw alike.
    """
    positive, negative = (match >= 0).nonzero()[:, 0], (match == NEGATIVE).nonzero()[:, 0]
    positive = _drawn(positive, int(count * positive_share), generator)
    return positive, _drawn(negative, count - len(positive), generator)


def _drawn(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if len(rows) <= count:
        return rows
    return rows[torch.randperm(len(rows), generator=generator, device="cpu")[:count].to(rows.device)]


def covered_share(box: Tensor, mask: Tensor) -> Tensor:
    """The share (N,) of each box (N, 4) that a mask (h, w) bool covers; the sides are rounded to whole pixels."""
    height, width = mask.shape
    sums = F.pad(mask.float().cumsum(0).cumsum(1), (1, 0, 1, 0))
    x0, y0, x1, y1 = box.round().long().unbind(1)
    x0, x1, y0, y1 = x0.clamp(0, width), x1.clamp(0, width), y0.clamp(0, height), y1.clamp(0, height)
    covered = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
    return covered / ((x1 - x0) * (y1 - y0)).clamp(min=1)
