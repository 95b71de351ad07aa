"""IoU and GIoU of boxes and their suppression, on worked numbers and against plain loops."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import batched_nms

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
    # (4 + 1) / (12 + 1), and the enclosing box of 6 x 2 is all covered; that of the first and the third is 12 x 12.
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
