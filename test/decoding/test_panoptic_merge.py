"""Overlap of boxes, their suppression and the fusion of masks, on worked numbers and against plain loops."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import batched_nms

from panoptic_ros.decoding.panoptic_merge import panoptic_merge
from panoptic_ros.geometry.boxes import box_iou, generalized_box_iou

BOXES = torch.tensor([[0.0, 0, 4, 2], [2.0, 0, 6, 2], [10.0, 10, 12, 12], [3.0, 3, 3, 3]])


def test_iou_is_the_shared_area_over_the_covered_one() -> None:
    # The first two share 2 x 2 of 8 + 8 - 4; a box without area shares nothing, not even with itself.
    iou = box_iou(BOXES[:, None], BOXES)
    expected = torch.eye(4)
    expected[0, 1] = expected[1, 0] = 4 / 12
    expected[3, 3] = 0
    torch.testing.assert_close(iou, expected)


def test_giou_falls_with_the_gap_between_boxes() -> None:
    # (4 + 1) / (12 + 1), and the enclosing box of 6 x 2 is all covered; the third's hull with the first is 12 x 12.
    assert generalized_box_iou(BOXES[0], BOXES[1]).item() == pytest.approx(5 / 13)
    assert generalized_box_iou(BOXES[0], BOXES[2]).item() == pytest.approx(1 / 13 - (144 - 12) / 144)


def test_suppression_keeps_the_better_of_two_boxes_of_one_class_only() -> None:
    box = torch.tensor([[0.0, 0, 4, 2], [0.0, 0, 4, 2.2], [0.0, 0, 4, 2], [3.0, 0, 7, 2]])
    score, class_id = torch.tensor([0.5, 0.9, 0.7, 0.6]), torch.tensor([0, 0, 1, 0])
    assert batched_nms(box, score, class_id, 0.6).tolist() == [1, 2, 3]
    assert batched_nms(box, score, class_id, 0.1).tolist() == [1, 2]
    assert batched_nms(box[:0], score[:0], class_id[:0], 0.6).tolist() == []


def test_suppression_equals_the_greedy_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        corner = torch.rand(30, 2, generator=generator) * 20 - 10
        box = torch.cat([corner, corner + torch.rand(30, 2, generator=generator) * 15], 1)
        score, class_id = torch.rand(30, generator=generator), torch.randint(0, 3, (30,), generator=generator)
        iou, kept = box_iou(box[:, None], box), []
        for j in score.argsort(descending=True).tolist():
            if not any(class_id[i] == class_id[j] and iou[i, j] > 0.4 for i in kept):
                kept.append(j)
        assert batched_nms(box, score, class_id, 0.4).tolist() == kept


def claims_one_by_one(mask: torch.Tensor, overlap: float) -> list[int]:
    """Kirillov et al. 2019: instance by instance, the best first."""
    owner = torch.zeros(len(mask), dtype=torch.int64)
    for j in range(mask.shape[1]):
        free = mask[:, j] & (owner == 0)
        if (mask[:, j] & ~free).sum() <= overlap * mask[:, j].sum():
            owner[free] = j + 1
    return owner.tolist()


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
