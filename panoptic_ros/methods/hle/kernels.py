"""The kernels of the hierarchical embedding space (Eq. 7-9), as logarithms and as one matrix product each.

Every kernel is the exponential of something linear in a pixel's features. The decode and the loss compare, sort and
multiply millions of them, so they are computed as a product of small matrices and exponentiated only where needed.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Cells of the network's output to one unit of position: the height of an image of 512 x 1024. The paper's unit is the
# image's height; a constant one means the same in a crop, in an image of any shape and in training.
CELLS_PER_UNIT = 128


def position_grid(height: int, width: int, device: torch.device | str = "cpu",
                  cells: float = CELLS_PER_UNIT) -> Tensor:
    """Coordinates rho (H, W, 2) of pixel centres, x then y, with `cells` pixels of the grid to one unit.

    At a quarter of 512 x 1024 that is x in [0, 2] and y in [0, 1].
    """
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / cells
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / cells
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], 2)


def log_class_kernel(embedding: Tensor, class_mean: Tensor, class_log_sigma: Tensor) -> Tensor:
    """log p_k(e_i) of Eq. 7 for classes: -d_cos(e_i, mu_k) / (2 sigma_k^2).

    embedding (P, D) unit rows, class_mean (C, D) unit rows, class_log_sigma (C,) -> (P, C). Its softmax over the
    classes is psi (Eq. 9).
    """
    weights, offset = class_weights(class_mean, class_log_sigma)
    return torch.addmm(offset, embedding, weights.T)


def class_weights(class_mean: Tensor, class_log_sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (C, D) and offset (C,) of Eq. 7 as a linear map: log p_k = weights_k e + offset_k."""
    precision = 0.5 * torch.exp(-2 * class_log_sigma)
    return precision[:, None] * class_mean, -precision


def pixel_features(embedding: Tensor, position: Tensor) -> Tensor:
    """(e, rho, |rho|^2), in which log phi of Eq. 8 is linear: embedding (P, D) and position (P, 2) -> (P, D + 3)."""
    return torch.cat([embedding, position, position.square().sum(1, keepdim=True)], 1)


def log_instance_kernel(features: Tensor, mean: Tensor, centre: Tensor, log_sigma: Tensor,
                        spatial_log_sigma: Tensor) -> Tensor:
    """log phi_l(e_i) of Eq. 8, which is log Phi of section 3.5 when the instances are seeds.

    features (P, D + 3) of the pixels, mean (L, D) unit rows, centre (L, 2), log_sigma (L,), spatial_log_sigma (L,),
    or () where all share it -> (P, L).
    """
    weights, offset = instance_weights(mean, centre, log_sigma, spatial_log_sigma)
    return torch.addmm(offset, features, weights.T)


def instance_weights(mean: Tensor, centre: Tensor, log_sigma: Tensor,
                     spatial_log_sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (L, D + 3) and offset (L,) of Eq. 8 as a linear map: log phi_l = weights_l features + offset_l.

    The arguments are those of `log_instance_kernel`, the features those of `pixel_features`.
    """
    precision = 0.5 * torch.exp(-2 * log_sigma)[:, None]
    spatial = 0.5 * torch.exp(-2 * spatial_log_sigma).expand(len(mean))[:, None]
    # |rho_i - rho_l|^2 = |rho_i|^2 - 2 rho_i rho_l + |rho_l|^2
    offset = -precision - spatial * centre.square().sum(1, keepdim=True)
    return torch.cat([precision * mean, 2 * spatial * centre, -spatial], 1), offset[:, 0]
