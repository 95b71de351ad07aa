"""`panoptic-ros dataset check`: every fault is found, counted and named, and a clean dataset has none."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from panoptic_ros.cli import main
from panoptic_ros.datasets.check import check_dataset
from panoptic_ros.datasets.open import open_dataset
from panoptic_ros.errors import InputError


def _kinds(path):
    return {kind: (count, first) for kind, count, first in check_dataset(str(path)).findings.kinds()}


def test_clean_datasets_have_no_faults(tiny_coco, tiny_camvid, tiny_mots):
    for path in (tiny_coco.write(), tiny_camvid, tiny_camvid / "val", tiny_mots, tiny_mots / "instances.txt"):
        assert _kinds(path) == {}
        assert main(["dataset", "check", str(path)]) == 0


def _add_segment(**columns):
    return lambda c: c.segments.append(
        {"id": 5, "category_id": 33, "area": 0, "bbox": [0, 0, 0, 0], "iscrowd": 0, **columns})


def _second(list_name, **columns):
    return lambda c: c.json[list_name].append({**c.json[list_name][0], **columns})


@pytest.mark.parametrize(("change", "kind", "words"), [
    (lambda c: c.ids.__setitem__((0, 0), 4711), "a segment is in the PNG, but not in the JSON file", "a.png: id 4711"),
    (_add_segment(), "a segment is in the JSON file, but not in the PNG", "a.png: segment 5"),
    (_add_segment(id=300), "two segments of an image have one id", "segment 300"),
    (_add_segment(id=0), "a segment id is no number from 1 to 16777215", "segment 0"),
    (_add_segment(id="five"), "a segment id is no number from 1 to 16777215", "segment five"),
    (lambda c: c.segments[1].update(category_id=34), "a segment is of an unknown class", "segment 300: category 34"),
    (lambda c: c.segments[1].update(area=5), "an area is wrong", "segment 300: 5 in the JSON file, 4 pixels"),
    (lambda c: c.segments[1].update(bbox=[1, 1, 2, 4]), "a box is wrong", "[1, 1, 2, 4] in the JSON file, it is [1, 1"),
    (lambda c: c.segments[1].update(score=float("nan")), "a score is no number", "segment 300"),
    (lambda c: c.segments[1].update(category_id=7), "a stuff class has several segments in an image", "2 of ground"),
    (lambda c: c.json["images"][0].update(width=7), "JSON file and PNG differ in size", "7 x 4, the PNG is 6 x 4"),
    (lambda c: c.json["categories"][1].update(id=7), "two categories have one id", "roof"),
    (lambda c: c.json["categories"][1].update(name="cart"), "two categories have one name", "cart"),
    (_second("images", id=9, file_name="b.jpg"), "an image has no annotation", "b.jpg"),
    (_second("images", id=9), "two images have one file name", "a.jpg"),
    (_second("images"), "two images have one id", "image 1"),
    (_second("annotations", image_id=9, file_name="b.png"), "an annotation is of no image in the list", "image 9"),
    (_second("annotations", file_name="b.png"), "an image is annotated twice", "b.png"),
    (_second("annotations", image_id=9), "two annotations have one PNG", "a.png"),
    (lambda c: c.json["images"][0].update(file_name="c.jpg"), "an image is missing", "c.jpg"),
])
def test_what_is_wrong_with_a_json_file_is_found(tiny_coco, capsys, change, kind, words):
    change(tiny_coco)
    tiny_coco.write()
    count, first = _kinds(tiny_coco.folder)[kind]
    assert count == 1
    assert words in first[0]
    assert main(["dataset", "check", "--strict", str(tiny_coco.folder)]) == 1
    printed = capsys.readouterr().out
    assert f"1 x {kind}" in printed
    assert first[0] in printed


@pytest.mark.parametrize("change", [
    _add_segment(),
    lambda c: c.segments[1].update(area=5),
    lambda c: c.segments[1].update(area=float("nan")),
    lambda c: c.segments[1].update(bbox=None),
    lambda c: c.segments[1].update(category_id=7),
    _second("images", id=9, file_name="b.jpg"),
    lambda c: c.segments.clear() or c.ids.fill(0),
])
def test_what_readers_take_as_it_is_is_a_remark_and_no_fault(tiny_coco, capsys, change):
    change(tiny_coco)
    folder = str(tiny_coco.write())
    open_dataset(folder).label(0)
    assert main(["dataset", "check", folder]) == 0
    assert "the labels are read as they are:" in capsys.readouterr().out
    assert main(["dataset", "check", "--strict", folder]) == 1


@pytest.mark.parametrize("change", [
    lambda c: c.ids.__setitem__((0, 0), 4711),
    lambda c: c.json["images"][0].update(width=7),
    lambda c: c.segments[1].update(category_id=34),
    lambda c: (c.json["images"].append({"id": 9, "file_name": "a.png"}), c.write_png("b.png", c.ids),
               c.json["annotations"].append({**c.json["annotations"][0], "image_id": 9, "file_name": "b.png"})),
    lambda c: c.json["categories"].extend({"id": k, "name": str(k), "isthing": 0} for k in range(1000, 1300)),
])
def test_what_readers_refuse_is_a_fault_and_told_before_the_remarks(tiny_coco, capsys, change):
    change(tiny_coco)
    for segment in tiny_coco.segments:
        segment["area"] = 77
    folder = str(tiny_coco.write())
    with pytest.raises(InputError):
        open_dataset(folder).label(0)
    assert main(["dataset", "check", folder]) == 1
    printed = capsys.readouterr().out
    assert 0 < printed.index("1 fault:") < printed.index(" remarks; the labels") < printed.index("an area is wrong")


@pytest.mark.parametrize("name", ["annotations", "categories"])
def test_a_file_with_an_empty_list_is_refused_by_reader_and_check(tiny_coco, name):
    tiny_coco.json[name].clear()
    folder = str(tiny_coco.write())
    with pytest.raises(InputError):
        open_dataset(folder)
    assert main(["dataset", "check", folder]) == 1


@pytest.mark.parametrize(("change", "kind"), [
    (lambda c: (c.png_folder / "a.png").unlink(), "a PNG is missing"),
    (lambda c: (c.png_folder / "a.png").write_bytes(b"\x89PNG"), "a PNG cannot be read"),
    (lambda c: cv2.imwrite(str(c.png_folder / "a.png"), np.zeros((4, 6), np.uint8)), "a PNG cannot be read"),
    (lambda c: c.write_png("a.png", np.zeros((4, 6), int)), "a label is void everywhere"),
    (lambda c: c.write_png("b.png", c.ids), "a PNG has no annotation"),
    (lambda c: c.image.unlink(), "an image is missing"),
    (lambda c: c.image.write_bytes(c.image.read_bytes()[:100]), "an image cannot be read"),
    (lambda c: cv2.imwrite(str(c.image), np.zeros((4, 7, 3), np.uint8)), "image and PNG differ in size"),
])
def test_faults_of_files_are_found(tiny_coco, change, kind):
    tiny_coco.write()
    change(tiny_coco)
    assert _kinds(tiny_coco.folder)[kind][0] == 1


def test_faults_of_a_video_are_found(tiny_coco):
    tiny_coco.json["images"] = [{"id": k, "file_name": f"{k}.jpg", "video_id": 1, "stamp_ns": 0} for k in range(2)]
    changed = [{**segment} for segment in tiny_coco.segments]
    changed[1]["category_id"] = 21
    tiny_coco.json["annotations"] = [{"image_id": k, "file_name": f"{k}.png", "segments_info": segments}
                                     for k, segments in enumerate((tiny_coco.segments, changed))]
    kinds = _kinds(tiny_coco.write())
    assert kinds["an object changes its class"][1] == ["1.png: segment 300 was of category 33, is of 21"]
    assert kinds["two images of a sequence have one time stamp"][0] == 1


def test_what_is_there_is_counted(tiny_coco):
    check = check_dataset(str(tiny_coco.write()))
    assert check.tally.pixels.tolist() == [13, 0, 5, 0, 6]  # ground, roof, cart, none of the classes, void
    assert check.tally.segments.tolist() == [1, 0, 2]
    assert check.tally.images.tolist() == [1, 0, 1]
    lines = check.text().splitlines()
    assert "6 x 4" in lines[0]
    assert lines[3].split() == ["ground", "stuff", "54.17%", "1", "1"]


def test_of_many_faults_the_first_are_named_and_all_are_counted_whatever_process_finds_them(tiny_coco):
    folder = tiny_coco.write()
    for k in range(40):
        tiny_coco.json["images"].append({"id": 100 + k, "file_name": "a.jpg"})
        tiny_coco.json["annotations"].append({"image_id": 100 + k, "file_name": f"{k:02d}.png",
                                              "segments_info": tiny_coco.segments})
        shutil.copy(tiny_coco.png_folder / "a.png", tiny_coco.png_folder / f"{k:02d}.png")
    tiny_coco.segments[1]["area"] = 77
    tiny_coco.json_file.write_text(json.dumps(tiny_coco.json))
    count, first = _kinds(folder)["an area is wrong"]
    assert count == 41
    assert [place.split(":")[0] for place in first] == ["a.png", "00.png", "01.png", "02.png", "03.png"]


def test_what_is_not_of_the_format_at_all_is_refused(tiny_coco, capsys):
    tiny_coco.write()
    tiny_coco.json_file.write_text("{}")
    assert main(["dataset", "check", str(tiny_coco.folder)]) == 2
    assert "no COCO-panoptic file" in capsys.readouterr().err


@pytest.mark.parametrize(("line", "kind", "words"), [
    ((0, 1005, 1, 1, 3, 2, 5), "masks overlap", "object 1005: 2 pixels are of 1000, 2001 as well"),
    ((0, 1000, 1, 3, 4, 6, 8), "an object is twice in one frame", "drive_000000, object 1000"),
    ((1, 1000, 2, 3, 4, 6, 8), "an object changes its class", "object 1000 was of class 1, is of 2"),
    ((3, 1000, 1, 0, 2, 1, 4), "a file names a frame that has no image", "instances.txt: frame 3"),
    ((1, 1009, 1, 0, 0, 0, 0), "a mask is empty", "drive_000001, object 1009"),
    ("0 1 3 5 8 abc", "a line is not 'frame object_id class_id height width rle'", "instances.txt:5: class 3"),
    ("1 1 1 5 8 0", "run lengths cannot be decoded", "object 1: they are of 0 pixels, not of 8 x 5"),
    ("1 1 1 5 8 \xe9", "run lengths cannot be decoded", "object 1: "),
    ("1 1 1 6 8 abc", "a mask has another size than others of the sequence", "object 1: 8 x 6, not 8 x 5"),
])
def test_faults_of_mots_files_are_found(tiny_mots, make_mots_line, line, kind, words):
    file = tiny_mots / "instances.txt"
    file.write_text(file.read_text() + (line + "\n" if isinstance(line, str) else make_mots_line(*line)))
    count, first = _kinds(tiny_mots)[kind]
    assert count == 1
    assert words in first[0]


def test_faults_of_camvid_are_found(tiny_camvid):
    shutil.copy(tiny_camvid / "val" / "0016E5_07959.jpg", tiny_camvid / "train" / "0016E5_07959.jpg")
    (tiny_camvid / "val" / "0016E5_07961.jpg").unlink()
    cv2.imwrite(str(tiny_camvid / "valannot" / "0016E5_07963.png"), np.full((2, 3), 200, np.uint8))
    kinds = _kinds(tiny_camvid)
    assert kinds["an image is in two splits"][0] == 1
    assert "valannot/0016E5_07961.png" in kinds["a label has no image"][1][0]
    assert kinds["the label cannot be used"][0] == 2  # one that is missing, one with a class that is none
