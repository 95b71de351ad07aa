"""Whoever reads a COCO-panoptic file and whoever checks it take the same, and name the same faults."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from panoptic_ros.datasets.check import check_dataset
from panoptic_ros.datasets.coco_content import inside, whole_number
from panoptic_ros.datasets.open import open_dataset
from panoptic_ros.errors import InputError


def _as_text(rows, *keys):
    for row in rows:
        row.update({key: str(row[key]) for key in keys})


def _segments(c, **values):
    for segment in c.segments:
        segment.update(values)


def _annotation(**values):
    return lambda c: c.json["annotations"][0].update(values)


def _image(**values):
    return lambda c: c.json["images"][0].update(values)


def _category(**values):
    return lambda c: c.json["categories"][0].update(values)


@pytest.mark.parametrize("change", [
    lambda c: _as_text(c.json["images"], "id", "height", "width"),
    lambda c: _as_text(c.json["annotations"], "image_id"),
    lambda c: _as_text(c.json["categories"], "id", "isthing"),
    lambda c: _as_text(c.segments, "id", "category_id", "iscrowd"),
    lambda c: [segment.update(id=float(segment["id"])) for segment in c.segments],
    lambda c: [category.update(isthing=bool(category["isthing"])) for category in c.json["categories"]],
    lambda c: c.json["categories"][0].pop("color"),
    _category(color=None), _category(color=["0", "0.0", 0.0]),
    lambda c: [segment.pop(key) for segment in c.segments for key in ("area", "bbox")],
    lambda c: c.json["images"][0].pop("height"),
    _annotation(file_name="a.jpg"), _annotation(file_name="/elsewhere/masks/a.png"),
    _annotation(file_name="../../a.png"), _annotation(file_name=r"C:\data\a.png"), _annotation(file_name=r".\a.png"),
    lambda c: _annotation(file_name=str(c.png_folder.absolute() / "a.png"))(c),
    _image(file_name="/elsewhere/images/a.jpg"), _image(file_name="../../../etc/a.jpg"),
    lambda c: c.json.update(videos=None),
])
def test_what_says_the_same_in_other_words_is_the_same(tiny_coco, change):
    want = open_dataset(str(tiny_coco.write())).label(0)
    change(tiny_coco)
    dataset = open_dataset(str(tiny_coco.write()))
    label = dataset.label(0)
    assert np.array_equal(label.segment_map, want.segment_map)
    assert label.class_id.tolist() == want.class_id.tolist()
    assert label.is_crowd.tolist() == want.is_crowd.tolist()
    assert dataset.image(0).shape == (4, 6, 3)
    assert check_dataset(str(tiny_coco.folder)).findings.total() == 0


@pytest.mark.parametrize(("change", "kind"), [
    (lambda c: c.json["annotations"].append(None), "an annotation is no object"),
    (lambda c: c.json["images"].append([1]), "an image has no id that is a number or text"),
    (lambda c: c.json["categories"].append("car"), "a category is no object"),
    (lambda c: c.segments.append(7), "a segment is no object"),
    (_annotation(segments_info=None), "an annotation's segments_info is no list"),
    (_annotation(segments_info={"1": 2}), "an annotation's segments_info is no list"),
    (_annotation(image_id=[1]), "an annotation's image_id is no number or text"),
    (_annotation(file_name=5), "an annotation's file_name is no path"),
    (_annotation(file_name=".."), "an annotation's file_name is no path"),
    (_annotation(file_name="a\0.png"), "an annotation's file_name is no path"),
    (_image(id=None), "an image has no id that is a number or text"),
    (_image(height="tall"), "an image's height is no whole number"),
    (_image(width=-3), "an image's width is no whole number"),
    (_image(width=1e300), "an image's width is no whole number"),
    (_image(frame_id=0.5), "an image's frame_id is no whole number"),
    (_image(stamp_ns={}), "an image's stamp_ns is no whole number"),
    (_image(video_id=[]), "an image's video_id is no number or text"),
    (_image(file_name=[]), "an image's file_name is no path"),
    (_category(name=5), "a category's name is no text"),
    (_category(id="seven"), "a category's id is no whole number"),
    (_category(isthing="yes"), "a category's isthing is neither 0 nor 1"),
    (_category(color="red"), "a category's color is not [red, green, blue]"),
    (_category(color=[1, 2, 300]), "a category's color is not [red, green, blue]"),
    (lambda c: c.json["categories"][0].pop("isthing"), "a category has no isthing"),
    (lambda c: c.segments[1].update(id=300.4), "a segment id is no number from 1 to 16777215"),
    (lambda c: c.segments[1].update(id=1 << 24), "a segment id is no number from 1 to 16777215"),
    (lambda c: c.segments[1].update(id=float("inf")), "a segment id is no number from 1 to 16777215"),
    (lambda c: c.segments[1].update(id=True), "a segment id is no number from 1 to 16777215"),
    (lambda c: c.segments[1].pop("id"), "a segment id is no number from 1 to 16777215"),
    (lambda c: c.segments[1].update(category_id=None), "a segment is of an unknown class"),
    (lambda c: c.segments[1].update(iscrowd="no"), "a segment's iscrowd is neither 0 nor 1"),
    (lambda c: c.segments[1].update(score="high"), "a score is no number"),
    (lambda c: c.segments[1].update(score=float("inf")), "a score is no number"),
    (lambda c: c.json["images"].append(dict(c.json["images"][0])), "two images have one id"),
    (lambda c: c.json["annotations"].append(dict(c.json["annotations"][0])), "an image is annotated twice"),
])
def test_a_nonsense_value_is_named_by_reader_and_check_with_file_and_entry(tiny_coco, change, kind):
    change(tiny_coco)
    tiny_coco.write()
    with pytest.raises(InputError) as refused:
        open_dataset(str(tiny_coco.folder))
    assert str(refused.value).startswith(f"{tiny_coco.json_file}: {kind}: ")
    found = {found: first for found, _, first in check_dataset(str(tiny_coco.folder)).findings.kinds()}
    assert found[kind][0] in str(refused.value)


def test_a_label_with_alpha_is_the_label(tiny_coco):
    want = open_dataset(str(tiny_coco.write())).label(0).segment_map
    file = tiny_coco.png_folder / "a.png"
    cv2.imwrite(str(file), cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2BGRA))
    assert np.array_equal(open_dataset(str(tiny_coco.folder)).label(0).segment_map, want)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"images": ' + "9" * 5000 + "}"])
def test_json_that_no_parser_takes_is_refused(tiny_coco, content):
    tiny_coco.write()
    tiny_coco.json_file.write_text(content)
    with pytest.raises(InputError, match=r"panoptic\.json cannot be read as JSON"):
        open_dataset(str(tiny_coco.folder))


def test_a_label_that_claims_more_pixels_than_memory_has_is_refused(tiny_coco):
    tiny_coco.write()
    file = tiny_coco.png_folder / "a.png"
    content = bytearray(file.read_bytes())
    content[16:24] = (1 << 20).to_bytes(4, "big") * 2
    file.write_bytes(content)
    with pytest.raises(InputError, match="1048576 x 1048576 pixels: more than"):
        open_dataset(str(tiny_coco.folder)).label(0)


def test_a_path_cannot_lead_out_of_its_folder(tmp_path):
    assert inside("/data/x/a.png") == inside("../../x/a.png") == inside(r"D:\x\a.png") == "a.png"
    assert inside(r"val\a.png") == inside("val/a.png") == "val/a.png"
    assert inside(str(tmp_path / "val" / "a.png"), tmp_path) == "val/a.png"


@pytest.mark.parametrize(("value", "number"), [
    (5, 5), (5.0, 5), ("5", 5), ("5.0", 5), (" 07 ", 7), ("-3", -3), (5.5, None), ("5.5", None), ("0x5", None),
    (True, None), (None, None), (float("nan"), None), (10 ** 30, None), ("9" * 5000, None),
    (json.loads("1e999"), None)])
def test_a_whole_number_is_one_in_any_writing(value, number):
    assert whole_number(value) == number
