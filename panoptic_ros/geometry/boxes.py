"""Overlap of boxes (x0, y0, x1, y1), float tensors that broadcast: IoU and generalised IoU."""

from __future__ import annotations

import torch
from torch import Tensor


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of boxes (..., 4) with boxes (..., 4), broadcast against each other; 0 where both are empty."""
    intersection, union, _ = _areas(first, second)
    return intersection / union.clamp(min=1e-6)


def generalized_box_iou(first: Tensor, second: Tensor) -> Tensor:
    """GIoU (Rezatofighi et al. 2019): IoU minus the share of the enclosing box that neither covers; -1 to 1.

    Broadcast as the IoU. One pixel is added to intersection and union, as dense detections' published code does.
    """
    intersection, union, enclosing = _areas(first, second)
    return (intersection + 1) / (union + 1) - (enclosing - union) / enclosing.clamp(min=1e-6)


def _areas(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Intersection, union and enclosing box. Coordinate by coordinate: a (N, M, 4) tensor of corners would be four
    times larger than anything that is needed."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = first.unbind(-1), second.unbind(-1)
    width = (torch.minimum(ax1, bx1) - torch.maximum(ax0, bx0)).clamp(min=0)
    height = (torch.minimum(ay1, by1) - torch.maximum(ay0, by0)).clamp(min=0)
    intersection = width * height
    union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - intersection
    enclosing = ((torch.maximum(ax1, bx1) - torch.minimum(ax0, bx0))
                 * (torch.maximum(ay1, by1) - torch.minimum(ay0, by0)))
    return intersection, union, enclosing
