"""The synthetic city as a dataset: its names, its frames, and that processes get the same."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from panoptic_ros.classes import load_class_table
from panoptic_ros.datasets import Truth, open_dataset
from panoptic_ros.datasets.city import City, CityName
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.content_hash import hash_images
from panoptic_ros.synthetic_city import CityCamera, CityDrive


def test_the_test_drives_are_what_city_means():
    dataset = open_dataset("city")
    assert [(name, len(rows)) for name, rows in dataset.sequences()] == [(f"0{600 + k}", 20) for k in range(8)]
    assert dataset.truth == set(Truth)
    assert [e.stamp_ns for e in dataset.entries[:3]] == [0, 100_000_000, 200_000_000]


@pytest.mark.parametrize(("text", "name"), [
    ("city:500", CityName(500, 500)), ("city:500-503x7", CityName(500, 503, 7)),
    ("city:3x2@256x320", CityName(3, 3, 2, size=(256, 320))), ("cityx3", CityName(frames=3)),
    ("city:1x4/12", CityName(1, 1, 4, 12)), ("cityscapes/val", None), ("town", None),
    ("city+varied", CityName(varied=True)), ("city:7x2/3@64x128+varied", CityName(7, 7, 2, 3, (64, 128), True)),
    ("city+tiny", CityName(tiny=True)),
    ("city:1-2x4/12@64x64+varied+tiny", CityName(1, 2, 4, 12, (64, 64), True, True)),
])
def test_a_name_says_drives_frames_and_size(text, name):
    assert CityName.parse(text) == name


@pytest.mark.parametrize("text", ["city:", "city:a", "city:5-3", "city:5x0", "city:5@10x10", "city:5@256", "city:5+",
                                  "city+small", "city+tiny@256x512"])
def test_a_name_that_goes_wrong_is_refused(text):
    with pytest.raises(InputError, match=r"no synthetic city|names no drives"):
        open_dataset(text)


def test_images_labels_and_depth_are_those_of_the_drives_frames():
    dataset = pickle.loads(pickle.dumps(City(CityName(600, 601, 2, 3, (64, 128)))))
    assert [e.number for e in dataset.entries] == [0, 3, 0, 3]
    frame = CityDrive(601, CityCamera.of_size(64, 128)).render(3)
    assert np.array_equal(dataset.image(3), frame.image)
    assert np.array_equal(dataset.depth(3), frame.depth)
    label = dataset.label(3)
    assert np.array_equal(label.class_map(), frame.class_map)
    objects = np.concatenate([[0], label.object_id])[label.segment_map]
    assert np.array_equal(objects, np.where(frame.class_map == 255, 0, frame.instance_map))
    assert len(pickle.dumps(dataset)) < 5000  # a process gets the recipe, not a town


def test_tiny_things_are_crowds_unless_the_name_says_that_they_are_outlined():
    label, outlined = (open_dataset(f"city:600x1@256x512{option}").label(0) for option in ("", "+tiny"))
    assert np.array_equal(label.class_map(), outlined.class_map())
    assert not outlined.is_crowd.any()
    area = np.bincount(outlined.segment_map.reshape(-1))[1:]
    crowd = np.append(False, label.is_crowd)[label.segment_map]
    is_thing = load_class_table("cityscapes").thing_mask[outlined.class_id]
    is_tiny = is_thing & (area < 7)  # 25 pixels at four times the area
    assert is_tiny.any()
    assert np.array_equal(crowd, np.append(False, is_tiny)[outlined.segment_map])
    assert set(label.object_id.tolist()) == set(outlined.object_id[~is_tiny].tolist())


def test_results_and_what_is_kept_of_the_two_labels_are_told_apart():
    with_crowds, outlined = open_dataset("city:600x1"), open_dataset("city:600x1+tiny")
    assert with_crowds.revision != outlined.revision
    assert (with_crowds.name, outlined.name) == ("city:600-600x1", "city:600-600x1+tiny")
    assert hash_images(with_crowds) == hash_images(open_dataset("city:600x1"))
    assert hash_images(with_crowds) != hash_images(outlined)
    assert hash_images(open_dataset("city:600x3"), 1) == hash_images(with_crowds)


def test_varied_drives_have_a_name_of_their_own_and_frames_and_focal_length_of_theirs():
    dataset = City(CityName(601, 601, 1, size=(64, 128), varied=True))
    drive = CityDrive(601, CityCamera.of_size(64, 128), varied=True)
    assert dataset.name == "city:601-601x1+varied"
    assert not {e.name for e in dataset.entries} & {e.name for e in City(CityName(601, 601, 1)).entries}
    assert np.array_equal(dataset.image(0), drive.render(0).image)
    assert dataset.focal_length(0) == drive.camera.fx
