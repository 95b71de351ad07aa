"""The crop-aware box loss against numbers worked by hand, the paper's algorithms 1 to 3, and grids of boxes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.geometry.boxes import decode_boxes, encode_boxes
from training.losses.crop_aware_boxes import box_loss, closest_target

CROP = (256, 512)
UNIT = (1.0, 1.0, 1.0, 1.0)
# Unit weights, those of a detection head, and ones that set offset and logarithm far apart either way.
WEIGHTS = (UNIT, (10.0, 10.0, 5.0, 5.0), (0.3, 1.0, 7.0, 4.0), (6.0, 20.0, 0.5, 1.0))
BETAS = (1 / 9, 1.0, 2.0, 6.0)


def l1(z: Tensor | float, beta: float) -> Tensor:
    """Smooth L1 as the paper prints it."""
    z = torch.as_tensor(z, dtype=torch.float64).abs()
    return torch.where(z <= beta, z * z / (2 * beta), z - beta / 2)


def random_cases(count: int, seed: int, weights: tuple[float, float, float, float] = UNIT,
                 ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weighted deltas, visible box, anchor and cut of `count` boxes, double: from predictions that nearly fit to some
    whose sides are thousands of anchors away from the truth's."""
    generator = torch.Generator().manual_seed(seed)
    rand = partial(torch.rand, generator=generator, dtype=torch.float64)
    size = torch.tensor(CROP[::-1]).double()
    low = rand(count, 2) * size * 0.8
    high = low + 1 + rand(count, 2) * (size - low - 1)
    cut = rand(count, 4) < 0.5
    target = torch.where(cut, torch.cat([torch.zeros(2), size]), torch.cat([low, high], 1))
    extent = target[:, 2:] - target[:, :2]
    center = (target[:, :2] + target[:, 2:]) / 2 + (rand(count, 2) - 0.5) * extent
    half = extent * (4 * (rand(count, 2) - 0.6)).exp() / 2
    anchor = torch.cat([center - half, center + half], 1)
    spread = 10 ** (3 * rand(count, 1) - 2)
    noise = torch.randn(count, 4, generator=generator, dtype=torch.float64) * spread * torch.tensor([1, 1, 0.3, 0.3])
    noise[:, :2] *= rand(count, 2) < 0.8
    deltas = encode_boxes(target, anchor) + noise
    return deltas * deltas.new_tensor(weights), target, anchor, cut


WIDTH = 1000


def along_x(cases: list[list[float]]) -> tuple[Tensor, Tensor, Tensor]:
    """Deltas, visible box and anchor of predictions in a crop 1 high and `WIDTH` wide that are off along x alone, for
    rows of delta_P, omega_P, a, b: the box is as wide as the crop, from a to b in sides of its anchor."""
    delta, omega, a, b = torch.tensor(cases, dtype=torch.float64).T
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    side = WIDTH / (b - a)
    return (torch.stack([delta, zero, omega.log(), zero], 1), torch.stack([zero, zero, WIDTH * one, one], 1),
            torch.stack([side * (-0.5 - a), zero, side * (0.5 - a), one], 1))


