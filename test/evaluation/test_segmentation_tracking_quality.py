"""STQ on the published values of deeplab2's test and on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.evaluation.segmentation_tracking_quality import SegmentationTrackingQuality
from panoptic_ros.labels import NO_CLASS, PanopticLabel

CAR, SKY, PERSON = 0, 1, 2
IS_THING = np.array([True, False, True])
CARS = {name: (CAR, k) for k, name in enumerate("012345")} | {"s": (SKY, 0)}  # car 0 has no object id

# The 3-frame example: sky ".", vegetation "v", cars "a" and "b".
TRUTH = ("........ ........ ...b.vvv .bbbbvvv bbbbbbvv bbbbbbbv bbbbbbbv bbbbbbvv",
         "........ ........ .b..vv.. bbbvvvv. bbbbvvvv bbbbbvvv bbbbbvvv bbbbvvvv",
         "........ ........ ........ b.vvv... bbvvvv.. bbbvvvv. bbbvvvvv bbbvvvvv")
PREDICTED = ("........ ........ .....v.. ...bbvvv .bbbbavv bbbbbaav bbbbaaav bbbbaaav",
             "........ ........ ....vv.. .bbbvvvv bbbbvvvv bbbbbvvv bbbbaavv bbbbavvv",
             "........ ........ ....v... ..vvvv.. bbbvvv.. bbbvvvvv bbbbvvvv bbbbvvvv")


def score(pairs, is_thing=IS_THING):
    quality = SegmentationTrackingQuality(is_thing)
    for predicted, truth in pairs:
        quality.add(predicted, truth)
    return quality.totals()


def test_the_published_three_frame_example(draw):
    names = {".": (0, 0), "v": (1, 0), "a": (2, 1), "b": (2, 2)}
    result = score([(draw(p, **names), draw(t, **names)) for p, t in zip(PREDICTED, TRUTH, strict=True)],
                   np.array([False, False, True])).result()
    assert result == pytest.approx({"stq": 0.66841773352, "aq": 0.55366581415, "sq": 0.8069529580309542}, abs=1e-11)


@pytest.mark.parametrize(("truth", "predicted", "stq", "aq", "sq"), [
    ("11111", "11111", 1, 1, 1),
    ("11111", "11222", 0.72111026, 0.52, 1),
    ("11111", "12222", 0.82462113, 0.68, 1),
    ("11111", "12345", 0.447213596, 0.2, 1),
    ("11111", "12122", 0.72111026, 0.52, 1),
    ("11111", "s1111", 0.50596443, 0.64, 0.4),
    ("011111", "111111", 1, 1, 1),  # the first pixel is a car without object id: ignored by AQ
    ("011111", "222211", 0.72111026, 0.52, 1),
    ("011111", "22s111", 0.40824829, 0.4, 5 / 12),
    ("s1111", "11111", 0.56568542, 0.8, 0.4),
    ("s1111", "22211", 0.42426407, 0.45, 0.4),
    ("s1111", "22s11", 0.3, 0.3, 0.3),
])
def test_the_published_one_row_examples(draw, truth, predicted, stq, aq, sq):
    result = score([(draw(predicted, **CARS), draw(truth, **CARS))]).result()
    assert result == pytest.approx({"stq": stq, "aq": aq, "sq": sq}, abs=1e-8)


def test_a_crowd_is_ignored_by_the_association_and_counts_as_its_class(draw):
    truth = draw("ccc111", c=(CAR, 9, True), **CARS)
    assert score([(draw("122111", **CARS), truth)]).result() == {"sq": 1, "aq": 1, "stq": 1}
    # Sky on the crowd: of six pixels of car three are found, of sky none of three predicted.
    assert score([(draw("sss111", **CARS), truth)]).result()["sq"] == pytest.approx((0.5 + 0) / 2)


@pytest.mark.parametrize("on_crowd", ["11ss", "22ss"])
def test_an_object_that_is_part_of_a_crowd_in_an_image_is_not_associated_there(draw, on_crowd):
    images = [("11ss", "11ss"), (on_crowd, "ccss"), ("11ss", "11ss")]
    names = {"c": (CAR, 0, True), **CARS}
    pairs = [(draw(predicted, **names), draw(truth, **names)) for predicted, truth in images]
    assert score(pairs).result() == {"sq": 1, "aq": 1, "stq": 1}


def test_void_makes_a_predicted_tube_larger_and_leaves_the_classes_alone(draw):
    result = score([(draw("111111", **CARS), draw("..1111", **CARS))]).result()
    assert result == pytest.approx({"sq": 1, "aq": 4 / 6, "stq": np.sqrt(4 / 6)})


def test_pixels_of_no_class_are_errors_of_the_class_predicted_there(draw):
    truth = draw("nn11", n=(NO_CLASS, 0), **CARS)
    assert score([(draw("1111", **CARS), truth)]).result()["sq"] == pytest.approx(0.5)
    assert score([(draw("nn11", n=(NO_CLASS, 0), **CARS), truth)]).result() == {"sq": 1, "aq": 1, "stq": 1}


def test_a_pixel_predicted_as_void_is_an_error_of_its_class_alone(draw):
    assert score([(draw("s1..", **CARS), draw("s11s", **CARS))]).result()["sq"] == pytest.approx(0.5)


def test_association_does_not_ask_for_the_class(draw):
    result = score([(draw("pppp", p=(PERSON, 3)), draw("1111", **CARS))]).result()
    assert (result["aq"], result["sq"]) == (1, 0)


def test_things_without_object_id_are_tubes_of_one_image(draw):
    # Two tubes of two pixels against a track of four: each has IoU 2/4 for two of the four pixels.
    image = draw("00", **CARS), draw("11", **CARS)
    assert score([image, image]).result()["aq"] == pytest.approx(0.5)


def test_two_segments_of_one_object_are_one_tube(draw):
    split = PanopticLabel.of(np.array([[1, 1, 2, 2]]), [CAR, CAR], [1, 1])
    assert score([(split, draw("1111", **CARS))]).result()["aq"] == 1


def test_sequences_join_over_tracks_and_pixels_and_do_not_share_ids(draw):
    # AQ: tracks 1 and 2 of the first sequence (1, 1), track 1 of the second (0.52). SQ: one confusion matrix.
    first = score([(draw("1122s", **CARS), draw("1122s", **CARS))])
    second = score([(draw("11222", **CARS), draw("11111", **CARS))])
    assert (first + second).result()["aq"] == pytest.approx((1 + 1 + 0.52) / 3)
    third = score([(draw("sssss", **CARS), draw("ssss1", **CARS))])
    assert (first + third).result()["sq"] == pytest.approx((4 / 5 + 5 / 6) / 2)


def test_what_cannot_be_measured_is_absent(draw):
    assert score([(draw("s1", **CARS), draw("ss", **CARS))]).result() == {"sq": 0.25}
    assert score([(draw("s1", **CARS), draw("..", **CARS))]).result() == {}
    assert score([]).result() == {}


def test_the_truth_against_itself_is_perfect():
    rng = np.random.default_rng(2)
    labels = [PanopticLabel.of_maps(c := rng.choice([0, 1, 2, 255], (9, 11)), np.where(c == 1, 0, rng.integers(
        0, 4, (9, 11)))) for _ in range(4)]
    assert score([(label, label) for label in labels]).result() == {"sq": 1, "aq": 1, "stq": 1}
