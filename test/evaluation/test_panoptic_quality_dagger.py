"""PQ-dagger on the published examples and on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.evaluation.panoptic_quality import match_overlap
from panoptic_ros.evaluation.panoptic_quality_dagger import DaggerQuality, dagger_quality
from panoptic_ros.labels import PanopticLabel


def compare(predicted: PanopticLabel, truth: PanopticLabel, is_thing: list[bool]) -> DaggerQuality:
    shared = overlap(predicted.segment_map, truth.segment_map, len(predicted), len(truth))
    matches = match_overlap(shared, predicted.class_id, truth.class_id, truth.is_crowd, len(is_thing))
    return dagger_quality(matches, shared, predicted.class_id, truth.class_id, np.array(is_thing))


def label(pairs: list) -> PanopticLabel:
    """Of pixels (class, object): 0 and 1 are things with objects from 0, 6 and 7 are stuff, 255 is void."""
    classes, objects = np.moveaxis(np.array(pairs, np.int64), -1, 0)
    return PanopticLabel.of_maps(classes, np.where(classes < 2, objects + 1, 0))


THINGS = [k < 6 for k in range(8)]


def test_a_row_of_pixels_scores_23_30() -> None:
    """torchmetrics' modified panoptic quality, second example: stuff 6 has IoU 1/2 and counts."""
    predicted = label([[[0, 0], [0, 1], [6, 0], [7, 0], [0, 2], [1, 0]]])
    truth = label([[[0, 1], [0, 0], [6, 0], [7, 0], [6, 0], [255, 0]]])
    result = compare(predicted, truth, THINGS)
    # Class 0: two matches and one false segment, 2 / 2.5. Class 1 is predicted on void alone. Stuff 6: 1/2. Stuff 7: 1.
    assert result.iou[[0, 6, 7]].tolist() == [2, 0.5, 1]
    assert result.occurrences.tolist() == [2.5, 0, 0, 0, 0, 0, 1, 1]
    assert result.result() == {"pq_dagger": pytest.approx(23 / 30, abs=1e-15)}


def test_a_square_of_pixels_scores_as_published() -> None:
    """torchmetrics' modified panoptic quality, first example: 0.7753."""
    predicted = label([[[6, 0], [0, 0], [6, 0], [6, 0], [0, 1]],
                       [[0, 0], [0, 0], [6, 0], [0, 1], [0, 1]],
                       [[0, 0], [0, 0], [6, 0], [0, 1], [1, 0]],
                       [[0, 0], [7, 0], [6, 0], [1, 0], [1, 0]],
                       [[0, 0], [7, 0], [7, 0], [7, 0], [7, 0]]])
    truth = label([[[6, 0], [6, 0], [6, 0], [6, 0], [0, 0]],
                   [[0, 1], [0, 1], [6, 0], [0, 0], [0, 0]],
                   [[0, 1], [0, 1], [6, 0], [1, 0], [1, 0]],
                   [[0, 1], [7, 0], [7, 0], [1, 0], [1, 0]],
                   [[0, 1], [7, 0], [7, 0], [7, 0], [7, 0]]])
    assert compare(predicted, truth, THINGS).result() == {"pq_dagger": pytest.approx(0.7753, abs=5e-5)}


def test_the_truth_against_itself_is_perfect() -> None:
    truth = label([[[0, 0], [0, 1], [6, 0], [7, 0], [6, 0], [255, 0]]])
    assert compare(truth, truth, THINGS).result() == {"pq_dagger": 1}


def test_stuff_in_several_segments_counts_as_one() -> None:
    truth = PanopticLabel.of(np.array([[1, 1, 1, 1]]), [0])
    predicted = PanopticLabel.of(np.array([[1, 1, 2, 0]]), [0, 0])
    assert compare(predicted, truth, [False]).result() == {"pq_dagger": 0.75}


def test_void_leaves_the_union_of_stuff() -> None:
    truth = PanopticLabel.of(np.array([[1, 1, 0, 0]]), [0])
    predicted = PanopticLabel.of(np.array([[1, 0, 1, 1]]), [0])
    assert compare(predicted, truth, [False]).result() == {"pq_dagger": 0.5}


def test_stuff_is_divided_by_the_images_whose_truth_has_it() -> None:
    road = PanopticLabel.of(np.array([[1, 1]]), [0])
    empty = PanopticLabel.of(np.array([[0, 0]]), [])
    other = PanopticLabel.of(np.array([[1, 1]]), [1])
    right, missed = compare(road, road, [False, False]), compare(empty, road, [False, False])
    assert (right + missed).result() == {"pq_dagger": 0.5}
    # Stuff that the truth has nowhere is not judged; class 1 is missed.
    assert (right + compare(road, other, [False, False])).result() == {"pq_dagger": 0.5}
    assert compare(road, empty, [False, False]).result() == {}
