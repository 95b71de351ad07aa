"""Matching of anchors and proposals to objects, and the samples that are drawn of them."""

from __future__ import annotations

import torch

from training.matching import IGNORED, NEGATIVE, covered_share, match_boxes, sample_matches


def test_a_box_is_matched_by_its_largest_iou() -> None:
    iou = torch.tensor([[0.8, 0.1, 0.5, 0.0], [0.7, 0.2, 0.4, 0.29]])
    assert match_boxes(iou, 0.7, 0.3).tolist() == [0, NEGATIVE, IGNORED, NEGATIVE]


def test_each_object_has_its_best_box_where_that_is_asked_for() -> None:
    iou = torch.tensor([[0.8, 0.1, 0.5, 0.0], [0.3, 0.2, 0.4, 0.29], [0.0, 0.0, 0.0, 0.0]])
    assert match_boxes(iou, 0.7, 0.3, best_of_each=True).tolist() == [0, NEGATIVE, 1, NEGATIVE]


def test_without_objects_all_boxes_are_negative() -> None:
    assert match_boxes(torch.zeros(0, 3), 0.7, 0.3, best_of_each=True).tolist() == [NEGATIVE] * 3


def test_samples_have_at_most_their_share_of_positives_and_are_filled_with_negatives() -> None:
    match = torch.tensor([0] * 50 + [NEGATIVE] * 100 + [IGNORED] * 30)
    positive, negative = sample_matches(match, 40, 0.25, torch.Generator().manual_seed(0))
    assert len(positive) == 10
    assert len(negative) == 30
    assert len(set(positive.tolist())) == 10
    assert (match[positive] == 0).all()
    assert (match[negative] == NEGATIVE).all()
    few = torch.tensor([0, NEGATIVE, NEGATIVE, IGNORED])
    assert [rows.tolist() for rows in sample_matches(few, 40, 0.25, torch.Generator())] == [[0], [1, 2]]
    again = sample_matches(match, 40, 0.25, torch.Generator().manual_seed(0))
    assert torch.equal(again[0], positive)
    assert not torch.equal(sample_matches(match, 40, 0.25, torch.Generator().manual_seed(1))[1], negative)


def test_the_covered_share_is_the_mean_of_the_mask_in_the_box() -> None:
    g = torch.Generator().manual_seed(0)
    mask = torch.rand(20, 30, generator=g) > 0.6
    x0, y0 = torch.randint(0, 20, (40,), generator=g), torch.randint(0, 12, (40,), generator=g)
    box = torch.stack([x0, y0, x0 + torch.randint(1, 10, (40,), generator=g),
                       y0 + torch.randint(1, 8, (40,), generator=g)], 1)
    expected = torch.stack([mask[a[1]:a[3], a[0]:a[2]].float().mean() for a in box])
    torch.testing.assert_close(covered_share(box.float(), mask), expected)
    assert covered_share(torch.tensor([[3.0, 3, 3, 9], [-9, -9, -2, -2]]), mask).tolist() == [0, 0]
