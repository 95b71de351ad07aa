"""Counters as arrays, as files keep them, are the counters again: the same numbers, and they add up."""

from __future__ import annotations

import io

import numpy as np
import pytest

from panoptic_ros.datasets.city import City, CityName
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.scorer import Scorer
from panoptic_ros.labels import PanopticLabel


@pytest.fixture(scope="module")
def scorers() -> list[Scorer]:
    """Of two sequences with every kind of truth, each seen with a shift, so that no number is perfect."""
    city = City(CityName(600, 601, 6, size=(64, 128)))
    found: dict[str | None, Scorer] = {}
    for i, entry in enumerate(city.entries):
        truth, depth = city.label(i), city.depth(i)
        predicted = PanopticLabel.of(np.roll(truth.segment_map, 2, axis=1), truth.class_id, truth.object_id)
        found.setdefault(entry.sequence, Scorer(city.classes, city.truth)).add(
            predicted, truth, entry.sequence, np.roll(np.where(np.isfinite(depth), depth, 99), 2, axis=1), depth)
    return list(found.values())


def through_a_file(scorer: Scorer) -> Scorer:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **scorer.state())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        return Scorer.of_state(arrays)


def test_counters_that_were_kept_have_the_same_numbers(scorers: list[Scorer]) -> None:
    for scorer in scorers:
        result = scorer.result()
        assert {"panoptic", "mask_ap", "stq", "vpq", "mots", "flicker", "depth"} <= result.keys()
        assert through_a_file(scorer).result() == result


def test_counters_that_were_kept_add_up_as_those_that_were_not(scorers: list[Scorer]) -> None:
    first, second = scorers
    total = through_a_file(first)
    total += through_a_file(second)
    expected = (first + second).result()
    assert total.result() == expected
    assert expected != first.result()


def test_what_is_missing_or_no_counters_is_refused(scorers: list[Scorer]) -> None:
    state = scorers[0].state()
    for name in ("classes", "images", "matches.iou", "vpq.0.iou", "mask_ap.iou.sizes"):
        with pytest.raises(InputError, match="counters of a scorer"):
            Scorer.of_state({key: value for key, value in state.items() if key != name})