def loss_along_x(cases: list[list[float]], cut: str, beta: float) -> list[float]:
    """L_CABB of these, with the sides l or r cut; where only l is, of their mirror images."""
    deltas, target, anchor = along_x(cases)
    if cut == "l":
        deltas = deltas * torch.tensor([-1, 1, 1, 1])
        anchor = anchor[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([WIDTH, 0, WIDTH, 0])
    flags = torch.tensor([[side in cut for side in "ltrb"]]).expand(len(cases), 4)
    return box_loss(deltas, target, anchor, flags, (1, WIDTH), beta=beta).tolist()


def test_eq_1_on_numbers_worked_by_hand() -> None:
    # Centre 2 anchors off, width e times the anchor's, height the half of it.
    anchor = torch.tensor([[0.0, 0, 10, 20]])
    target = torch.tensor([[25 - 5 * math.e, 5, 25 + 5 * math.e, 15]])
    loss = box_loss(torch.zeros(1, 4), target, anchor)
    assert loss.item() == pytest.approx((2 - 0.5) + (1 - 0.5) + math.log(2) ** 2 / 2)
    # Weights multiply the deltas: 20 and 5 times 1, ln 2 times 5.
    loss = box_loss(torch.zeros(1, 4), target, anchor, weights=(10, 10, 5, 5))
    assert loss.item() == pytest.approx((20 - 0.5) + (5 - 0.5) + 5 * math.log(2) - 0.5)


def test_a_solution_within_on_numbers_worked_by_hand() -> None:
    # a_1 = 0, omega_0 = 1.5, delta_P = 2.5, omega_P = 1: omega^ = 5. In J_2 xi' = (omega - 5) / 4 + 1 / omega is 0 at 4
    # (up to 3 it is -1/2 + log(omega) / omega < 0 or 1 / omega - 1/2 with a rise before). So the box from 5 to 45, not
    # the visible one from 5 to 20: l(-1/2) = 1/8, l(log 4) = log 4 - 1/2.
    anchor, target = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 0, 20, 10]])
    deltas = torch.tensor([[2.5, 0, 0, 0]], requires_grad=True)
    cut = torch.tensor([[False, False, True, False]])
    loss = box_loss(deltas, target, anchor, cut, (10, 20))
    assert loss.item() == pytest.approx(0.125 + math.log(4) - 0.5)
    torch.testing.assert_close(decode_boxes(closest_target(deltas, target, anchor, cut, (10, 20)), anchor),
                               torch.tensor([[5.0, 0, 45, 10]]), atol=1e-4, rtol=0)
    # Against the visible box: l(1.75) + l(log 1.5).
    assert box_loss(deltas, target, anchor).item() == pytest.approx(1.25 + math.log(1.5) ** 2 / 2)
    loss.sum().backward()
    assert deltas.grad is not None
    torch.testing.assert_close(deltas.grad, torch.tensor([[0.5, 0, -1, 0]]))


def test_a_solution_at_the_border_on_numbers_worked_by_hand() -> None:
    # Both sides cut, and the prediction is the middle half of the crop: omega_0 = omega^ = 1, omega_P = 1/2.
    anchor = torch.tensor([[0.0, 0, 10, 10]])
    deltas = torch.tensor([[0, 0, math.log(0.5), 0]])
    loss = box_loss(deltas, anchor, anchor, torch.tensor([[True, False, True, False]]), (10, 10))
    assert loss.item() == pytest.approx(math.log(2) ** 2 / 2)


def find_min(u: float, v: float, phi: Callable[[float], float]) -> float:
    """Algorithm 3."""
    if phi(u) >= 0:
        return u
    if phi(v) <= 0:
        return v
    while v - u > 1e-12 * v:
        m = (u + v) / 2
        u, v = (u, m) if phi(m) >= 0 else (m, v)
    return (u + v) / 2


def solve_o1(omega_p: float, hat: float, a: float, b: float, beta: float) -> tuple[float, float, str]:
    """Algorithm 1 with the corrections: objective, omega, and where it was found."""
    def xi(w: float) -> float:
        return float(l1((w - hat) / 2, beta) + l1(math.log(w / omega_p), beta))

    def xi_slope(w: float) -> float:  # Eq. 3
        return (max(-1, min(1, (w - hat) / 2 / beta)) / 2 + max(-1, min(1, math.log(w / omega_p) / beta)) / w)

    def sigma(w: float) -> float:
        return w * xi_slope(w)

    omega_0, e = b - a, math.e
    found = {"omega_0": omega_0}
    if max(omega_0, hat) <= omega_p:
        found = {"Prop. 6": find_min(max(omega_0, hat), omega_p, xi_slope)}
    elif max(omega_0, omega_p) < hat:
        top = min(e ** beta * omega_p, hat)
        bottom = max(omega_0, hat - 2 * beta, e * omega_p)
        intervals = {"J1": (max(omega_0, omega_p), min(e ** min(beta, 1) * omega_p, hat), xi_slope),
                     "J2": (max(omega_0, 2 * math.sqrt(beta), hat - 2 * beta, e ** beta * omega_p), hat, xi_slope)}
        if hat <= 4 * math.sqrt(2):
            intervals["J3"] = (bottom, top, sigma)
        else:
            nu_1, nu_2 = (hat / 4 * (1 + sign * math.sqrt(1 - 32 / hat ** 2)) for sign in (-1, 1))
            intervals |= {"J4": (bottom, min(top, nu_1), sigma), "J5": (max(bottom, nu_2), top, sigma)}
        found |= {"hat": hat} | {name: find_min(*one) for name, one in intervals.items() if one[0] <= one[1]}
    return min((xi(w), w, name) for name, w in found.items())


