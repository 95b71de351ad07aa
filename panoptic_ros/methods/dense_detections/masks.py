"""Masks from dense boxes without parameters (section 3.2): which pixels are in the mask of which query box."""

from __future__ import annotations

import torch
from torch import Tensor

from panoptic_ros.methods.dense_detections.boxes import location_probability

# Pixels are looked at in squares of this side: what no pixel of a square can reach is ruled out for all at once.
SIDE = 8
# Pairs of a square and a query box that are compared at once: on a CPU what fits into its cache, on a GPU what bounds
# memory.
PAIRS_AT_ONCE = {"cpu": 1 << 10, "cuda": 1 << 16}
# Above what rounding can lift a comparison of boxes over its bound.
ROUNDING = 1e-4


def mask_pixels(dense: Tensor, semantic: Tensor, query: Tensor, query_class: Tensor, sigma: float,
                generalised: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """The masks of Eq. 7, one entry for each pixel of each mask: pixel (E,), query box (E,), probability (E,) of Eq. 5.

    dense: (K, 4, h, w) boxes of the pixels, h and w multiples of 8. semantic: (C, h, w) probabilities. query: (J, 4),
    of the classes query_class (J,). A pixel's number is y w + x.

    The same as comparing every pixel with every query box: a square of pixels is compared with those query boxes that
    an upper bound of Eq. 5 does not rule out, which are a few of hundreds.
    """
    classes, class_row = query_class.unique(return_inverse=True)
    boxes, probability = _squares(dense), _squares(semantic[classes])
    number = _squares(torch.arange(semantic[0].numel(), device=dense.device).view(semantic.shape[1:]))
    bound = _largest_probability(boxes, (probability > sigma).any(0), query) * probability.amax(2)[class_row].T
    square, target = (bound > sigma).nonzero(as_tuple=True)
    entries = []
    count = PAIRS_AT_ONCE[dense.device.type]
    for s, j in zip(square.split(count), target.split(count), strict=True):
        location = location_probability(boxes.index_select(2, s).movedim(1, 3), query[j, None], generalised)
        mask = location * probability.flatten(0, 1)[class_row[j] * len(number) + s]  # Eq. 5, (pairs, pixels)
        inside = mask > sigma  # Eq. 7
        pair = inside.nonzero()[:, 0]
        entries.append((number[s][inside], j[pair], mask[inside]))
    pixel, owner, score = (torch.cat(column) for column in zip(*entries, strict=True))
    return pixel, owner, score


def _squares(maps: Tensor) -> Tensor:
    """(..., h, w) -> (..., S, pixels): square after square, in each row by row."""
    *leading, height, width = maps.shape
    down, across = height // SIDE, width // SIDE
    return maps.view(*leading, down, SIDE, across, SIDE).transpose(-3, -2).reshape(*leading, down * across, SIDE**2)


def _largest_probability(boxes: Tensor, possible: Tensor, query: Tensor) -> Tensor:
    """An upper bound of P_loc between the query boxes (J, 4) and the possible pixels (S, pixels) of a square: (S, J).

    boxes (K, 4, S, pixels). No pixel shares more with a query box than the hull of all does, nor covers less than the
    smallest. The bound holds for both mask scores, as (I + 1) / (U + 1) is above I / U.
    """
    infinity = torch.tensor(torch.inf, device=boxes.device)
    x0, y0 = torch.where(possible, boxes[:, :2], infinity).amin(3)[..., None].unbind(1)  # (K, S, 1)
    x1, y1 = torch.where(possible, boxes[:, 2:], -infinity).amax(3)[..., None].unbind(1)
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    area = torch.where(possible, width * height, infinity).amin(2)[..., None]
    qx0, qy0, qx1, qy1 = query.T
    shared = ((torch.minimum(x1, qx1) - torch.maximum(x0, qx0)).clamp(min=0)
              * (torch.minimum(y1, qy1) - torch.maximum(y0, qy0)).clamp(min=0))
    union = area + (qx1 - qx0) * (qy1 - qy0) - shared
    return ((shared + 1) / (union + 1)).amax(0) + ROUNDING
