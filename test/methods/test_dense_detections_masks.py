"""Masks of query boxes, most comparisons left out, against those of every pixel with every query box."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from panoptic_ros.methods.dense_detections.boxes import location_probability
from panoptic_ros.methods.dense_detections.masks import mask_pixels

HEIGHT, WIDTH = 24, 40


def every_pixel_with_every_box(dense: Tensor, semantic: Tensor, query: Tensor, query_class: Tensor, sigma: float,
                               giou: bool) -> dict[tuple[int, int], float]:
    """(pixel, query box) -> probability."""
    location = location_probability(dense.flatten(2).transpose(1, 2)[:, :, None], query, giou)
    probability = location * semantic.flatten(1)[query_class].T
    return {(pixel, j): probability[pixel, j].item() for pixel, j in (probability > sigma).nonzero().tolist()}


def random_boxes(random: torch.Generator, *shape: int, spread: float) -> Tensor:
    """Boxes (*shape, 4) around 30 objects, `spread` pixels beside their sides; some have no area."""
    corner, size = torch.rand(30, 2, generator=random) * 100, torch.rand(30, 2, generator=random) * 60
    which = torch.randint(0, 30, shape, generator=random)
    first = corner[which] + spread * torch.randn(*shape, 2, generator=random)
    second = (corner + size)[which] + spread * torch.randn(*shape, 2, generator=random)
    return torch.cat([first, torch.maximum(first, second)], -1)


@pytest.mark.parametrize("giou", [False, True])
@pytest.mark.parametrize("levels", [1, 5])
def test_nothing_that_is_left_out_would_have_been_in_a_mask(giou: bool, levels: int) -> None:
    random = torch.Generator().manual_seed(0)
    sizes = []
    for trial, (spread, sigma) in enumerate([(0.5, 0.3), (3.0, 0.3), (20.0, 0.1), (3.0, 0.0), (1.0, 0.8)] * 3):
        # Boxes are alike in patches of 1, 4 or 16 pixels, as when they come from levels with larger strides.
        patch = 4 ** (trial % 3)
        boxes = random_boxes(random, levels, HEIGHT // 4, WIDTH // 4, spread=spread)
        dense = boxes.movedim(3, 1).repeat_interleave(4, 2).repeat_interleave(4, 3)
        dense = dense + torch.randn(dense.shape, generator=random) / patch
        dense = torch.cat([dense[:, :2], torch.maximum(dense[:, :2], dense[:, 2:])], 1)
        semantic = (3 * torch.randn(5, HEIGHT, WIDTH, generator=random)).softmax(0)
        query = torch.cat([boxes[0, :4, :4].flatten(0, 1), random_boxes(random, 9, spread=0)])
        query_class = torch.randint(0, 5, (len(query),), generator=random)
        arguments = dense, semantic, query, query_class, sigma, giou
        pixel, assigned, probability = mask_pixels(*arguments)
        found = dict(zip(zip(pixel.tolist(), assigned.tolist(), strict=True), probability.tolist(), strict=True))
        assert len(found) == len(pixel)
        assert found == every_pixel_with_every_box(*arguments)
        sizes.append(len(found))
    assert min(sizes) > 0
    assert max(sizes) > 1000


def test_more_pairs_than_are_compared_at_once_are_compared_one_part_after_the_other() -> None:
    # 15 tiles x 200 query boxes: all pixels have the same box and class, which a third of the query boxes have too.
    dense = torch.tensor([4.0, 4, 14, 14]).view(1, 4, 1, 1).expand(1, 4, HEIGHT, WIDTH)
    query = torch.tensor([[4.0, 4, 14, 14], [5.0, 4, 15, 14], [40.0, 4, 50, 14]]).repeat(67, 1)[:200]
    pixel, assigned, probability = mask_pixels(dense, torch.full((1, HEIGHT, WIDTH), 0.9), query,
                                            torch.zeros(200, dtype=torch.int64), 0.8)
    assert assigned.unique().tolist() == list(range(0, 200, 3))
    assert (assigned.bincount(minlength=200)[::3] == HEIGHT * WIDTH).all()
    assert pixel.bincount().tolist() == [67] * HEIGHT * WIDTH
    assert (probability == 0.9).all()


def test_without_query_boxes_there_is_no_mask() -> None:
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    entries = mask_pixels(torch.zeros(1, 4, 8, 8), torch.ones(1, 8, 8), *nothing, 0.0)
    assert [len(column) for column in entries] == [0, 0, 0]


def test_boxes_of_any_size_are_compared_exactly_enough() -> None:
    # Nearly equal boxes, from a hundredth of a pixel to 20,000 pixels: their IoU is above 0.99.
    for side in (0.01, 1.0, 300.0, 20_000.0):
        random = torch.Generator().manual_seed(0)
        corner = torch.rand(2, HEIGHT, WIDTH, generator=random) * side / 1000
        dense = torch.cat([corner, corner + side])[None]
        query = torch.tensor([[0, 0, side, side]])
        pixel, _, _ = mask_pixels(dense, torch.ones(1, HEIGHT, WIDTH), query, torch.zeros(1, dtype=torch.int64), 0.99)
        assert len(pixel) == HEIGHT * WIDTH
