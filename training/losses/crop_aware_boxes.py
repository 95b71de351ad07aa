"""Smooth-L1 loss of boxes and its crop-aware form, CABB (Porzi et al. 2021, "Improving Panoptic Segmentation at All
Scales", sections 2.2 to 2.4, appendices A and B).

What is done other than printed:

- Any weights of the deltas. With weights (w, v) of offset and logarithm the objective of (O1) is
  l(w (omega - omega^) / 2) + l(v (log omega - log omega_P)), l = smooth L1 of beta. The paper's analysis, on its sign
  function sigma(omega) = omega xi'(omega) throughout, holds for those too; `_stationary_points` has the pieces.
- Proposition 8 needs nu_1 < nu_2, algorithm 1 a `<=` in lines 4 and 6 (it returns omega_0 where omega^ = omega_P >
  omega_0), and an interval J that is empty must be skipped. Here points from outside are moved into the interval of
  Proposition 5 and compared by their objective: a point too many does no harm.
- Only sides that this crop has cut are free (footnote 2), and only as far inwards as the visible box goes. That is the
  crop's border, unless something hides the object there: then no place between is penalised, and the visible box itself
  stays feasible, so that L_CABB <= L_BB always.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.geometry.boxes import MIN_SIDE, encode_boxes

# Halvings of an interval of log omega. The objective is flat at its minimum: its error goes with the square of 2^-30.
BISECTIONS = 30


def box_loss(deltas: Tensor, target_box: Tensor, anchor: Tensor, cut: Tensor | None = None,
             crop_size: tuple[int, int] | None = None,
             weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0), beta: float = 1.0) -> Tensor:
    """Loss (N,) of predicted box deltas (N, 4): L_BB of Eq. 1, or with `cut` L_CABB of Eq. 2.

    deltas: as the network gives them, that is, times the weights of `encode_boxes`. target_box: (N, 4) pixels, the box
    of what the crop shows. anchor: (N, 4) pixels. cut: (N, 4) bool, which of left, top, right and bottom this crop has
    truncated. crop_size: (height, width) pixels, needed with `cut`; a target box may extend beyond it on cut sides.
    beta: > 0, half the width of the quadratic part of smooth L1 (in weighted deltas).

    The gradient is that of Eq. 1 towards the solution of the inner minimisation (Proposition 1).
    """
    if cut is None:
        target = encode_boxes(target_box, anchor, weights).detach()
    else:
        if crop_size is None:
            raise ValueError("cut needs the crop_size")
        target = closest_target(deltas, target_box, anchor, cut, crop_size, weights, beta)
    return F.smooth_l1_loss(deltas, target, reduction="none", beta=beta).sum(1)


@torch.no_grad()
def closest_target(deltas: Tensor, target_box: Tensor, anchor: Tensor, cut: Tensor, crop_size: tuple[int, int],
                   weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0), beta: float = 1.0) -> Tensor:
    """Solution (N, 4) of Eq. 2's minimisation: of all boxes that this crop would show as the target box, the one with
    the smallest L_BB, as weighted deltas. Arguments as `box_loss` takes them.
    """
    height, width = crop_size
    limit = target_box.new_tensor([0, 0, width, height])
    inside = torch.cat([target_box[:, :2].maximum(limit[:2]), target_box[:, 2:].minimum(limit[2:])], 1)
    target_box = torch.where(cut, inside, target_box)
    target = encode_boxes(target_box, anchor, weights)

    # From here (2, N): x and y at once. Double precision, as omega^ - omega and sides far from the anchor cancel.
    offset_weight, log_weight = deltas.new_tensor(weights, dtype=torch.float64).view(2, 2, 1)
    delta, log_omega = deltas.double().T.reshape(2, 2, -1)
    delta, log_omega = delta / offset_weight, log_omega / log_weight
    low, high = anchor.double().T.reshape(2, 2, -1)
    size = (high - low).clamp(min=MIN_SIDE)
    a, b = (target_box.double().T.reshape(2, 2, -1) - (low + high) / 2) / size  # a_1, b_1; a_2, b_2 where both are cut
    cut_low, cut_high = cut.T.reshape(2, 2, -1)

    # (O1) with the low side on a and the high one free, and the other way round. (O2) tries both (algorithm 2).
    omega_hat = torch.stack([2 * (delta - a), 2 * (b - delta)])
    log_minimum = (b - a).clamp(min=MIN_SIDE / size).log()
    solution, objective = _solve_o1(omega_hat, log_omega, log_minimum, offset_weight, log_weight, beta)
    objective = torch.where(torch.stack([cut_high, cut_low]), objective, math.inf)
    half = solution.exp() / 2
    takes_low = objective[0] <= objective[1]
    best_delta = torch.where(takes_low, a + half[0], b - half[1])
    best_log = torch.where(takes_low, solution[0], solution[1])
    # The prediction itself where it is feasible (algorithm 2, line 4).
    is_solved = cut_low & cut_high & (log_omega.exp() >= omega_hat.amax(0))
    best_delta, best_log = torch.where(is_solved, delta, best_delta), torch.where(is_solved, log_omega, best_log)

    best = torch.stack([best_delta * offset_weight, best_log * log_weight]).view(4, -1).T.to(target.dtype)
    return torch.where((cut[:, :2] | cut[:, 2:]).repeat(1, 2), best, target)


def _solve_o1(omega_hat: Tensor, log_omega: Tensor, log_minimum: Tensor, offset_weight: Tensor, log_weight: Tensor,
              beta: float) -> tuple[Tensor, Tensor]:
    """log omega at the solution of (O1) and the objective there, each of the broadcast shape; all double.

    omega_hat: may be negative. log_omega: log of omega_P. log_minimum: log of omega_0 = b_1 - a_1. Works on log omega,
    which neither overflows nor loses the small ones.
    """
    points = _stationary_points(omega_hat, log_omega, log_minimum, offset_weight / 2, log_weight, beta)
    objective = (_smooth_l1(offset_weight * (points.exp() - omega_hat) / 2, beta)
                 + _smooth_l1(log_weight * (points - log_omega), beta))
    objective, best = objective.min(0)
    return points.gather(0, best[None])[0], objective


def _stationary_points(omega_hat: Tensor, log_omega: Tensor, log_minimum: Tensor, c: Tensor, v: Tensor,
                       beta: float) -> Tensor:
    """log omega (5, ...) of points among which a solution of (O1) is.

    With c half the offset's weight, v the logarithm's and h clamping to [-1, 1], the derivative by log omega is

        sigma(omega) = c omega h(c (omega - omega^) / beta) + v h(v log(omega / omega_P) / beta).

    A solution is the lower end of the interval of Proposition 5, at whose upper end sigma >= 0, or a root where sigma
    rises. If omega^ > omega_P, the first term is linear in omega up to omega^ - beta / c and quadratic from there, the
    second is constant from omega_P e^(beta / v) on, and sigma rises (Proposition 8, where c = 1/2 and v = 1)

    - first linear, second not constant: up to v^2 / (beta c). Where the second is constant, too, it only falls;
    - first quadratic, second not constant: up to nu_1 and from nu_2 on, the roots of 2 nu^2 - omega^ nu + (v / c)^2, or
      everywhere if there are none (J_1, J_3 to J_5);
    - first quadratic, second constant: from omega^ / 2 on, where its root is that of a quadratic equation (J_2).

    If omega^ <= omega_P, sigma rises in the whole interval (Proposition 6), and that is the third of those bisected.
    """
    log_hat = omega_hat.clamp(min=1e-30).log()
    low = torch.maximum(log_minimum, torch.minimum(log_hat, log_omega))
    high = torch.maximum(low, torch.maximum(log_hat, log_omega))

    def into_interval(points: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(points, low), high)

    is_quadratic = into_interval((omega_hat - beta / c).clamp(min=1e-30).log())
    is_constant = into_interval(log_omega + beta / v)
    spread = (1 - 8 * ((v / c) / omega_hat).square()).clamp(min=0).sqrt()
    nu_1, nu_2 = (into_interval((omega_hat / 4 * factor).clamp(min=1e-30).log()) for factor in (1 - spread, 1 + spread))
    first_end = torch.minimum(torch.minimum(is_quadratic, is_constant), into_interval((v.square() / (beta * c)).log()))
    start = torch.stack([low, is_quadratic, torch.maximum(is_quadratic, nu_2)])
    end = torch.stack([first_end, torch.minimum(is_constant, nu_1), is_constant])
    width = (end - start).clamp(min=0)
    for _ in range(BISECTIONS):  # algorithm 3
        width = width / 2
        middle = start + width
        omega = middle.exp()
        sigma = (c * omega * (c / beta * (omega - omega_hat)).clamp(-1, 1)
                 + v * (v / beta * (middle - log_omega)).clamp(-1, 1))
        start = torch.where(sigma < 0, middle, start)
    root = (omega_hat + (omega_hat.square() - 4 * beta * v / c.square()).clamp(min=0).sqrt()) / 2
    return torch.cat([start + width / 2, torch.stack([low, into_interval(root.clamp(min=1e-30).log())])])


def _smooth_l1(difference: Tensor, beta: float) -> Tensor:
    """Smooth L1 (Huber) norm of Eq. 1, elementwise."""
    return F.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="none", beta=beta)
