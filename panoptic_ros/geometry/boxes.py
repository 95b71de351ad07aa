"""Boxes (x0, y0, x1, y1), float tensors that broadcast: IoU, generalised IoU, and boxes as deltas from anchors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Box deltas of logarithms are clamped here when they are decoded: a factor of 62.5 (as Faster R-CNN's codes do).
MAX_LOG_DELTA = math.log(1000 / 16)
# Sides of boxes without area count as this, in pixels: their deltas stay finite.
MIN_SIDE = 1e-3


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


def encode_boxes(box: Tensor, anchor: Tensor,
                 weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Deltas (dx, dy, dw, dh) (..., 4) of boxes (..., 4) from their anchors (..., 4) (Ren et al. 2015).

    dx, dy: between the centres, in sides of the anchor; dw, dh: logarithms of the ratios of the sides; each times its
    weight. Sides below `MIN_SIDE` count as that.
    """
    center, size = _center_and_size(box)
    anchor_center, anchor_size = _center_and_size(anchor)
    size, anchor_size = size.clamp(min=MIN_SIDE), anchor_size.clamp(min=MIN_SIDE)
    deltas = torch.cat([(center - anchor_center) / anchor_size, (size / anchor_size).log()], -1)
    return deltas * deltas.new_tensor(weights)


def decode_boxes(deltas: Tensor, anchor: Tensor,
                 weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """Boxes (..., 4) that `encode_boxes` makes these deltas (..., 4) of, with dw, dh at most `MAX_LOG_DELTA`."""
    shift, log_scale = (deltas / deltas.new_tensor(weights)).split(2, -1)
    anchor_center, anchor_size = _center_and_size(anchor)
    center = anchor_center + shift * anchor_size
    half = log_scale.clamp(max=MAX_LOG_DELTA).exp() * anchor_size / 2
    return torch.cat([center - half, center + half], -1)


def _center_and_size(box: Tensor) -> tuple[Tensor, Tensor]:
    """Center and width and height, (..., 2) each."""
    corner, opposite = box.split(2, -1)
    return (corner + opposite) / 2, opposite - corner


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
