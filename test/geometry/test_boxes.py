"""IoU and GIoU of boxes, their suppression and their deltas from anchors, on worked numbers and against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torchvision.ops import batched_nms

from panoptic_ros.geometry.boxes import MIN_SIDE, box_iou, decode_boxes, encode_boxes, generalized_box_iou

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


def test_deltas_are_shifts_in_anchors_and_logarithms_of_ratios_times_their_weights() -> None:
    # Centres (20, 4) and (10, 6); 12 x 8 in an anchor of 4 x 16.
    anchor, box = torch.tensor([8.0, -2, 12, 14]), torch.tensor([14.0, 0, 26, 8])
    expected = torch.tensor([10 / 4, -2 / 16, math.log(3), math.log(0.5)])
    torch.testing.assert_close(encode_boxes(box, anchor), expected)
    torch.testing.assert_close(encode_boxes(box, anchor, (10, 20, 5, 2)), expected * torch.tensor([10, 20, 5, 2]))


def test_decoded_deltas_are_the_boxes_that_were_encoded() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 50, 2, generator=generator) * 200 - 100
    box, anchor = torch.cat([corner, corner + 1 + torch.rand(2, 50, 2, generator=generator) * 50], 2)
    for weights in ((1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)):
        deltas = encode_boxes(box[:, None], anchor, weights)  # every box from every anchor
        torch.testing.assert_close(decode_boxes(deltas, anchor, weights), box[:, None].expand(50, 50, 4),
                                   rtol=1e-4, atol=1e-3)


def test_a_decoded_side_is_at_most_62_5_times_the_anchors() -> None:
    box = decode_boxes(torch.tensor([0, 0, 1000, -1000.0]), torch.tensor([0.0, 0, 2, 2]))
    torch.testing.assert_close(box, torch.tensor([1 - 62.5, 1, 1 + 62.5, 1]))


def test_boxes_without_area_have_finite_deltas() -> None:
    point, box = torch.tensor([3.0, 3, 3, 3]), torch.tensor([2.0, 2, 4, 4])
    torch.testing.assert_close(encode_boxes(point, box), torch.tensor([0, 0, 1, 1]) * math.log(MIN_SIDE / 2))
    torch.testing.assert_close(encode_boxes(box, point), torch.tensor([0, 0, 1, 1]) * math.log(2 / MIN_SIDE))
