"""The first of the largest values, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from panoptic_ros.decoding.maximum import first_argmax


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_the_first_of_the_largest_values_is_found_along_every_axis(dim: int) -> None:
    values = torch.randint(0, 4, (5, 6, 7), generator=torch.Generator().manual_seed(0)).float() * 1e-30
    below = values - values.amax(dim, keepdim=True)
    assert np.array_equal(first_argmax(below, dim).numpy(), values.numpy().argmax(dim))


def test_neighbouring_numbers_are_told_apart() -> None:
    one = torch.tensor(1.0)
    values = torch.stack([one, torch.nextafter(one, one + 1), one, torch.tensor(-torch.inf)])[:, None]
    assert first_argmax(values - values.amax(0), 0).tolist() == [1]


def test_where_values_are_not_finite_it_is_an_index_all_the_same() -> None:
    values = torch.tensor([[1.0, torch.nan, torch.inf], [torch.nan, torch.nan, 0.0]])
    assert first_argmax(values - values.amax(0), 0).tolist() == [0, 0, 0]
