"""Panoptic quality on numbers worked by hand, and against a plain evaluation of one segment after the other."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.panoptic_quality import Matches, match_segments
from panoptic_ros.labels import NO_CLASS, PanopticLabel

TRUTH = np.array([[1, 1, 1, 2, 2, 0]])
TRUTH_CLASS = np.array([0, 1])


def counts(matches: Matches) -> list[list[float]]:
    return [matches.true_positive.tolist(), matches.false_positive.tolist(), matches.false_negative.tolist()]


def test_the_truth_against_itself_is_perfect() -> None:
    matches = match_segments(TRUTH, TRUTH_CLASS, TRUTH, TRUTH_CLASS, 3)
    assert matches.quality()[:2].tolist() == [1, 1]
    assert np.isnan(matches.quality()[2])
    perfect = {"pq": 1, "sq": 1, "rq": 1}
    assert matches.result(np.array([True, False, True])) == {"all": perfect, "things": perfect, "stuff": perfect}


def test_a_square_of_pixels_scores_as_published() -> None:
    """torchmetrics' panoptic quality, the example of its documentation: 0.5463. Classes 0 and 1 are things."""
    predicted = [[[6, 0], [0, 0], [6, 0], [6, 0]],
                 [[0, 0], [0, 0], [6, 0], [0, 1]],
                 [[0, 0], [0, 0], [6, 0], [0, 1]],
                 [[0, 0], [7, 0], [6, 0], [1, 0]],
                 [[0, 0], [7, 0], [7, 0], [7, 0]]]
    truth = [[[6, 0], [0, 1], [6, 0], [0, 1]],
             [[0, 1], [0, 1], [6, 0], [0, 1]],
             [[0, 1], [0, 1], [6, 0], [1, 0]],
             [[0, 1], [7, 0], [1, 0], [1, 0]],
             [[0, 1], [7, 0], [7, 0], [7, 0]]]
    found, true = (PanopticLabel.of_maps(*np.moveaxis(np.array(pairs), -1, 0)) for pairs in (predicted, truth))
    matches = match_segments(found.segment_map, found.class_id, true.segment_map, true.class_id, 8)
    assert matches.result(np.arange(8) < 6)["all"]["pq"] == pytest.approx(0.5463, abs=5e-5)


def test_a_match_a_miss_and_a_false_segment() -> None:
    # Class 0: predicted 4 pixels of 3, IoU 3/4. Class 1: one pixel of two, IoU 1/2 is no match.
    predicted = np.array([[1, 1, 1, 1, 2, 0]])
    matches = match_segments(predicted, np.array([0, 1]), TRUTH, TRUTH_CLASS, 2)
    assert matches.iou.tolist() == [0.75, 0]
    assert counts(matches) == [[1, 0], [0, 1], [0, 1]]
    assert matches.quality().tolist() == [0.75, 0]
    assert matches.segmentation_quality().tolist() == [0.75, 0]
    assert matches.recognition_quality().tolist() == [1, 0]


def test_quality_is_the_product_of_segmentation_and_recognition() -> None:
    # Two matches of IoU 3/4 and 1, one false segment, no miss: SQ 7/8, RQ 2 / 2.5, PQ 7/10.
    truth = np.array([[1, 1, 1, 1], [2, 2, 3, 3]])
    predicted = np.array([[1, 1, 1, 3], [2, 2, 3, 3]])
    matches = match_segments(predicted, np.array([0, 0, 0]), truth, np.array([0, 0, 1]), 2)
    assert matches.iou.tolist() == [1.75, 0]
    assert counts(matches) == [[2, 0], [1, 0], [0, 1]]
    assert matches.result(np.array([True, True]))["things"] == pytest.approx({"pq": 0.35, "sq": 7 / 16, "rq": 0.4})


def test_void_of_the_truth_leaves_the_union() -> None:
    predicted = np.array([[0, 0, 0, 2, 2, 2]])
    matches = match_segments(predicted, np.array([0, 1]), TRUTH, TRUTH_CLASS, 2)
    assert matches.iou[1] == 1


