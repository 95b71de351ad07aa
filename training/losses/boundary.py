"""Distance of pixels to the nearest boundary of a label map, and weights that fall with it (edge distance sampling)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor


def distance_to_boundary(labels: Tensor) -> Tensor:
    """Exact Euclidean distance (B, h, w) float32, pixels, to the nearest pixel beside one of another label.

    labels: (B, h, w) integers. A pixel that has a neighbour of another label, left, right, above or below, has 0. The
    border of the image is no boundary; an image of one label has inf. Computed on the CPU.
    """
    right, below = labels[:, :, 1:] != labels[:, :, :-1], labels[:, 1:] != labels[:, :-1]
    boundary = torch.zeros_like(labels, dtype=torch.bool)
    boundary[:, :, 1:] |= right
    boundary[:, :, :-1] |= right
    boundary[:, 1:] |= below
    boundary[:, :-1] |= below
    distances = [cv2.distanceTransform((~image).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
                 if image.any() else np.full(image.shape, np.inf, np.float32) for image in boundary.cpu().numpy()]
    return torch.from_numpy(np.stack(distances)).to(labels.device)


def boundary_weight(distance: Tensor, scale: float, least: float = 0.0) -> Tensor:
    """Weight of each pixel by its distance to the nearest boundary: 1 there, `least` far away (Eq. 5 of centroid
    embedding; scale: D, least: w_min)."""
    return least + (1 - least) * (-(distance / scale).square()).exp()


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """The mean of values by weights of the same shape; 0, and still part of the graph, where no weight is above 0."""
    total = weight.sum()
    return (values * weight).sum() / torch.where(total > 0, total, torch.ones_like(total))
