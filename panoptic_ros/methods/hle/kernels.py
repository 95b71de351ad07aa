"""The kernels of the hierarchical embedding space (Eq. 7-9), as logarithms and as one matrix product each.

Every kernel is the exponential of something linear in a pixel's features. The decode and the loss compare, sort and
multiply millions of them, so they are computed as a product of small matrices and exponentiated only where needed.
"""

from __future__ import annotations

import torch
from torch import Tensor


def position_grid(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Coordinates rho (2, H, W) of pixel centres, x then y, in units of the image height.

    At an image of 2:1 that is x in [0, 2] and y in [0, 1].
    """
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / height
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])


def log_class_kernel(embedding: Tensor, class_mean: Tensor, class_log_sigma: Tensor) -> Tensor:
    """log p_k(e_i) of Eq. 7 for classes: -d_cos(e_i, mu_k) / (2 sigma_k^2).

    embedding (D, P) unit columns, class_mean (C, D) unit rows, class_log_sigma (C,) -> (C, P). Its softmax over the
    classes is psi (Eq. 9).
    """
    precision = 0.5 * torch.exp(-2 * class_log_sigma)[:, None]
    return torch.addmm(-precision, precision * class_mean, embedding)


def log_instance_kernel(embedding: Tensor, position: Tensor, mean: Tensor, centre: Tensor, log_sigma: Tensor,
                        spatial_log_sigma: Tensor) -> Tensor:
    """log phi_l(e_i) of Eq. 8, which is log Phi of section 3.5 when the instances are seeds.

    embedding (D, P) unit columns, position (2, P), mean (L, D) unit rows, centre (L, 2), log_sigma (L,),
    spatial_log_sigma () -> (L, P).
    """
    precision = 0.5 * torch.exp(-2 * log_sigma)[:, None]
    spatial = 0.5 * torch.exp(-2 * spatial_log_sigma)
    # |rho_i - rho_l|^2 = |rho_i|^2 - 2 rho_i rho_l + |rho_l|^2: the first term is the same for all instances.
    offset = -precision - spatial * centre.square().sum(1, keepdim=True)
    weights = torch.cat([precision * mean, 2 * spatial * centre], 1)
    features = torch.cat([embedding, position], 0)
    return torch.addmm(offset, weights, features) - spatial * position.square().sum(0)