def test_void_of_the_prediction_does_not_leave_the_union() -> None:
    predicted = np.array([[0, 1, 1, 0, 0, 0]])
    matches = match_segments(predicted, np.array([0]), TRUTH, TRUTH_CLASS, 2)
    assert matches.iou.tolist() == [pytest.approx(2 / 3), 0]
    assert matches.false_negative.tolist() == [0, 1]


def test_a_segment_mostly_on_void_is_no_error() -> None:
    truth = np.array([[1, 0, 0, 0]])
    predicted = np.array([[1, 2, 2, 2]])
    matches = match_segments(predicted, np.array([0, 1]), truth, np.array([0]), 2)
    assert matches.false_positive.tolist() == [0, 0]
    half = match_segments(np.array([[2, 2, 0, 0]]), np.array([0, 1]), truth, np.array([0]), 2)
    assert half.false_positive.tolist() == [0, 1]


def test_a_crowd_is_neither_matched_nor_missed() -> None:
    crowd = np.array([True, False])
    assert counts(match_segments(TRUTH, TRUTH_CLASS, TRUTH, TRUTH_CLASS, 2, crowd)) == [[0, 1], [0, 0], [0, 0]]
    nothing = match_segments(np.zeros_like(TRUTH), np.zeros(0, int), TRUTH, TRUTH_CLASS, 2, crowd)
    assert counts(nothing) == [[0, 0], [0, 0], [0, 1]]


def test_a_segment_mostly_on_void_and_crowds_of_its_own_class_is_no_error() -> None:
    # Of five predicted pixels one is void, two are crowd, two another class: 3/5 are ignored.
    truth, truth_class = np.array([[0, 1, 1, 2, 2]]), np.array([0, 1])
    predicted = np.ones((1, 5), int)
    matches = match_segments(predicted, np.array([0]), truth, truth_class, 2, np.array([True, False]))
    assert counts(matches) == [[0, 0], [0, 0], [0, 1]]
    of_another_class = match_segments(predicted, np.array([1]), truth, truth_class, 2, np.array([True, False]))
    assert counts(of_another_class) == [[0, 0], [0, 1], [0, 1]]
    no_crowd = match_segments(predicted, np.array([0]), truth, truth_class, 2, np.array([False, False]))
    assert counts(no_crowd) == [[0, 0], [1, 0], [1, 1]]


def test_a_crowd_does_not_leave_the_union() -> None:
    # Three pixels right, one on the crowd beside it: 3/4.
    truth, predicted = np.array([[1, 1, 1, 2]]), np.array([[1, 1, 1, 1]])
    matches = match_segments(predicted, np.array([0]), truth, np.array([0, 0]), 1, np.array([False, True]))
    assert matches.iou.tolist() == [0.75]


def test_a_segment_of_no_class_is_no_error_and_no_miss_but_no_void_either() -> None:
    predicted_of_none = match_segments(TRUTH, np.array([0, NO_CLASS]), TRUTH, TRUTH_CLASS, 2)
    assert counts(predicted_of_none) == [[1, 0], [0, 0], [0, 1]]
    background = np.array([0, NO_CLASS])
    assert counts(match_segments(TRUTH, background, TRUTH, background, 2)) == [[1, 0], [0, 0], [0, 0]]
    # What is predicted on it is wrong, and stays in the union.
    assert counts(match_segments(TRUTH, np.array([0, 1]), TRUTH, background, 2)) == [[1, 0], [0, 1], [0, 0]]
    wide = match_segments(np.array([[1, 1, 1, 1, 0, 0]]), np.array([0]), TRUTH, background, 2)
    assert wide.iou.tolist() == [0.75, 0]


def test_the_wrong_class_is_an_error_for_both_classes() -> None:
    matches = match_segments(TRUTH, np.array([1, 1]), TRUTH, TRUTH_CLASS, 2)
    assert counts(matches) == [[0, 1], [0, 1], [1, 0]]