def solve_o2(delta_p: float, omega_p: float, a: float, b: float, beta: float) -> float:
    """Algorithm 2: the objective."""
    hat_1, hat_2 = 2 * (delta_p - a), 2 * (b - delta_p)
    if omega_p >= max(hat_1, hat_2):
        return 0
    return min(solve_o1(omega_p, hat, a, b, beta)[0] for hat in (hat_1, hat_2))


def one_dimension_cases(count: int, seed: int) -> list[list[float]]:
    """delta_P, omega_P, a, b; half of them over the wide range of a network that knows nothing."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    wide = torch.rand(count, 1, generator=generator) < 0.5
    a = 4 * (x[:, 0] - 0.5)
    b = a + (torch.where(wide[:, 0], 12, 4) * (x[:, 1] - 0.7)).exp()
    omega = (torch.where(wide[:, 0], 14, 6) * (x[:, 2] - 0.5)).exp()
    delta = a + torch.where(wide[:, 0], (12 * (x[:, 3] - 0.6)).exp(), 14 * (x[:, 3] - 0.1))
    return torch.stack([delta, omega, a, b], 1).tolist()


@pytest.mark.parametrize("beta", BETAS)
def test_one_free_side_equals_algorithm_1(beta: float) -> None:
    cases = one_dimension_cases(500, 1)
    found = [solve_o1(omega, 2 * (delta - a), a, b, beta) for delta, omega, a, b in cases]
    for cut in ("r", "l"):
        assert loss_along_x(cases, cut, beta) == pytest.approx([one[0] for one in found], rel=1e-7, abs=1e-11)
    assert {one[2] for one in found} >= {"omega_0", "Prop. 6", "J1", "J2"}


def test_intervals_that_only_a_beta_above_1_has_hold_solutions() -> None:
    names = set()
    for beta in (1.5, 2.0, 3.0, 6.0):
        cases = one_dimension_cases(2000, 2)
        found = [solve_o1(omega, 2 * (delta - a), a, b, beta) for delta, omega, a, b in cases]
        rows = [row for row, one in enumerate(found) if one[2] in ("J3", "J4", "J5")]
        names |= {found[row][2] for row in rows}
        assert (loss_along_x([cases[row] for row in rows], "r", beta)
                == pytest.approx([found[row][0] for row in rows], rel=1e-7))
    assert names == {"J3", "J4", "J5"}


@pytest.mark.parametrize("beta", BETAS)
def test_two_free_sides_equal_algorithm_2(beta: float) -> None:
    cases = one_dimension_cases(500, 3)
    expected = [solve_o2(*one, beta) for one in cases]
    assert loss_along_x(cases, "lr", beta) == pytest.approx(expected, rel=1e-7, abs=1e-11)


def test_a_prediction_on_the_feasible_line_costs_nothing() -> None:
    # omega^ = omega_P > omega_0: algorithm 1 as printed returns omega_0.
    assert loss_along_x([[3, 6, 0, 2]], "r", 1.0) == pytest.approx([0], abs=1e-12)


def grid_minimum(deltas: Tensor, target: Tensor, anchor: Tensor, cut: Tensor, axis: int,
                 weights: tuple[float, float, float, float], beta: float) -> Tensor:
    """Smallest L_BB (N,) along an axis over boxes whose cut sides are moved outwards, on a grid that is refined twice
    about its best box."""
    center, size = (anchor[:, axis] + anchor[:, axis + 2]) / 2, anchor[:, axis + 2] - anchor[:, axis]
    low_cut, high_cut = cut[:, axis], cut[:, axis + 2]
    points = 161

    def loss(low: Tensor, high: Tensor) -> Tensor:  # (N, A, 1), (N, 1, B) pixels
        delta = ((low + high) / 2 - center[:, None, None]) / size[:, None, None]
        log = ((high - low) / size[:, None, None]).log()
        return (l1(weights[axis] * delta - deltas[:, axis, None, None], beta)
                + l1(weights[axis + 2] * log - deltas[:, axis + 2, None, None], beta))

    # How far out, in anchors: the logarithms of a grid, with 0 as its first point.
    log_first, log_last = torch.full((2, len(deltas)), -14.0).double(), torch.full((2, len(deltas)), 14.0).double()
    best = torch.full((len(deltas),), math.inf).double()
    for _ in range(4):
        log_out = log_first[..., None] + (log_last - log_first)[..., None] * torch.linspace(0, 1, points).double()
        out = torch.cat([torch.zeros(2, len(deltas), 1), log_out.exp()], 2) * size[:, None]
        low = target[:, axis, None] - out[0] * low_cut[:, None]
        high = target[:, axis + 2, None] + out[1] * high_cut[:, None]
        value, index = loss(low[:, :, None], high[:, None]).flatten(1).min(1)
        best = torch.minimum(best, value)
        at = torch.stack([index // (points + 1), index % (points + 1)])
        step = (log_last - log_first) / (points - 1)
        middle = log_first + (at - 1).clamp(min=0) * step
        log_first, log_last = middle - 2 * step, middle + 2 * step
    return best


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("beta", BETAS)
def test_no_box_of_a_dense_grid_is_closer(weights: tuple[float, float, float, float], beta: float) -> None:
    deltas, target, anchor, cut = random_cases(50, 4, weights)
    loss = box_loss(deltas, target, anchor, cut, CROP, weights, beta)
    grid = sum(grid_minimum(deltas, target, anchor, cut, axis, weights, beta) for axis in (0, 1))
    assert (loss <= grid * (1 + 1e-5) + 1e-10).all()
    # The loss is that of a feasible box, so it is not below the minimum either.
    best = closest_target(deltas, target, anchor, cut, CROP, weights, beta)
    torch.testing.assert_close(loss, F.smooth_l1_loss(deltas, best, reduction="none", beta=beta).sum(1))
    shift, log = (best / best.new_tensor(weights)).split(2, 1)
    center, size = (anchor[:, :2] + anchor[:, 2:]) / 2, anchor[:, 2:] - anchor[:, :2]
    sides = torch.cat([center + (shift - log.exp() / 2) * size, center + (shift + log.exp() / 2) * size], 1)
    outwards = (sides - target) * torch.tensor([-1, -1, 1, 1])
    tolerance = 1e-9 * (sides.abs() + size.repeat(1, 2))
    assert (outwards >= -tolerance).all()
    assert (outwards <= tolerance)[~cut].all()


def test_single_precision_gives_the_loss_of_double() -> None:
    for weights in WEIGHTS:
        cases = random_cases(300, 5, weights)
        double = box_loss(*cases, CROP, weights)
        single = box_loss(*(x.float() if x.is_floating_point() else x for x in cases), CROP, weights)  # type: ignore[arg-type]
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights", WEIGHTS[:2])
@pytest.mark.parametrize("beta", BETAS)
def test_the_gradient_is_that_of_the_loss(weights: tuple[float, float, float, float], beta: float) -> None:
    deltas, target, anchor, cut = random_cases(25, 6, weights)
    assert torch.autograd.gradcheck(lambda x: box_loss(x, target, anchor, cut, CROP, weights, beta),
                                    deltas.requires_grad_(), atol=1e-5)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_crop_aware_loss_is_at_most_that_of_eq_1_and_often_less(
        weights: tuple[float, float, float, float]) -> None:
    deltas, target, anchor, cut = random_cases(500, 7, weights)
    standard = box_loss(deltas, target, anchor, weights=weights)
    crop_aware = box_loss(deltas, target, anchor, cut, CROP, weights)
    assert (crop_aware <= standard * (1 + 1e-12)).all()
    assert (crop_aware < 0.9 * standard).sum() > 100


def test_where_nothing_is_cut_the_loss_is_that_of_eq_1_to_the_bit() -> None:
    deltas, target, anchor, cut = (x.float() if x.is_floating_point() else x for x in random_cases(200, 8))
    standard, uncut = box_loss(deltas, target, anchor), ~cut.any(1)
    assert uncut.any()
    assert torch.equal(box_loss(deltas, target, anchor, cut, CROP)[uncut], standard[uncut])
    assert torch.equal(box_loss(deltas, target, anchor, torch.zeros_like(cut), CROP), standard)


ANCHOR = torch.tensor([[80.0, 90, 280, 220]])


def loss_of(predicted: list[float], target: list[float], cut: str) -> float:
    """L_CABB of a box in a crop of 256 x 512 whose letters l, t, r, b of `cut` are cut."""
    deltas = encode_boxes(torch.tensor([predicted]), ANCHOR)
    return box_loss(deltas, torch.tensor([target]), ANCHOR, torch.tensor([[side in cut for side in "ltrb"]]),
                    CROP).item()


def test_a_prediction_beyond_the_crop_costs_nothing_on_cut_sides() -> None:
    assert loss_of([100, 50, 900, 150], [100, 50, 512, 150], "r") == pytest.approx(0, abs=1e-9)
    assert loss_of([-300, 50, 400, 150], [0, 50, 400, 150], "l") == pytest.approx(0, abs=1e-9)
    assert loss_of([-300, -10, 900, 150], [0, 0, 512, 150], "ltr") == pytest.approx(0, abs=1e-9)
    assert loss_of([-300, -10, 900, 400], [0, 0, 512, 256], "ltrb") == pytest.approx(0, abs=1e-9)


def test_a_prediction_inside_the_crop_is_pulled_to_the_border() -> None:
    for predicted, target, cut in (([100, 50, 400, 150], [100, 50, 512, 150], "r"),
                                   ([60, 50, 400, 150], [0, 50, 400, 150], "l"),
                                   ([100, 50, 400, 150], [0, 50, 512, 150], "lr"),
                                   ([100, 50, 400, 150], [100, 0, 400, 256], "tb")):
        deltas = encode_boxes(torch.tensor([predicted]).float(), ANCHOR).requires_grad_()
        flags = torch.tensor([[side in cut for side in "ltrb"]])
        loss = box_loss(deltas, torch.tensor([target]).float(), ANCHOR, flags, CROP)
        # As against the visible box, which is the closest of all that reach the border.
        assert loss.item() == pytest.approx(box_loss(deltas, torch.tensor([target]).float(), ANCHOR).item(), rel=1e-3)
        loss.sum().backward()
        assert deltas.grad is not None
        axis = 0 if cut in ("r", "l", "lr") else 1
        assert deltas.grad[0, axis + 2] < 0  # it is to become larger
        assert {"r": -1, "l": 1}.get(cut, 0) * deltas.grad[0, axis] >= 0  # and to move to the border that is cut


def test_a_box_that_touches_the_border_but_is_not_cut_is_not_extended() -> None:
    predicted, target = [100.0, 50, 900, 150], [100.0, 50, 512, 150]
    standard = box_loss(encode_boxes(torch.tensor([predicted]), ANCHOR), torch.tensor([target]), ANCHOR).item()
    assert standard > 0.1
    for cut in ("", "l", "tb"):
        assert loss_of(predicted, target, cut) == pytest.approx(standard)


def test_between_visible_box_and_border_nothing_is_penalised_where_the_object_is_hidden_there() -> None:
    # The crop cut the object, but what of it is seen ends at 400: seen part, whole object and all between are feasible.
    for right in (400, 450, 512, 900):
        assert loss_of([100, 50, right, 150], [100, 50, 400, 150], "r") == pytest.approx(0, abs=1e-9)
    assert loss_of([100, 50, 300, 150], [100, 50, 400, 150], "r") > 0


def test_the_whole_objects_box_may_stand_for_the_visible_one_on_cut_sides() -> None:
    for predicted in ([100, 50, 480, 150], [100, 50, 700, 140], [120, 60, 900, 150]):
        assert loss_of(predicted, [100, 50, 800, 150], "r") == loss_of(predicted, [100, 50, 512, 150], "r")


def test_boxes_without_area_and_far_predictions_give_finite_losses_and_gradients() -> None:
    point = torch.tensor([[512.0, 30, 512, 30]])
    for anchor in (ANCHOR, point, torch.zeros(1, 4)):
        for cut in ([False] * 4, [False, False, True, False], [True] * 4):
            for value in (0.0, 80.0, -80.0, 1000.0, -1000.0):
                deltas = torch.full((1, 4), value, requires_grad=True)
                loss = box_loss(deltas, point, anchor, torch.tensor([cut]), CROP)
                loss.sum().backward()
                assert deltas.grad is not None
                assert loss.isfinite().all()
                assert deltas.grad.isfinite().all()


def test_a_prediction_that_is_not_a_number_is_not_hidden() -> None:
    deltas = torch.tensor([[math.nan, 0, 0, 0]])
    for cut in ([False] * 4, [True] * 4, [False, False, True, False]):
        assert box_loss(deltas, ANCHOR, ANCHOR, torch.tensor([cut]), CROP).isnan().all()


def test_no_box_gives_no_loss_with_a_gradient() -> None:
    deltas = torch.zeros(0, 4, requires_grad=True)
    loss = box_loss(deltas, torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.bool), CROP)
    loss.sum().backward()
    assert loss.shape == (0,)
    assert box_loss(deltas, torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)


def test_cut_sides_need_the_size_of_the_crop() -> None:
    with pytest.raises(ValueError, match="crop_size"):
        box_loss(torch.zeros(1, 4), ANCHOR, ANCHOR, torch.ones(1, 4, dtype=torch.bool))
