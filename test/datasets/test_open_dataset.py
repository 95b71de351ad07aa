"""A path says what it is; one that is nothing gets an answer that helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from panoptic_ros.classes import load_class_table
from panoptic_ros.datasets import Truth, open_dataset
from panoptic_ros.errors import InputError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def test_each_format_is_known_by_what_is_there(tiny_coco, tiny_camvid, tiny_mots):
    kinds = [type(open_dataset(str(path))).__name__ for path in (tiny_coco.write(), tiny_camvid, tiny_mots)]
    assert kinds == ["CocoPanoptic", "CamVid", "KittiMots"]


def test_every_entry_has_a_name_of_its_own_that_a_file_can_have(tiny_coco, tiny_camvid, tiny_mots):
    for path in (str(tiny_coco.write()), str(tiny_camvid), str(tiny_mots), "city:600-601x2"):
        names = [entry.name for entry in open_dataset(path).entries]
        assert len(set(names)) == len(names)
        assert not any("/" in name or name.startswith(".") for name in names)


def test_what_is_no_dataset_is_answered_with_the_formats(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=r"(?s)COCO panoptic.*KITTI-MOTS.*CamVid.*synthetic city"):
            open_dataset(str(path))


def test_several_json_files_are_a_question(tiny_coco):
    for name in ("train", "val"):
        tiny_coco.json_file, tiny_coco.png_folder = tiny_coco.folder / f"{name}.json", tiny_coco.folder / name
        tiny_coco.write()
    with pytest.raises(InputError, match=r"several panoptic JSON files.*train\.json.*val\.json"):
        open_dataset(str(tiny_coco.folder))
    assert open_dataset(str(tiny_coco.folder / "val")).name == "val"


@pytest.mark.parametrize(("table", "classes", "things"), [
    ("cityscapes", 19, 8), ("coco", 133, 80), ("mapillary_vistas", 65, 37), ("idd", 26, 9), ("camvid", 11, 0),
    ("kitti_mots", 2, 2)])
def test_class_tables_have_the_classes_that_their_datasets_publish(table, classes, things):
    loaded = load_class_table(table)
    assert (len(loaded), sum(loaded.is_thing)) == (classes, things)
    included = [name for names in loaded.includes for name in names]
    assert len(set(included)) == len(included)
    assert not set(included) & set(loaded.names)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is not here")
def test_the_shared_driving_data_is_read():
    kitti = open_dataset(str(SHARED / "kitti_0000"))
    assert len(kitti) == 154
    tracks = {number for index in range(154) for number in (m.object_id for m in kitti.masks(index))}
    assert len(tracks - {10000}) == 11
    label = kitti.label(0)
    assert kitti.image(0).shape[:2] == label.segment_map.shape == (375, 1242)
    assert kitti.truth == {Truth.TRACKS, Truth.DEPTH}
    clip = open_dataset(str(SHARED / "camvid" / "val"))
    assert [len(rows) for _, rows in clip.sequences()] == [101]
    assert np.unique(clip.label(50).class_map()).max() == 255
    assert len(open_dataset(str(SHARED / "camvid" / "train"), for_training=True)) == 336
