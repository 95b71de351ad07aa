"""HLE's kernels as matrix products against the formulas as printed."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from panoptic_ros.methods.hle.kernels import (
    log_class_kernel,
    log_instance_kernel,
    pixel_features,
    position_grid,
)


def test_positions_are_pixel_centres_in_units_of_a_picture_of_512_by_1024() -> None:
    grid = position_grid(512 // 4, 1024 // 4)
    assert grid[0, 0].tolist() == [0.5 / 128, 0.5 / 128]
    assert grid[127, 255].tolist() == [2 - 0.5 / 128, 1 - 0.5 / 128]
    # Two pixels are as far apart in a crop as they are in the picture.
    assert torch.equal(position_grid(20, 30), grid[:20, :30])


def test_class_kernel_is_equation_7() -> None:
    mean, embedding = F.normalize(torch.randn(3, 5), dim=1), F.normalize(torch.randn(7, 5), dim=1)
    log_sigma = torch.tensor([-1.0, 0.0, 0.5])
    result = log_class_kernel(embedding, mean, log_sigma)
    for k in range(3):
        for i in range(7):
            distance = 1 - float(mean[k] @ embedding[i])
            assert result[i, k].item() == pytest.approx(-distance / (2 * math.exp(log_sigma[k]) ** 2), abs=1e-5)


def test_instance_kernel_is_equation_8() -> None:
    embedding, position = F.normalize(torch.randn(7, 5), dim=1), torch.rand(7, 2)
    mean, centre = F.normalize(torch.randn(3, 5), dim=1), torch.rand(3, 2)
    log_sigma, spatial = torch.tensor([-1.0, 0.0, 0.5]), torch.tensor([-0.3, -2.0, 0.2])
    result = log_instance_kernel(pixel_features(embedding, position), mean, centre, log_sigma, spatial)
    for j in range(3):
        for i in range(7):
            distance = 1 - float(mean[j] @ embedding[i])
            apart = float((position[i] - centre[j]).square().sum())
            expected = -distance / (2 * math.exp(log_sigma[j]) ** 2) - apart / (2 * math.exp(spatial[j]) ** 2)
            assert result[i, j].item() == pytest.approx(expected, abs=1e-4)


def test_a_pixel_at_the_mean_and_the_centre_scores_one() -> None:
    e, rho = F.normalize(torch.randn(1, 4), dim=1), torch.tensor([[0.4, 0.6]])
    score = log_instance_kernel(pixel_features(e, rho), e, rho, torch.tensor([-2.0]), torch.tensor(-1.0)).exp()
    assert score.item() == pytest.approx(1, abs=1e-5)
