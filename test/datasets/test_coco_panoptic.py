"""COCO's panoptic format: what is read, where files are looked for, and that what is written can be read again."""

from __future__ import annotations

import json
import pickle
import shutil

import cv2
import numpy as np
import pytest

from panoptic_ros.classes import ClassTable, load_class_table
from panoptic_ros.cli import main
from panoptic_ros.datasets import Truth, open_dataset
from panoptic_ros.datasets.coco_panoptic import CocoPanopticWriter
from panoptic_ros.errors import InputError
from panoptic_ros.labels import NO_CLASS, PanopticLabel


def test_a_pixels_id_is_red_plus_256_green_plus_65536_blue(tiny_coco):
    label = open_dataset(str(tiny_coco.write())).label(0)
    expected = np.array([[1, 1, 1, 1, 1, 3], [1, 2, 2, 1, 1, 1], [1, 2, 2, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    assert np.array_equal(label.segment_map, expected)
    assert label.class_id.tolist() == [0, 2, 2]  # rows of the categories 7 and 33
    assert label.is_crowd.tolist() == [False, False, True]
    assert np.isnan(label.score).all()


def test_classes_come_from_the_categories(tiny_coco):
    classes = open_dataset(str(tiny_coco.write())).classes
    assert classes.names == ("ground", "roof", "cart")
    assert classes.is_thing == (False, False, True)
    assert classes.colors[2] == (70, 80, 90)


def test_a_table_of_ours_is_taken_where_it_has_the_same_classes_in_any_order(tiny_coco):
    cityscapes = load_class_table("cityscapes")
    tiny_coco.json["categories"] = [
        {"id": 100 - k, "name": name, "isthing": int(thing)} for k, (name, thing) in enumerate(
            zip(cityscapes.names, cityscapes.is_thing, strict=True))][::-1]
    for segment, category in zip(tiny_coco.segments, (100, 100 - 13, 100 - 13), strict=True):
        segment["category_id"] = category
    dataset = open_dataset(str(tiny_coco.write()))
    assert dataset.classes == cityscapes
    assert dataset.label(0).class_id.tolist() == [0, 13, 13]


def test_images_are_read_red_first_and_have_the_size_of_the_label(tiny_coco):
    dataset = open_dataset(str(tiny_coco.write()))
    image = dataset.image(0)
    assert image.shape == (4, 6, 3)
    assert image[..., 0].min() > 180
    assert image[..., 1:].max() < 20
    cv2.imwrite(str(tiny_coco.image), np.zeros((5, 6, 3), np.uint8))
    with pytest.raises(InputError, match=r"a\.jpg is 6 x 5 pixels, its label 6 x 4"):
        dataset.image(0)


@pytest.mark.parametrize(("json_file", "pngs", "image", "path"), [
    ("panoptic.json", "panoptic", "images/a.jpg", ""),
    ("panoptic_val2017.json", "panoptic_val2017", "val2017/a.jpg", ""),
    ("annotations/panoptic_val2017.json", "annotations/panoptic_val2017", "val2017/a.jpg", ""),
    ("annotations/panoptic_val2017.json", "annotations/panoptic_val2017", "images/val2017/a.jpg",
     "annotations/panoptic_val2017.json"),
    ("annotations/panoptic_val2017.json", "annotations/panoptic_val2017", "val2017/a.jpg",
     "annotations/panoptic_val2017"),
    ("panoptic/panoptic_2018.json", "panoptic", "images/a.jpg", ""),  # Mapillary Vistas
    ("v2.0/panoptic/panoptic_2020.json", "v2.0/panoptic", "images/a.jpg", ""),
    ("val.json", "val", "a.png", ""),
])
def test_people_s_layouts_are_found(tiny_coco, json_file, pngs, image, path):
    tiny_coco.json_file, tiny_coco.png_folder = tiny_coco.folder / json_file, tiny_coco.folder / pngs
    tiny_coco.image = tiny_coco.folder / image
    if image.endswith(".png"):
        tiny_coco.json["images"][0]["file_name"] = "a.jpg"  # of another format than what is there
    dataset = open_dataset(str(tiny_coco.write() / path))
    assert len(dataset.label(0)) == 3
    assert dataset.image(0).shape == (4, 6, 3)


def test_cityscapes_names_lead_to_the_images_of_leftimg8bit(tiny_coco):
    root = tiny_coco.folder
    tiny_coco.json_file = root / "gtFine" / "cityscapes_panoptic_val.json"
    tiny_coco.png_folder = root / "gtFine" / "cityscapes_panoptic_val"
    tiny_coco.image = root / "leftImg8bit" / "val" / "ulm" / "ulm_000000_000019_leftImg8bit.png"
    tiny_coco.json["images"][0]["file_name"] = "ulm_000000_000019_gtFine_leftImg8bit.png"
    tiny_coco.json["annotations"][0]["file_name"] = "ulm_000000_000019_gtFine_panoptic.png"
    tiny_coco.write()
    shutil.move(tiny_coco.png_folder / "a.png", tiny_coco.png_folder / "ulm_000000_000019_gtFine_panoptic.png")
    dataset = open_dataset(str(root))
    assert dataset.entries[0].name == "ulm_000000_000019"
    assert dataset.image(0).shape == (4, 6, 3)
    assert len(dataset.label(0)) == 3


def test_labels_need_no_images_and_a_missing_image_is_named_with_the_places(tiny_coco):
    tiny_coco.write()
    tiny_coco.image.unlink()
    dataset = open_dataset(str(tiny_coco.folder))
    assert len(dataset.label(0)) == 3
    with pytest.raises(InputError, match=r"no image a\.jpg .* looked in: .*tiny/images"):
        dataset.image(0)


def test_ids_that_only_the_png_has_are_refused(tiny_coco):
    tiny_coco.ids[0, 0] = 4711
    with pytest.raises(InputError, match=r"a\.png has 1 segment ids that panoptic\.json does not know: 4711"):
        open_dataset(str(tiny_coco.write())).label(0)


def test_an_unknown_category_is_refused(tiny_coco):
    tiny_coco.segments[1]["category_id"] = 5
    with pytest.raises(InputError, match="a segment is of an unknown class: a.png: segment 300: category 5"):
        open_dataset(str(tiny_coco.write()))


@pytest.mark.parametrize(("change", "words"), [
    (lambda c: (c.png_folder / "a.png").write_bytes((c.png_folder / "a.png").read_bytes()[:-20]), "cut off"),
    (lambda c: (c.png_folder / "a.png").unlink(), "cannot be read: No such file"),
    (lambda c: cv2.imwrite(str(c.png_folder / "a.png"), np.zeros((4, 6), np.uint8)), "three 8-bit channels"),
    (lambda c: c.write_png("a.png", np.zeros((4, 7), int)), "7 x 4 pixels, its image 6 x 4 by panoptic.json"),
])
def test_damaged_pngs_are_named(tiny_coco, change, words):
    tiny_coco.write()
    change(tiny_coco)
    with pytest.raises(InputError, match=words) as error:
        open_dataset(str(tiny_coco.folder)).label(0)
    assert "a.png" in str(error.value)


def _three_frames(tiny_coco, names, **more):
    tiny_coco.json["images"] = [{"id": k, "file_name": name, "height": 4, "width": 6,
                                 **{key: value[k] for key, value in more.items()}} for k, name in enumerate(names)]
    tiny_coco.json["annotations"] = [{"image_id": k, "file_name": f"{k}.png", "segments_info": tiny_coco.segments}
                                     for k in range(len(names))]
    folder = tiny_coco.write()
    for k in range(len(names)):
        tiny_coco.write_png(f"{k}.png", tiny_coco.ids)
    return str(folder)


def test_images_alone_are_no_video_and_have_no_object_ids(tiny_coco):
    dataset = open_dataset(_three_frames(tiny_coco, ["x/2.png", "x/1.png", "y/1.png"]))
    assert [entry.sequence for entry in dataset.entries] == [None] * 3
    assert len({entry.name for entry in dataset.entries}) == 3
    assert Truth.TRACKS not in dataset.truth
    assert not dataset.label(0).object_id.any()


def test_a_video_id_makes_sequences_in_the_order_of_their_frames(tiny_coco):
    path = _three_frames(tiny_coco, ["c.png", "a.png", "b.png"], video_id=[5, 9, 5], frame_id=[8, 0, 7])
    dataset = open_dataset(path)
    assert [(e.sequence, e.number) for e in dataset.entries] == [("5", 7), ("5", 8), ("9", 0)]
    assert Truth.TRACKS in dataset.truth
    # Things keep their ids; stuff and crowds are no objects.
    assert dataset.label(1).object_id.tolist() == [0, 300, 0]
    assert open_dataset(path, video=False).entries[0].sequence is None


def test_with_video_a_folder_of_images_is_a_sequence(tiny_coco):
    path = _three_frames(tiny_coco, ["x/2.png", "y/1.png", "x/1.png"])
    entries = open_dataset(path, video=True).entries
    assert [(e.sequence, e.number) for e in entries] == [("x", 1), ("x", 2), ("y", 1)]
    path = _three_frames(tiny_coco, ["2.png", "10.png", "1.png"])
    assert [(e.sequence, e.number) for e in open_dataset(path, video=True).entries] == [
        ("video", 1), ("video", 2), ("video", 10)]


def test_a_name_of_nanoseconds_is_a_time(tiny_coco):
    path = _three_frames(tiny_coco, ["1700000000123456789.png", "1.png", "2.png"])
    entry = open_dataset(path).entries[0]
    assert (entry.stamp_ns, entry.number) == (1700000000123456789, -1)


def test_a_dataset_can_be_pickled(tiny_coco):
    dataset = pickle.loads(pickle.dumps(open_dataset(str(tiny_coco.write()))))
    assert len(dataset.label(0)) == 3


CLASSES = ClassTable("tiny", ("ground", "roof", "cart"), (False, False, True), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))


def _label(rows, **columns):
    segment_map = np.array(rows)
    return PanopticLabel.of(segment_map, **{key: np.array(value) for key, value in columns.items()})


def test_what_is_written_can_be_read_again(tmp_path):
    label = _label([[1, 1, 2], [3, 0, 2]], class_id=[0, 2, 2], object_id=[0, 1 << 40, 7], is_crowd=[0, 0, 0],
                   score=[0.5, 0.25, 1.0])
    writer = CocoPanopticWriter(tmp_path, CLASSES, scores=True)
    for k in range(2):
        writer.add(f"images/{k}.png", label, "drive", number=k, stamp_ns=k * 100)
    writer.close()
    dataset = open_dataset(str(tmp_path))
    assert [(e.sequence, e.number, e.stamp_ns) for e in dataset.entries] == [("drive", 0, 0), ("drive", 1, 100)]
    read = dataset.label(1)
    assert np.array_equal(read.segment_map, label.segment_map)
    assert read.class_id.tolist() == [0, 2, 2]
    assert read.score.tolist() == [0.5, 0.25, 1.0]
    assert np.array_equal(read.object_id, dataset.label(0).object_id)
    assert (read.object_id > 0).tolist() == [False, True, True]
    info = json.loads((tmp_path / "panoptic.json").read_text())["annotations"][0]["segments_info"]
    assert [segment["area"] for segment in info] == [2, 2, 1]
    assert info[1]["bbox"] == [2, 0, 1, 2]


def test_a_truth_has_no_scores_and_no_class_becomes_void(tmp_path):
    writer = CocoPanopticWriter(tmp_path, CLASSES)
    writer.add("a.png", _label([[1, 2, 0]], class_id=[NO_CLASS, 1]))
    writer.close()
    [segment] = json.loads((tmp_path / "panoptic.json").read_text())["annotations"][0]["segments_info"]
    assert "score" not in segment
    assert open_dataset(str(tmp_path)).label(0).segment_map.tolist() == [[0, 1, 0]]


def test_segments_that_are_no_followed_objects_never_share_an_id(tmp_path):
    writer = CocoPanopticWriter(tmp_path, CLASSES)
    label = _label([[1, 2, 3, 4]], class_id=[0, 0, 2, 2])  # two segments of one stuff class, two untracked things
    for k in range(2):
        writer.add(f"{k}.png", label, "drive", number=k)
    writer.close()
    dataset = open_dataset(str(tmp_path))
    ids = [dataset.label(k).object_id for k in range(2)]
    assert len(dataset.label(0)) == 4
    assert not set(ids[0][2:].tolist()) & set(ids[1][2:].tolist())


def test_the_writer_refuses_ids_that_do_not_fit_and_images_that_are_there_twice(tmp_path):
    writer = CocoPanopticWriter(tmp_path, CLASSES)
    label = _label([[1, 2]], class_id=[0, 1])
    for ids in ([1, 1], [0, 1], [1, 1 << 24]):
        with pytest.raises(InputError, match="must differ and lie between"):
            writer.add("a.png", label, segment_ids=np.array(ids))
    writer.add("a.png", label)
    with pytest.raises(InputError, match=r"a\.png is there twice"):
        writer.add("images/a.png", label)


def test_a_drive_of_the_city_that_was_written_is_a_video_with_depth(tmp_path):
    out = tmp_path / "drive"
    assert main(["city", "--seed", "600", "--frames", "2", "--size", "96x160", "--out", str(out)]) == 0
    written, rendered = open_dataset(str(out)), open_dataset("city:600x2@96x160")
    assert written.truth == rendered.truth
    assert [(e.sequence, e.number, e.stamp_ns) for e in written.entries] == [("drive", 0, 0), ("drive", 1, 100000000)]
    assert written.classes == rendered.classes
    for k in range(2):
        assert np.array_equal(written.image(k), rendered.image(k))
        assert np.array_equal(written.label(k).class_map(), rendered.label(k).class_map())
        near = rendered.depth(k) < 255
        assert np.abs(written.depth(k) - rendered.depth(k))[near].max() < 0.003
    first, second = (set(written.label(k).object_id.tolist()) - {0} for k in range(2))
    assert first & second
