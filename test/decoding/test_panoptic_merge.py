"""The panoptic merge of overlapping masks, on worked numbers and against a plain loop."""

from __future__ import annotations

import torch

from panoptic_ros.decoding.panoptic_merge import panoptic_merge


def claims_one_by_one(mask: torch.Tensor, overlap: float) -> list[int]:
    """Kirillov et al. 2019: instance by instance, the best first."""
    assigned = torch.zeros(len(mask), dtype=torch.int64)
    for j in range(mask.shape[1]):
        free = mask[:, j] & (assigned == 0)
        if (mask[:, j] & ~free).sum() <= overlap * mask[:, j].sum():
            assigned[free] = j + 1
    return assigned.tolist()


def claims(mask: torch.Tensor, overlap: float) -> list[int]:
    pixel, instance = mask.nonzero(as_tuple=True)
    shuffled = torch.randperm(len(pixel), generator=torch.Generator().manual_seed(0))
    return panoptic_merge(pixel[shuffled], instance[shuffled], *mask.shape, overlap).tolist()


def test_masks_are_claimed_as_when_going_through_them_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for trial in range(60):
        mask = torch.rand(25, trial % 9, generator=generator) < 0.4
        overlap = (trial % 5) / 4
        assert claims(mask, overlap) == claims_one_by_one(mask, overlap)


def test_what_a_hidden_instance_covered_is_free_for_worse_ones() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]]).bool()
    assert claims(mask, 0.5) == [1, 1, 1, 3, 3]
    assert claims(mask, 0.8) == [1, 1, 1, 2, 3]


def test_without_masks_or_pixels_nothing_is_claimed() -> None:
    assert claims(torch.zeros(3, 0).bool(), 0.5) == [0, 0, 0]
    assert claims(torch.zeros(3, 2).bool(), 0.5) == [0, 0, 0]
    assert claims(torch.zeros(0, 3).bool(), 0.5) == []


def test_groups_of_pixels_count_as_many_as_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    for trial in range(20):
        mask, weight = torch.rand(12, 6, generator=generator) < 0.4, torch.randint(1, 6, (12,), generator=generator)
        pixel, instance = mask.nonzero(as_tuple=True)
        grouped = panoptic_merge(pixel, instance, *mask.shape, trial / 19, weight)
        assert grouped.repeat_interleave(weight).tolist() == claims(mask.repeat_interleave(weight, 0), trial / 19)
