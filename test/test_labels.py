"""PanopticLabel: maps to segments and back, and into other class tables."""

from dataclasses import replace

import numpy as np

from panoptic_ros.labels import NO_CLASS, PanopticLabel


def test_a_label_of_maps_has_one_segment_for_each_object_and_each_stuff_class():
    class_map = np.array([[0, 0, 255], [1, 1, 1]], np.uint8)
    instance_map = np.array([[0, 0, 0], [7, 300, 300]])

    label = PanopticLabel.of_maps(class_map, instance_map)

    assert label.segment_map.tolist() == [[1, 1, 0], [2, 3, 3]]
    assert label.class_id.tolist() == [0, 1, 1]
    assert label.object_id.tolist() == [0, 7, 300]
    assert label.class_map().tolist() == class_map.tolist()


def test_stuff_that_becomes_one_class_becomes_one_segment_and_things_stay_apart():
    label = PanopticLabel.of(np.array([[1, 2, 3, 4, 5, 0]]), [0, 1, 2, 2, 3], [0, 0, 8, 9, 0])

    # classes 0 and 1 become stuff 1, class 2 becomes thing 0, class 3 is not mapped
    other = label.translated(np.array([1, 1, 0, NO_CLASS]), np.array([True, False]))

    assert other.segment_map.tolist() == [[1, 1, 2, 3, 4, 0]]
    assert other.class_id.tolist() == [1, 0, 0, NO_CLASS]
    assert other.object_id.tolist() == [0, 8, 9, 0]
    assert other.class_map().tolist() == [[1, 1, 0, 0, 255, 255]]


def test_semantics_of_a_prediction_are_its_classes_and_go_into_another_table():
    label = PanopticLabel.of(np.array([[1, 1, 0, 0]]), [1])
    label = replace(label, semantics=np.array([[1, 0, 2, 255]], np.uint8))
    assert label.class_map().tolist() == [[1, 0, 2, 255]]
    assert label.class_map(void=9).tolist() == [[1, 0, 2, 9]]

    other = label.translated(np.array([1, 0, NO_CLASS]), np.array([True, False]))

    assert other.semantics.tolist() == [[0, 1, 255, 255]]
    assert other.class_id.tolist() == [0]
