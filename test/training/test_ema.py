"""The exponential moving average of the weights on numbers worked by hand, and how it goes on."""

from __future__ import annotations

import pytest
import torch

from training.ema import Ema


def network(value: float) -> torch.nn.Module:
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(net.weight, value)
    return net


def test_it_is_a_copy_until_the_warm_up_ends_and_an_average_then() -> None:
    net = network(8.0)
    ema = Ema(net, 0.75, warm_up=2)
    values = []
    for step, weight in enumerate((1.0, 2.0, 6.0, 10.0), 1):
        torch.nn.init.constant_(net.weight, weight)
        ema.update(net, step)
        values.append(ema.network.weight.item())  # type: ignore[operator, union-attr]
    # 0.75 x 2 + 0.25 x 6 = 3, 0.75 x 3 + 0.25 x 10 = 4.75
    assert values == pytest.approx([1, 2, 3, 4.75])


def test_it_goes_on_from_its_state() -> None:
    net = network(1.0)
    whole, parts = Ema(net, 0.5, 0), Ema(net, 0.5, 0)
    for step, weight in enumerate((1.0, 3.0, 7.0), 1):
        torch.nn.init.constant_(net.weight, weight)
        whole.update(net, step)
        parts.update(net, step)
        again = Ema(net, 0.5, 0)
        again.load_state_dict(parts.state_dict())
        parts = again
    assert torch.equal(whole.network.weight, parts.network.weight)
