"""All metrics together: what each kind of mistake lowers, what it leaves alone, and what cannot be scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from panoptic_ros.classes import ClassTable
from panoptic_ros.datasets.city import City, CityName
from panoptic_ros.datasets.dataset import Truth
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.metrics import METRICS, find_metric
from panoptic_ros.evaluation.results import numbers
from panoptic_ros.evaluation.scorer import Scorer
from panoptic_ros.labels import NO_CLASS, PanopticLabel

PANOPTIC = frozenset({Truth.PANOPTIC, Truth.SEMANTIC})
VIDEO = PANOPTIC | {Truth.TRACKS}
MISTAKES = {"fp", "fn", "id_switches", "fragmentations", "false_positives", "false_negatives", "flicker", "rmse",
            "abs_rel"}
NO_QUALITY = {"tp", "true_positives", "truth_change", "predicted_change"}


def table(*names: str, things: int = 1, name: str = "table") -> ClassTable:
    """The first `things` classes are things."""
    return ClassTable(name, names, tuple(k < things for k in range(len(names))), ((0, 0, 0),) * len(names))


CLASSES = table("car", "road", "sky")
# A car of 4 pixels with the track 7 on a road of 8 below a sky of 4.
TRUTH = PanopticLabel.of(np.array([[1, 1, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3], [3, 3, 3, 3]]), [2, 0, 1], [0, 7, 0])


@pytest.fixture(scope="module")
def city() -> City:
    return City(CityName(600, 601, 6, size=(64, 128)))


@pytest.fixture(scope="module")
def labels(city: City) -> list[PanopticLabel]:
    return [city.label(i) for i in range(len(city))]


def score_city(city: City, labels: list[PanopticLabel], predict: Callable[[PanopticLabel, int], PanopticLabel],
               ) -> dict[str, float]:
    """All numbers where the prediction of each frame is made from its truth and its number."""
    scorer = Scorer(city.classes, VIDEO)
    for entry, label in zip(city.entries, labels, strict=True):
        scorer.add(predict(label, entry.number), label, entry.sequence)
    return {".".join(path): value for path, value in numbers(scorer.result()).items()}


def test_the_truth_against_itself_is_perfect_in_every_number(city: City, labels: list[PanopticLabel]) -> None:
    scorer = Scorer(city.classes, city.truth)
    for k, label in enumerate(labels):
        depth = city.depth(k)
        scorer.add(label, label, city.entries[k].sequence, depth, depth)
    result = scorer.result()

    for name in ("panoptic", "pq_dagger", "parsing_covering", "miou", "iou", "mask_ap", "stq", "vpq", "mots", "flicker",
                 "depth"):
        assert name in result
    measured = numbers(result)
    assert {path[-1] for path in measured} >= {"pq", "sq", "rq", "ap", "stq", "aq", "mean", "hota", "idf1", "delta3"}
    wrong = {path: value for path, value in measured.items()
             if path[-1] not in NO_QUALITY and value != (0 if path[-1] in MISTAKES else 1)}
    assert wrong == {}
    assert {find_metric(".".join(path))[0].key for path in measured} <= METRICS.keys()
    assert (result["images"], result["sequences"]) == (12, 2)


def test_new_track_ids_lower_what_follows_objects_and_nothing_else(city: City, labels: list[PanopticLabel]) -> None:
    found = score_city(city, labels, lambda label, number: replace(
        label, object_id=np.where(label.object_id > 0, label.object_id + 1000 * (number > 2), 0)))
    for key in ("stq.stq", "stq.aq", "vpq.5", "mots.idf1", "mots.hota", "mots.assa", "mots.motsa", "mots.smotsa"):
        assert found[key] < 1, key
    assert found["mots.id_switches"] > 0
    for key in ("panoptic.all.pq", "miou", "mask_ap.ap", "stq.sq", "vpq.1", "mots.deta", "parsing_covering"):
        assert found[key] == 1, key
    assert found["flicker"] == 0


def test_stuff_of_the_wrong_class_leaves_objects_alone(city: City, labels: list[PanopticLabel]) -> None:
    road, sky = (city.classes.names.index(name) for name in ("road", "sky"))
    swap = np.arange(len(city.classes))
    swap[[road, sky]] = sky, road
    found = score_city(city, labels, lambda label, number: replace(label, class_id=swap[label.class_id]))
    for key in ("panoptic.classes.road.pq", "iou.sky"):
        assert found[key] == 0
    for key in ("panoptic.all.pq", "panoptic.stuff.pq", "pq_dagger", "parsing_covering", "miou", "stq.sq", "vpq.1"):
        assert found[key] < 1, key
    for key in ("panoptic.things.pq", "mask_ap.ap", "stq.aq", "mots.hota", "mots.motsa", "mots.idf1"):
        assert found[key] == 1, key
    assert found["flicker"] == 0  # always wrong is not unsteady


def test_a_class_that_is_wrong_in_every_other_image_flickers(city: City, labels: list[PanopticLabel]) -> None:
    road, sidewalk = (city.classes.names.index(name) for name in ("road", "sidewalk"))
    found = score_city(city, labels, lambda label, number: replace(
        label, class_id=np.where((label.class_id == road) & (number % 2 == 1), sidewalk, label.class_id)))
    assert found["flicker"] > 0.1


def test_objects_that_run_together_leave_the_pixels_classes_alone(city: City, labels: list[PanopticLabel]) -> None:
    def merged(label: PanopticLabel, number: int) -> PanopticLabel:
        """All cars of an image are one."""
        rows = np.flatnonzero(label.class_id == city.classes.names.index("car"))
        segment = np.arange(len(label) + 1)
        segment[1 + rows] = 1 + rows[0]
        return replace(label, segment_map=segment[label.segment_map])

    found = score_city(city, labels, merged)
    for key in ("panoptic.classes.car.pq", "panoptic.things.pq", "mask_ap.ap", "mots.motsa", "stq.aq"):
        assert found[key] < 1, key
    for key in ("miou", "stq.sq", "panoptic.stuff.pq", "panoptic.classes.person.pq"):
        assert found[key] == 1, key
    assert found["flicker"] == 0


def test_sequences_may_come_interleaved(city: City, labels: list[PanopticLabel]) -> None:
    random = np.random.default_rng(0)  # of two equal scores average precision takes the earlier one first
    scores = [random.random(len(label)).astype(np.float32) for label in labels]

    def scored(order: list[int]) -> dict[tuple[str, ...], float]:
        scorer = Scorer(city.classes, VIDEO)
        for k in order:
            shifted = replace(labels[k], segment_map=np.roll(labels[k].segment_map, 1, 1), score=scores[k])
            scorer.add(shifted, labels[k], city.entries[k].sequence)
        return numbers(scorer.result())

    one_after_another = scored(list(range(12)))
    assert scored([0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]) == pytest.approx(one_after_another, abs=1e-12)
    assert scored(list(range(12))) == one_after_another


def test_scorers_of_different_sequences_add_up(city: City, labels: list[PanopticLabel]) -> None:
    scorers = [Scorer(city.classes, VIDEO) for _ in range(3)]
    for k, label in enumerate(labels):
        shifted = replace(label, segment_map=np.roll(label.segment_map, 1, 1))
        for scorer in (scorers[k // 6], scorers[2]):
            scorer.add(shifted, label, city.entries[k].sequence)
    total, both = scorers[0] + scorers[1], scorers[2]
    assert numbers(total.result()) == pytest.approx(numbers(both.result()), abs=1e-12)
    assert total.result()["images"] == 12
    assert scorers[0].result()["images"] == 6  # adding leaves the parts as they were


def test_what_the_truth_cannot_judge_is_absent() -> None:
    for kinds, expected in ((PANOPTIC, {"panoptic", "pq_dagger", "parsing_covering", "miou", "iou", "mask_ap"}),
                            (frozenset({Truth.SEMANTIC}), {"miou", "iou"})):
        scorer = Scorer(CLASSES, kinds)
        scorer.add(TRUTH, TRUTH)
        assert set(scorer.result()) == {"images", "sequences"} | expected
    scorer = Scorer(CLASSES, frozenset({Truth.TRACKS}))
    scorer.add(TRUTH, TRUTH, "a")
    assert set(scorer.result()) == {"images", "sequences", "mots"}


def test_an_image_has_a_score_of_its_own() -> None:
    # The car is missed and its pixels are left void: PQ of (1 + 1 + 0) / 3, mIoU the same.
    predicted = replace(TRUTH, segment_map=np.where(TRUTH.segment_map == 2, 0, TRUTH.segment_map))
    score = Scorer(CLASSES, PANOPTIC).add(predicted, TRUTH)
    assert score.quality == score.metrics["pq"] == score.metrics["miou"] == pytest.approx(2 / 3)
    assert score.void_share == 4 / 16
    # By tracks alone: one object, and it is missed.
    assert Scorer(CLASSES, frozenset({Truth.TRACKS})).add(predicted, TRUTH, "a").quality == 0
    void = PanopticLabel.of(np.zeros((4, 4), int), [])
    assert Scorer(CLASSES, PANOPTIC).add(predicted, void).quality is None


def test_a_crowd_is_neither_matched_nor_missed_by_any_metric() -> None:
    truth = replace(TRUTH, is_crowd=np.array([False, True, False]))
    void_car = replace(TRUTH, segment_map=np.where(TRUTH.segment_map == 2, 0, TRUTH.segment_map))
    for predicted in (TRUTH, void_car):
        scorer = Scorer(CLASSES, VIDEO)
        scorer.add(predicted, truth, "a")
        result = scorer.result()
        assert set(result["panoptic"]["classes"]) == {"road", "sky"}
        assert result["panoptic"]["all"]["pq"] == result["pq_dagger"] == result["parsing_covering"] == 1
        assert result["vpq"]["1"] == 1
        assert not {"mots", "mask_ap"} & set(result)
        assert set(result["stq"]) == {"sq"}


def test_predictions_are_brought_into_the_classes_of_the_truth() -> None:
    truth_classes = replace(CLASSES, includes=(("truck",), (), ()))
    # The model knows a truck, which is a car here, a boat, which is nothing here, and no sky.
    model_classes = table("road", "truck", "boat", things=0, name="model")
    model_classes = replace(model_classes, is_thing=(False, True, True))
    predicted = replace(TRUTH, class_id=np.array([2, 1, 0], np.int32))
    scorer = Scorer(truth_classes, PANOPTIC, model_classes)
    scorer.add(predicted, TRUTH)
    result = scorer.result()
    assert {name: row["pq"] for name, row in result["panoptic"]["classes"].items()} == {"car": 1, "road": 1, "sky": 0}
    assert result["panoptic"]["classes"]["sky"]["fn"] == 1
    assert result["unmapped_classes"] == ["boat"]
    assert result["classes_not_predicted"] == ["sky"]
    assert scorer.translated(predicted).class_id.tolist() == [NO_CLASS, 0, 1]


def test_objects_over_a_semantic_truth_count_as_their_class() -> None:
    truth_classes = table("car", "road", "sky", things=0)
    truth = replace(TRUTH, object_id=np.zeros(3, np.int64))
    two_cars = PanopticLabel.of(np.array([[1, 1, 1, 1], [2, 4, 3, 3], [2, 4, 3, 3], [3, 3, 3, 3]]), [2, 0, 1, 0])
    scorer = Scorer(truth_classes, frozenset({Truth.SEMANTIC}), CLASSES)
    scorer.add(two_cars, truth, "a")
    scorer.add(TRUTH, truth, "a")
    result = scorer.result()
    assert (result["miou"], result["flicker"]) == (1, 0)
    assert "panoptic" not in result


def test_predictions_without_scores_are_ranked_alike_and_that_is_said() -> None:
    scorer = Scorer(CLASSES, PANOPTIC)
    scorer.add(replace(TRUTH, score=np.full(3, np.nan, np.float32)), TRUTH)
    result = scorer.result()
    assert result["mask_ap"]["ap"] == 1
    assert "no scores" in result["warnings"][0]
    scorer.add(TRUTH, TRUTH)
    with pytest.raises(InputError, match="1 of 2 images have no scores"):
        scorer.result()


def test_an_image_without_objects_needs_no_scores() -> None:
    scorer = Scorer(CLASSES, PANOPTIC)
    scorer.add(PanopticLabel.of(np.ones((4, 4), int), [1], score=np.array([np.nan])), TRUTH)
    scorer.add(TRUTH, TRUTH)
    assert scorer.result()["mask_ap"]["ap"] == pytest.approx(51 / 101)  # half of the cars; recall in steps of 1 / 100


def test_some_missing_scores_are_refused() -> None:
    two = PanopticLabel.of(np.array([[1, 2]]), [0, 0], score=np.array([0.5, np.nan]))
    with pytest.raises(InputError, match="frame 12: 1 predicted things have no score"):
        Scorer(CLASSES, PANOPTIC).add(two, two, name="frame 12")


def test_a_prediction_of_another_size_is_refused_by_name() -> None:
    small = PanopticLabel.of(np.ones((2, 2), int), [1])
    with pytest.raises(InputError, match="frame 12: the prediction has 2 x 2 pixels, the truth 4 x 4"):
        Scorer(CLASSES, PANOPTIC).add(small, TRUTH, name="frame 12")
    with pytest.raises(InputError, match="an image of sequence left: "):
        Scorer(CLASSES, PANOPTIC).add(small, TRUTH, "left")


def test_a_class_beyond_the_table_is_refused() -> None:
    with pytest.raises(InputError, match="class 3"):
        Scorer(CLASSES, PANOPTIC).add(replace(TRUTH, class_id=np.array([2, 0, 3])), TRUTH)


def test_a_depth_that_is_not_a_number_is_refused() -> None:
    depth = np.ones((4, 4), np.float32)
    with pytest.raises(InputError, match="frame 12: the predicted depth of 16"):
        Scorer(CLASSES, PANOPTIC | {Truth.DEPTH}).add(TRUTH, TRUTH, None, depth * np.nan, depth, "frame 12")


def test_nothing_to_measure_is_an_error_and_no_zero() -> None:
    with pytest.raises(InputError, match="nothing was scored"):
        Scorer(CLASSES, PANOPTIC).result()
    void = PanopticLabel.of(np.zeros((4, 4), int), [])
    scorer = Scorer(CLASSES, VIDEO)
    scorer.add(TRUTH, void, "a")
    with pytest.raises(InputError, match="the truth is empty"):
        scorer.result()
    background = PanopticLabel.of(np.ones((4, 4), int), [NO_CLASS])
    scorer = Scorer(CLASSES, frozenset({Truth.TRACKS}))
    scorer.add(TRUTH, background, "a")
    with pytest.raises(InputError, match="no object to be tracked"):
        scorer.result()


def test_semantics_of_a_prediction_count_for_mean_iou_and_flicker_and_for_nothing_else() -> None:
    scorers = [Scorer(CLASSES, VIDEO) for _ in range(2)]
    # The segments leave the car and the sky void in the second image; the semantics know the car, and see a road in
    # one of four pixels of the sky.
    poor = PanopticLabel.of(np.where(TRUTH.segment_map == 3, 3, 0), TRUTH.class_id, TRUTH.object_id)
    seen = TRUTH.class_map()
    seen[0, 0] = 1
    with_semantics = replace(poor, semantics=seen)
    for scorer, second in zip(scorers, (poor, with_semantics), strict=True):
        scorer.add(TRUTH, TRUTH, "drive")
        scorer.add(second, TRUTH, "drive")
    plain, semantic = (scorer.result() for scorer in scorers)
    changed = {name for name in plain if plain[name] != semantic[name]}
    assert changed == {"miou", "iou", "flicker", "class_change"}
    assert semantic["iou"] == {"car": 1, "road": 16 / 17, "sky": 7 / 8}
    assert (plain["flicker"], semantic["flicker"]) == (8 / 16, 1 / 16)


def test_a_class_of_the_semantics_that_is_none_of_the_table_is_refused() -> None:
    with pytest.raises(InputError, match="prediction"):
        Scorer(CLASSES, PANOPTIC).add(replace(TRUTH, semantics=np.full((4, 4), 3, np.uint8)), TRUTH)
