"""The nearest seed of each pixel, tile by tile, against all seeds at all pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from panoptic_ros.methods.hle.kernels import log_instance_kernel, pixel_features, position_grid
from panoptic_ros.methods.hle.nearest_seed import Seeds, nearest_seed


@pytest.mark.parametrize("mask", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("size", [(16, 64), (21, 75), (3, 5)])
def test_where_a_kernel_is_above_the_threshold_the_best_seed_is_that_of_all(size: tuple[int, int],
                                                                            mask: float) -> None:
    generator = torch.Generator().manual_seed(0)
    embedding = F.normalize(torch.rand(6, *size, generator=generator), dim=0)
    pixels, position = embedding.flatten(1).T, position_grid(*size)
    chosen = torch.randperm(size[0] * size[1], generator=generator)[:12]
    # From kernels of a few pixels to such that reach over the map.
    seeds = Seeds(pixels[chosen], position.view(-1, 2)[chosen], torch.full((12,), -1.0), torch.linspace(-4.5, 0.0, 12))
    expected, nearest = log_instance_kernel(pixel_features(pixels, position.view(-1, 2)), *seeds).max(1)
    log_mask = math.log(mask) if mask else -math.inf
    best, found = nearest_seed(embedding, position, seeds, log_mask)
    inside = expected > log_mask
    assert inside.any()
    assert torch.equal(best > log_mask, inside)
    torch.testing.assert_close(best[inside], expected[inside])
    assert torch.equal(found[inside], nearest[inside])


def test_a_seed_that_is_not_finite_takes_no_pixel_and_leaves_the_others_theirs() -> None:
    embedding, position = F.normalize(torch.ones(4, 8, 32), dim=0), position_grid(8, 32)
    row = torch.tensor([0, 40])
    seeds = Seeds(embedding.flatten(1).T[row], position.view(-1, 2)[row], torch.full((2,), -1.0),
                  torch.tensor([torch.nan, -1.0]))
    best, found = nearest_seed(embedding, position, seeds, math.log(0.5))
    assert (best > math.log(0.5)).all()
    assert (found == 1).all()
