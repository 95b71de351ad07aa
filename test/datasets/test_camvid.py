"""CamVid: labels, clips, and the training images that show what the validation clip shows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from panoptic_ros.datasets import Truth, open_dataset
from panoptic_ros.datasets.camvid import CamVid
from panoptic_ros.errors import InputError


def test_a_label_has_one_segment_for_each_class_and_11_is_void(tiny_camvid):
    dataset = open_dataset(str(tiny_camvid / "val"))
    assert dataset.truth == {Truth.SEMANTIC}
    label = dataset.label(0)
    assert label.class_map().tolist() == [[3, 3, 3], [8, 255, 0]]
    assert label.class_id.tolist() == [0, 3, 8]
    assert label.segment_map.tolist() == [[2, 2, 2], [3, 0, 1]]
    assert dataset.image(0).shape == (2, 3, 3)


def test_every_other_frame_of_a_drive_is_a_clip_at_15_hz(tiny_camvid):
    entries = open_dataset(str(tiny_camvid / "val")).entries
    assert [(e.name, e.sequence, e.number) for e in entries] == [
        ("0001TP_000030", None, 30), ("0016E5_07959", "0016E5_07959", 7959), ("0016E5_07961", "0016E5_07959", 7961),
        ("0016E5_07963", "0016E5_07959", 7963)]
    assert entries[2].stamp_ns - entries[1].stamp_ns == pytest.approx(1e9 / 15, abs=1)


def test_the_root_has_all_splits_and_what_is_labelled_once_a_second_is_alone(tiny_camvid):
    dataset = open_dataset(str(tiny_camvid))
    assert len(dataset) == 9
    assert [len(rows) for sequence, rows in dataset.sequences() if sequence] == [3]


def test_training_leaves_out_what_lies_near_the_validation_clip(tiny_camvid):
    names = [entry.name for entry in CamVid(tiny_camvid / "train", for_training=True).entries]
    assert names == ["0006R0_f00930", "0016E5_07470", "0016E5_08670"]
    assert len(open_dataset(str(tiny_camvid / "train"), for_training=True)) == 3
    assert len(open_dataset(str(tiny_camvid / "train"))) == 5


def test_wrong_labels_and_sizes_are_named(tiny_camvid):
    dataset = open_dataset(str(tiny_camvid / "val"))
    file = tiny_camvid / "valannot" / "0016E5_07959.png"
    cv2.imwrite(str(file), np.full((2, 3), 12, np.uint8))
    with pytest.raises(InputError, match=r"0016E5_07959\.png is no label of CamVid"):
        dataset.label(1)
    cv2.imwrite(str(file), np.zeros((3, 3), np.uint8))
    with pytest.raises(InputError, match=r"0016E5_07959\.jpg is 3 x 2 pixels, its label 3 x 3"):
        dataset.image(1)
    file.unlink()
    with pytest.raises(InputError, match=r"0016E5_07959\.png cannot be read"):
        dataset.label(1)