def test_a_row_without_pixels_is_no_segment() -> None:
    matches = match_segments(TRUTH, np.array([0, 1, 1]), TRUTH, np.array([0, 1, 0]), 2)
    assert counts(matches) == [[1, 1], [0, 0], [0, 0]]


def test_counts_of_images_add_up() -> None:
    one = match_segments(TRUTH, TRUTH_CLASS, TRUTH, TRUTH_CLASS, 2)
    none = match_segments(np.zeros_like(TRUTH), np.zeros(0, int), TRUTH, TRUTH_CLASS, 2)
    assert (one + none).quality().tolist() == pytest.approx([2 / 3, 2 / 3])


def test_means_leave_out_classes_and_groups_that_do_not_occur() -> None:
    # Class 0 is perfect, class 1 is missed, class 2 does not occur; none of them is stuff.
    matches = match_segments(np.array([[1, 1, 1, 0, 0, 0]]), np.array([0]), TRUTH, TRUTH_CLASS, 3)
    assert matches.result(np.array([True, True, False])) == {group: {"pq": 0.5, "sq": 0.5, "rq": 0.5}
                                                             for group in ("all", "things")}
    nothing = match_segments(np.zeros((1, 2), int), np.zeros(0, int), np.zeros((1, 2), int), np.zeros(0, int), 3)
    assert nothing.result(np.array([True, True, False])) == {}


def test_a_class_beyond_the_table_is_refused() -> None:
    with pytest.raises(InputError, match="prediction has a segment of class 2"):
        match_segments(TRUTH, np.array([0, 2]), TRUTH, TRUTH_CLASS, 2)
    with pytest.raises(InputError, match="truth has a segment of class 1"):
        match_segments(TRUTH, np.array([0, 0]), TRUTH, TRUTH_CLASS, 1)


def plain_matches(predicted, predicted_class, truth, truth_class, classes, is_crowd) -> np.ndarray:
    """The same counts, (4, C), from masks of one segment after the other."""
    result = np.zeros((4, classes))
    void = truth == 0
    found = set()
    for i, class_id in enumerate(predicted_class):
        mask = predicted == i + 1
        hits = []
        for j in range(len(truth_class)):
            other = truth == j + 1
            union = ((mask | other) & ~(mask & void)).sum()
            if truth_class[j] == class_id and not is_crowd[j] and 2 * (mask & other).sum() > union:
                hits.append((j, (mask & other).sum() / union))
        assert len(hits) <= 1
        for j, iou in hits:
            found.add(j)
            result[:2, class_id] += iou, 1
        ignored = void | np.isin(truth, [j + 1 for j in range(len(truth_class))
                                         if is_crowd[j] and truth_class[j] == class_id])
        if not hits and mask.any() and (mask & ignored).sum() <= mask.sum() / 2:
            result[2, class_id] += 1
    for j, class_id in enumerate(truth_class):
        if j not in found and not is_crowd[j] and (truth == j + 1).any():
            result[3, class_id] += 1
    return result


def test_random_maps_agree_with_a_plain_evaluation() -> None:
    random = np.random.default_rng(0)
    seen = np.zeros(4)
    for _ in range(100):
        truth = np.repeat(np.repeat(random.integers(0, 7, (3, 4)), 3, 0), 3, 1)
        predicted = np.where(random.random(truth.shape) < 0.25, random.integers(0, 7, truth.shape), truth)
        truth_class, predicted_class = random.integers(0, 3, (2, 6))
        predicted_class = np.where(random.random(6) < 0.6, truth_class, predicted_class)
        is_crowd = random.random(6) < 0.3
        matches = match_segments(predicted, predicted_class, truth, truth_class, 3, is_crowd)
        expected = plain_matches(predicted, predicted_class, truth, truth_class, 3, is_crowd)
        assert np.stack([matches.iou, *np.array(counts(matches))]) == pytest.approx(expected)
        seen += expected.sum(1)
    assert (seen > 50).all()
