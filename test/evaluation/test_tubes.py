"""Which segments of a sequence are one tube, and sums over pairs of tubes."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.tubes import PairSums, tube_class, tube_keys
from panoptic_ros.labels import NO_CLASS, PanopticLabel

IS_THING = np.array([False, True, True])


def keys(class_id, object_id, frame=0):
    return tube_keys(PanopticLabel.of(np.zeros((1, 1), int), class_id, object_id), IS_THING, frame)


def test_an_object_has_one_key_in_all_images_and_another_in_another_class():
    first, later = keys([1, 1, 2, 1], [5, 6, 5, 5]), keys([1], [5], frame=9)
    assert first[0] == first[3] == later[0]
    assert len(set(first)) == 3
    assert tube_class(first).tolist() == [1, 1, 2, 1]


def test_stuff_and_what_has_no_class_is_one_tube_each_whatever_its_object_id():
    result = keys([0, 0, NO_CLASS, NO_CLASS], [0, 7, 0, 8])
    assert result[0] == result[1] != result[2] == result[3]
    assert tube_class(result).tolist() == [0, 0, NO_CLASS, NO_CLASS]
    assert (result > 0).all()


def test_a_thing_without_object_id_is_a_tube_of_its_own_in_each_image():
    result = np.concatenate([keys([1, 1], [0, 0]), keys([1, 1], [0, 0], frame=1), keys([1], [1])])
    assert len(set(result)) == 5
    assert set(tube_class(result)) == {1}


@pytest.mark.parametrize("object_id", [-1, 2**39])
def test_an_object_id_that_does_not_fit_is_refused(object_id):
    with pytest.raises(InputError, match="object ids"):
        keys([1], [object_id])


def test_sums_of_pairs_are_those_of_a_dictionary_however_many_additions():
    rng = np.random.default_rng(1)
    sums, expected = PairSums(), np.zeros((50, 60), np.int64)
    assert [len(column) for column in sums.rows()] == [0, 0, 0]
    for _ in range(90):  # more rows than are kept unsorted
        first, second, value = rng.integers(0, 50, 1000), rng.integers(0, 60, 1000), rng.integers(1, 9, 1000)
        sums.add(first, second, value)
        np.add.at(expected, (first, second), value)
    first, second, value = sums.rows()
    assert expected[first, second].tolist() == value.tolist()
    assert value.sum() == expected.sum()
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == len(first) == np.count_nonzero(expected)
    assert sum(len(part[0]) for part in sums._parts) == len(first)  # memory: each pair once
