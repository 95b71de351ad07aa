"""Boxes (x0, y0, x1, y1) as float tensors: how much they share, and which of many stand for the same object."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms


def intersection_over_union(first: Tensor, second: Tensor) -> Tensor:
    """IoU of boxes (..., 4) with boxes (..., 4), broadcast against each other; 0 where both are empty."""
    shared, union, _ = _areas(first, second)
    return shared / union.clamp(min=1e-6)


def generalised_overlap(first: Tensor, second: Tensor) -> Tensor:
    """IoU minus the share of the hull of both boxes that neither covers, as broadcast as the IoU; -1 to 1.

    The mask score of the dense detections' published code: one pixel is added to intersection and union.
    """
    shared, union, hull = _areas(first, second)
    return (shared + 1) / (union + 1) - (hull - union) / hull.clamp(min=1e-6)


def _areas(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Intersection, union and hull. Coordinate by coordinate: a (N, M, 4) tensor of corners would be four times larger
    than anything that is needed."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = first.unbind(-1), second.unbind(-1)
    width = (torch.minimum(ax1, bx1) - torch.maximum(ax0, bx0)).clamp(min=0)
    height = (torch.minimum(ay1, by1) - torch.maximum(ay0, by0)).clamp(min=0)
    shared = width * height
    union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - shared
    hull = (torch.maximum(ax1, bx1) - torch.minimum(ax0, bx0)) * (torch.maximum(ay1, by1) - torch.minimum(ay0, by0))
    return shared, union, hull


def suppress_by_class(box: Tensor, score: Tensor, class_id: Tensor, threshold: float) -> Tensor:
    """Non-maximum suppression among boxes of the same class: indices of those that stay, best first.

    box (N, 4), score (N,), class_id (N,); of two boxes with an IoU above the threshold the better stays.
    """
    # Classes are moved so far apart that their boxes do not meet.
    span = box.amax() - box.amin() + 1 if len(box) else 0
    kept: Tensor = nms(box + (class_id * span)[:, None], score, threshold)
    return kept
