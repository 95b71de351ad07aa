"""HOTA by hand, by brute force over all matchings, and against numbers of trackeval."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from panoptic_ros.evaluation.hota import ALPHAS, HigherOrderTrackingAccuracy, hota_totals
from panoptic_ros.evaluation.tracked_masks import TrackedMasks
from panoptic_ros.labels import NO_CLASS

METRIC = HigherOrderTrackingAccuracy
CAR, PERSON = 0, 1
IS_THING = np.array([True, True])
NAMES = {"a": (CAR, 1), "b": (CAR, 2), "u": (CAR, 0), "p": (PERSON, 1), "n": (NO_CLASS, 0),
         "g": (CAR, 0, True)}


def test_a_track_in_two_halves_is_detected_and_half_associated(score):
    assert score(("aa", "aa"), ("aa", "aa"), ("bb", "aa"), ("bb", "aa")) == pytest.approx(
        {"hota": np.sqrt(0.5), "deta": 1, "assa": 0.5})


def test_a_missed_and_a_false_mask_count_in_detection_and_association(score):
    # DetA = 2 / (2 + 1 + 1). Both true positives have TPA 2, FNA 1 (third image), FPA 1 (fourth).
    assert score(("aa", "aa"), ("aa", "aa"), ("nn", "aa"), ("aa", "nn")) == pytest.approx(
        {"hota": 0.5, "deta": 0.5, "assa": 0.5})


def test_masks_match_at_thresholds_up_to_their_iou(score):
    # IoU 3/5: twelve of nineteen thresholds, 0.05 to 0.60.
    assert score(("aaann", "aaaaa")) == pytest.approx({"hota": 12 / 19, "deta": 12 / 19, "assa": 12 / 19})


def test_things_without_object_id_are_tracks_of_one_image(score):
    assert score(("uu", "aa"), ("uu", "aa"))["assa"] == pytest.approx(0.5)


@pytest.mark.parametrize("predicted", ["aann", "nnnn", "bbnn"])
def test_an_object_that_is_part_of_a_crowd_in_an_image_is_neither_found_nor_missed_there(score, predicted):
    assert score(("aann", "aann"), (predicted, "ggnn"), ("aann", "aann")) == {"hota": 1, "deta": 1, "assa": 1}
    # Outside of the crowd it would be a missed and a false mask: DetA = 2 / (2 + 1 + 1), A = 2 / (2 + 1 + 1).
    assert score(("aann", "aann"), ("nnaa", "aann"), ("aann", "aann")) == pytest.approx(
        {"hota": 0.5, "deta": 0.5, "assa": 0.5})


def test_another_class_is_no_match_and_classes_pool_by_their_sums(draw, totals):
    total = totals([(draw("ppaa", **NAMES), draw("ppnn", **NAMES)), (draw("ppaa", **NAMES), draw("aaaa", **NAMES))])
    assert total.result(PERSON) == pytest.approx({"deta": 1 / 2, "assa": 1 / 2, "hota": 1 / 2})
    # Persons: one true, one false. Cars: a false one, and one of half the truth's size (thresholds to 0.5).
    half = ALPHAS <= 0.5
    detection = np.where(half, 2 / 4, 1 / 5)
    association = np.where(half, (1 / 2 + 1 / 2) / 2, 1 / 2)
    assert total.result() == pytest.approx({"deta": detection.mean(), "assa": association.mean(),
                                            "hota": np.sqrt(detection * association).mean()})


def test_sequences_join_by_their_sums(draw, totals):
    one, other = draw("aa", **NAMES), draw("bb", **NAMES)
    first, second = totals([(one, one)] * 2), totals([(one, other), (other, other)])
    # Association: two masks of 1, and of the second sequence two of 1/2.
    assert (first + second).result()["assa"] == pytest.approx((2 * 1 + 2 * 0.5) / 4)


def brute_force(frames, classes=1):
    """By the definition, with all matchings of each image tried."""
    truth = [k for f in frames for k in f.truth.tolist()]
    predicted = [k for f in frames for k in f.predicted.tolist()]
    potential, images = {}, []
    for f in frames:
        iou = np.zeros((len(f.truth), len(f.predicted)))
        iou[f.truth_row, f.predicted_row] = f.iou
        images.append(iou)
        for i, j in zip(*np.nonzero(iou), strict=True):
            pair = f.truth[i], f.predicted[j]
            potential[pair] = potential.get(pair, 0) + iou[i, j] / (iou[i].sum() + iou[:, j].sum() - iou[i, j])
    alignment = {(t, p): v / (truth.count(t) + predicted.count(p) - v) for (t, p), v in potential.items()}
    result = []
    for alpha in ALPHAS:
        matches = []
        for f, iou in zip(frames, images, strict=True):
            scores = np.array([[alignment.get((t, p), 0) * iou[i, j] for j, p in enumerate(f.predicted)]
                               for i, t in enumerate(f.truth)])
            best = max(permutations(range(len(f.predicted)), len(f.truth)),
                       key=lambda choice: sum(scores[i, j] for i, j in enumerate(choice)))
            matches += [(f.truth[i], f.predicted[j]) for i, j in enumerate(best) if iou[i, j] >= alpha - 1e-12]
        association = sum(matches.count(m) / (truth.count(m[0]) + predicted.count(m[1]) - matches.count(m))
                          for m in matches)
        detection = len(matches) / (len(truth) + len(predicted) - len(matches))
        result.append(np.sqrt(detection * association / max(len(matches), 1)))
    return np.mean(result)


@pytest.mark.parametrize("seed", range(6))
def test_hota_is_that_of_the_best_of_all_matchings(seed):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(5):
        truth, predicted = np.sort(rng.choice(4, 3, False)), np.sort(rng.choice(6, 4, False))
        row, column = np.nonzero(rng.random((3, 4)) < 0.7)
        frames.append(TrackedMasks((2 << 40) + truth, (2 << 40) + predicted, row, column, rng.random(len(row))))
    assert hota_totals(frames, 1).result()["hota"] == pytest.approx(brute_force(frames))


def test_the_numbers_are_those_of_trackeval(crossing, totals):
    # trackeval 1.3.0: KittiMOTS and HOTA, with its ignore regions; all = combine_classes_det_averaged.
    total = totals(crossing)
    expected = {CAR: {"hota": 0.4029490590606763, "deta": 0.3958258345872194, "assa": 0.41501066331320574},
                PERSON: {"hota": 0.33334411812659437, "deta": 0.3889837955790315, "assa": 0.2874692780528258},
                None: {"hota": 0.37567718526752614, "deta": 0.391360594130118, "assa": 0.368086556975726}}
    for class_id, numbers in expected.items():
        assert total.result(class_id) == pytest.approx(numbers, abs=1e-12)


def test_the_truth_against_itself_is_perfect_and_without_truth_masks_nothing_is_measured(crossing, score, totals):
    assert totals([(truth, truth) for _, truth in crossing]).result() == {"hota": 1, "deta": 1, "assa": 1}
    assert score(("aa", "nn")) == {}
    assert totals([]).result() == {}
    assert score(("nn", "aa")) == {"hota": 0, "deta": 0, "assa": 0}
