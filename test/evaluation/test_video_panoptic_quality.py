"""VPQ: windows of one image are PQ itself; tubes by hand and against PQ of images laid side by side."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.evaluation.panoptic_quality import match_segments
from panoptic_ros.evaluation.video_panoptic_quality import VideoPanopticQuality
from panoptic_ros.labels import NO_CLASS, PanopticLabel

ROAD, CAR, PERSON = 0, 1, 2
IS_THING = np.array([False, True, True])


def score(pairs):
    quality = VideoPanopticQuality(IS_THING)
    for predicted, truth in pairs:
        quality.add(predicted, truth)
    return quality.totals()


def random_label(rng, scene, noise, ids=True):
    """Segments numbered 0..9: void, none of the classes, road, cars 1-4, a crowd of cars, two persons."""
    numbers = np.where(rng.random(scene.shape) < noise, rng.integers(0, 10, scene.shape), scene)
    values, index = np.unique(numbers, return_inverse=True)
    has_void = int(values[0] == 0)
    values = values[has_void:]
    class_id = np.array([0, NO_CLASS, ROAD, CAR, CAR, CAR, CAR, CAR, PERSON, PERSON])[values]
    object_id = np.array([0, 0, 0, 1, 2, 3, 4, 0, 1, 2])[values] * ids
    return PanopticLabel.of(index.reshape(scene.shape) + 1 - has_void, class_id, object_id, values == 7)


def random_sequence(seed, length):
    rng = np.random.default_rng(seed)
    scene = rng.integers(0, 10, (5, 6)).repeat(3, 0).repeat(3, 1)
    for _ in range(length):
        scene = np.roll(scene, rng.integers(0, 2), 1)
        yield random_label(rng, scene, 0.3, ids=seed % 3 > 0), random_label(rng, scene, 0.1)


@pytest.mark.parametrize("seed", range(6))
def test_windows_of_one_image_are_panoptic_quality(seed):
    sequence = list(random_sequence(seed, 4))
    images = [match_segments(p.segment_map, p.class_id, t.segment_map, t.class_id, 3, t.is_crowd) for p, t in sequence]
    expected = images[0] + images[1] + images[2] + images[3]
    totals = score(sequence)
    for name in ("iou", "true_positive", "false_positive", "false_negative"):
        assert getattr(totals.matches[0], name).tolist() == getattr(expected, name).tolist()
    assert expected.true_positive.sum() > 4
    assert expected.false_positive.sum() > 4
    assert totals.result()["1"] == np.nanmean(expected.quality())


def side_by_side(labels, is_truth):
    """One label of several, the segments of one object, one stuff class or the crowds of one class joined."""
    rows, maps = {}, []
    for number, label in enumerate(labels):
        row = np.zeros(len(label) + 1, int)
        for k, (kind, object_id, crowd) in enumerate(zip(label.class_id, label.object_id, label.is_crowd, strict=True)):
            crowd = bool(crowd and is_truth)
            alone = kind >= 0 and IS_THING[kind] and not object_id and not crowd
            key = kind, 0 if crowd else int(object_id), crowd, (number, k) if alone else None
            row[k + 1] = rows.setdefault(key, len(rows)) + 1
        maps.append(row[label.segment_map])
    return np.hstack(maps), np.array([key[0] for key in rows]), np.array([key[2] for key in rows])


@pytest.mark.parametrize("seed", range(6))
def test_a_window_is_panoptic_quality_of_its_images_side_by_side(seed):
    sequence = list(random_sequence(seed, 12))
    totals = score(sequence)
    for i, length in ((1, 5), (2, 10)):
        expected = []
        for start in range(12 - length + 1):
            window = sequence[start:start + length]
            predicted, predicted_class, _ = side_by_side([p for p, _ in window], False)
            truth, truth_class, is_crowd = side_by_side([t for _, t in window], True)
            expected.append(match_segments(predicted, predicted_class, truth, truth_class, 3, is_crowd))
        for name in ("iou", "true_positive", "false_positive", "false_negative"):
            total = np.sum([getattr(m, name) for m in expected], axis=0)
            assert getattr(totals.matches[i], name) == pytest.approx(total)
    assert totals.windows == (12, 8, 3, 0)


def test_an_identity_that_changes_costs_nothing_in_one_image_and_much_in_five(draw):
    # Six images of a car of 2 pixels, id 1 for three, then 2. Both windows of five have tubes of 6 and 4 of 10 pixels:
    # the longer one matches with IoU 0.6, the other is false: 2 x 0.6 / (2 + 2 / 2) = 0.4.
    truth = draw("aa", a=(CAR, 1))
    result = score([(truth if t < 3 else draw("bb", b=(CAR, 2)), truth) for t in range(6)])
    assert result.result() == pytest.approx({"1": 1, "5": 0.4, "mean": 0.7})
    assert result.windows == (6, 2, 0, 0)


def test_a_thing_without_object_id_is_a_tube_of_one_image(draw):
    truth = draw("aa", a=(CAR, 1))
    result = score([(draw("aa", a=(CAR, 0)), truth)] * 5)
    assert result.result() == {"1": 1, "5": 0, "mean": 0.5}
    assert result.matches[1].false_positive[CAR] == 5


def test_stuff_is_one_tube_through_all_images(draw):
    # Half of the road is lost in two of five images: IoU of the tube (3 x 2 + 2 x 1) / 10, above 0.5.
    truth = draw("rr", r=(ROAD, 0))
    result = score([(truth, truth)] * 3 + [(draw("r.", r=(ROAD, 0)), truth)] * 2).result()
    assert result == pytest.approx({"1": 0.6 / (1 - 0.2 - 0.2 + 0.4), "5": 0.8, "mean": 0.7})


def test_a_tube_mostly_on_void_or_on_a_crowd_of_its_class_is_no_error(draw):
    names = {"r": (ROAD, 0), "b": (CAR, 2), "c": (CAR, 0, True), "q": (PERSON, 0, True)}
    predicted = draw("rrbb", **names)
    quiet, wrong = {"1": 1, "5": 1, "mean": 1}, {"1": 0.5, "5": 0.5, "mean": 0.5}
    assert score([(predicted, draw("rr..", **names))] * 5).result() == quiet
    assert score([(predicted, draw("rrcc", **names))] * 5).result() == quiet
    assert score([(predicted, draw("rrqq", **names))] * 5).result() == wrong
    # On void in three of five images: a tube mostly on void, though false in two images.
    mixed = score([(predicted, draw("rr..", **names))] * 3 + [(predicted, draw("rrqq", **names))] * 2)
    assert mixed.matches[1].false_positive[CAR] == 0
    assert mixed.matches[0].false_positive[CAR] == 2


def test_sequences_join_by_their_counts_and_no_window_spans_two(draw):
    truth, other = draw("aa", a=(CAR, 1)), draw("bb", b=(CAR, 2))
    good, bad = score([(truth, truth)] * 5), score([(draw("p.", p=(PERSON, 1)), other)] * 5)
    total = good + bad
    assert total.windows == (10, 2, 0, 0)
    # Cars: one tube found, one missed; persons: one false.
    assert total.result()["5"] == pytest.approx((1 / 1.5 + 0) / 2)


def test_the_truth_against_itself_is_perfect_and_void_alone_is_absent(draw):
    labels = [truth for _, truth in random_sequence(1, 15)]
    assert score([(label, label) for label in labels]).result() == {"1": 1, "5": 1, "10": 1, "15": 1, "mean": 1}
    assert score([(draw(".."), draw(".."))] * 5).result() == {}
