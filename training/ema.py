"""EMA: exponential moving average of a network's weights, which is validated and exported in place of them."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Ema:
    """The average of the weights and buffers of a network on its device, beginning with what it has after the warm-up.

    Until then it is a copy: an average that began with the first steps' weights would carry them for long.
    """

    def __init__(self, network: nn.Module, decay: float, warm_up: int) -> None:
        """decay: share of the old average that each step keeps. warm_up: steps."""
        self._average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self._warm_up = warm_up

    @property
    def network(self) -> nn.Module:
        """The network with the averaged weights."""
        averaged: nn.Module = self._average.module
        return averaged

    def update(self, network: nn.Module, step: int) -> None:
        """Take the weights after step number `step`, counted from 1."""
        if step <= self._warm_up:
            self._average.n_averaged.zero_()  # so that the next line copies
        self._average.update_parameters(network)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` goes on from."""
        return dict(self._average.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._average.load_state_dict(state)
