"""MOTSA and its kin by hand, by brute force and against numbers of trackeval and mots_tools."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from panoptic_ros.evaluation.multi_object_tracking import MultiObjectTracking
from panoptic_ros.evaluation.tracked_masks import TrackedMasks
from panoptic_ros.labels import NO_CLASS

METRIC = MultiObjectTracking
CAR, PERSON = 0, 1
IS_THING = np.array([True, True])
NAMES = {"a": (CAR, 1), "b": (CAR, 2), "c": (CAR, 3), "u": (CAR, 0), "p": (PERSON, 1), "n": (NO_CLASS, 0),
         "g": (CAR, 0, True)}


def test_matches_misses_and_false_masks_of_one_image(score):
    # Car a: 3 of 4 pixels, matched with IoU 0.75. Car b: missed. A person: false.
    assert score(("aaannnpp", "aaaabbnn")) == pytest.approx({
        "motsa": (1 - 1) / 2, "smotsa": (0.75 - 1) / 2, "motsp": 0.75, "idf1": 2 * 1 / 4, "id_switches": 0,
        "fragmentations": 0, "true_positives": 1, "false_positives": 1, "false_negatives": 1})


def test_half_is_no_match(score):
    assert score(("aann", "aaaa"))["true_positives"] == 0
    assert score(("aaan", "aaaa"))["true_positives"] == 1


def test_another_class_is_no_match(score):
    result = score(("pp", "aa"))
    assert (result["true_positives"], result["false_positives"], result["false_negatives"]) == (0, 1, 1)


def test_a_switch_is_a_match_by_another_track_than_the_last_however_long_ago(score):
    images = [("aa", "aa"), ("bb", "aa"), ("bb", "aa"), ("nn", "aa"), ("nn", "nn"), ("cc", "aa"), ("cc", "aa")]
    result = score(*images)
    assert result["id_switches"] == 2
    assert result["motsa"] == pytest.approx((5 - 0 - 2) / 6)


def test_a_first_match_and_a_return_to_the_same_track_are_no_switch(score):
    assert score(("nn", "aa"), ("bb", "aa"), ("nn", "aa"), ("bb", "aa"))["id_switches"] == 0


def test_a_track_that_goes_on_with_another_object_is_a_switch_of_that_object(score):
    assert score(("aabb", "aabb"), ("bbaa", "aabb"))["id_switches"] == 2


def test_a_fragmentation_is_a_gap_in_which_the_object_was_there(score):
    assert score(("aa", "aa"), ("nn", "aa"), ("nn", "aa"), ("aa", "aa"), ("nn", "aa"))["fragmentations"] == 1
    assert score(("nn", "aa"), ("aa", "aa"))["fragmentations"] == 0
    assert score(("aa", "aa"), ("nn", "nn"), ("aa", "aa"))["fragmentations"] == 0
    assert score(("aa", "aa"), ("nn", "aa"), ("nn", "nn"), ("bb", "aa"))["fragmentations"] == 1


@pytest.mark.parametrize("predicted", ["aann", "nnnn", "bbnn"])
def test_an_object_that_is_part_of_a_crowd_in_an_image_is_neither_found_nor_missed_there(score, predicted):
    result = score(("aann", "aann"), (predicted, "ggnn"), ("aann", "aann"))
    assert (result["true_positives"], result["false_positives"], result["false_negatives"]) == (2, 0, 0)
    assert (result["id_switches"], result["fragmentations"], result["motsa"]) == (0, 0, 1)


def test_new_objects_do_not_mix_up_what_is_known_of_others(score):
    assert score(("nnbbnn", "nnbbnn"), ("aabbcc", "aabbcc"), ("aabbcc", "aabbcc"))["id_switches"] == 0


def test_a_thing_without_object_id_is_a_track_of_its_own_in_each_image(score):
    result = score(("uu", "aa"), ("uu", "aa"), ("uu", "aa"))
    assert result["id_switches"] == 2
    assert result["idf1"] == pytest.approx(1 / 3)


def test_idf1_takes_the_best_assignment_of_tracks(score):
    # Car a is followed by a, b, b; car b by b, a, c: a-b and b-a agree in 2 + 1 of 6 masks, a-a and b-b in 1 + 1.
    result = score(("aabb", "aabb"), ("bbaa", "aabb"), ("bbcc", "aabb"))
    assert result["idf1"] == pytest.approx(2 * 3 / 12)


def agreement(images, truth_ids, predicted_ids):
    """Most masks on which tracks agree, over all assignments."""
    agree = np.array([[sum((t, p) in image for image in images) for p in predicted_ids] for t in truth_ids])
    agree = np.pad(agree, ((0, 0), (0, len(truth_ids))))  # a truth track may have no partner
    return max(sum(agree[i, j] for i, j in enumerate(choice))
               for choice in permutations(range(agree.shape[1]), len(truth_ids)))


@pytest.mark.parametrize("seed", range(8))
def test_idf1_is_that_of_the_best_of_all_assignments(seed):
    rng = np.random.default_rng(seed)
    class_bits = (CAR + 2) << 40
    tracking, images = MultiObjectTracking(IS_THING), []
    for t in range(6):
        truth = np.arange(1, 5)
        predicted = rng.permutation([1, 2, 3, 10 + t])  # the last one occurs once, as things without object id do
        images.append(set(zip(truth.tolist(), predicted.tolist(), strict=True)))
        order = np.argsort(predicted)
        tracking.add_masks(TrackedMasks(class_bits | truth, class_bits | predicted[order], order, np.arange(4),
                                        np.ones(4)))
    same = agreement(images, range(1, 5), [1, 2, 3, 10, 11, 12])
    assert tracking.totals().id_true_positive.tolist() == [same, 0]


def test_classes_are_counted_apart_and_pooled_by_their_sums(draw, totals):
    total = totals([(draw("aapp", **NAMES), draw("aapp", **NAMES)), (draw("nnpp", **NAMES), draw("aapp", **NAMES)),
                    (draw("bbnn", **NAMES), draw("aann", **NAMES))])
    assert total.result(PERSON)["motsa"] == 1
    assert total.result(CAR)["motsa"] == pytest.approx((2 - 0 - 1) / 3)
    assert total.result()["motsa"] == pytest.approx((4 - 1) / 5)


def test_sequences_join_by_their_counts(draw, totals):
    one = draw("aa", **NAMES)
    first, second = totals([(one, one)] * 3), totals([(draw("bb", **NAMES), one)] * 2)
    assert (first + second).result() == totals([(one, one)] * 5).result()  # no switch between sequences


def test_the_counts_of_an_image_are_given_as_it_comes(draw):
    tracking = MultiObjectTracking(IS_THING)
    one = draw("aa", **NAMES)
    tracking.add(one, one)
    assert tracking.add(draw("bb", **NAMES), one).id_switches.tolist() == [1, 0]


def test_without_truth_masks_nothing_is_measured(score, draw, totals):
    assert score(("aa", "nn")) == {}
    assert totals([(draw("aa", **NAMES), draw("aa", **NAMES))]).result(PERSON) == {}


def test_the_truth_against_itself_is_perfect(crossing, totals):
    result = totals([(truth, truth) for _, truth in crossing]).result()
    assert result == {"motsa": 1, "smotsa": 1, "motsp": 1, "idf1": 1, "id_switches": 0, "fragmentations": 0,
                      "true_positives": 86, "false_positives": 0, "false_negatives": 0}


def test_the_numbers_are_those_of_trackeval(crossing, totals):
    # trackeval 1.3.0 (KittiMOTS, CLEAR, Identity), its threshold set above 0.5 by 1e-9: one pair of masks has an IoU of
    # exactly 0.5, which mots_tools (28 true positives of class 0) takes for no match. Fragmentations are by our rule.
    total = totals(crossing)
    expected = {
        CAR: {"motsa": 0.2916666666666667, "smotsa": 0.12942648487357888, "motsp": 0.7218739740689923,
              "idf1": 0.5617977528089888, "id_switches": 1, "true_positives": 28, "false_positives": 13,
              "false_negatives": 20},
        PERSON: {"motsa": 0.23684210526315788, "smotsa": 0.011323341426528752, "motsp": 0.6429286239253372,
                 "idf1": 0.4533333333333333, "id_switches": 2, "true_positives": 24, "false_positives": 13,
                 "false_negatives": 14},
        None: {"motsa": 0.26744186046511625, "smotsa": 0.07724137497837066, "motsp": 0.6854376586180746,
               "idf1": 0.5121951219512195, "id_switches": 3, "true_positives": 52, "false_positives": 26,
               "false_negatives": 34}}
    for class_id, numbers in expected.items():
        result = total.result(class_id)
        assert {name: result[name] for name in numbers} == pytest.approx(numbers, abs=1e-12)
