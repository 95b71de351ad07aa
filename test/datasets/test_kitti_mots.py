"""KITTI-MOTS: what a line is, what no line means, and that what is written can be read again."""

from __future__ import annotations

import pickle
import shutil

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from panoptic_ros.datasets import Truth, open_dataset
from panoptic_ros.datasets.kitti_mots import MotsWriter, ObjectMask, find_mots_sequences
from panoptic_ros.errors import InputError
from panoptic_ros.labels import NO_CLASS, PanopticLabel


def test_ignore_regions_are_void_and_what_is_no_object_is_of_no_class(tiny_mots):
    dataset = open_dataset(str(tiny_mots))
    assert dataset.truth == {Truth.TRACKS}
    assert dataset.classes.names == ("car", "pedestrian")
    label = dataset.label(0)
    assert label.class_id.tolist() == [NO_CLASS, 0, 1]
    assert label.object_id.tolist() == [0, 1000, 2001]
    expected = np.ones((5, 8), int)
    expected[:2, :3], expected[2:4, 3], expected[4] = 2, 3, 0
    assert np.array_equal(label.segment_map, expected)


def test_a_frame_without_a_line_shows_no_object(tiny_mots):
    label = open_dataset(str(tiny_mots)).label(1)
    assert label.class_id.tolist() == [NO_CLASS]
    assert (label.segment_map == 1).all()


def test_frames_have_their_number_and_time(tiny_mots):
    dataset = pickle.loads(pickle.dumps(open_dataset(str(tiny_mots))))
    assert [(e.sequence, e.number, e.stamp_ns) for e in dataset.entries] == [
        ("drive", 0, 500_000_000), ("drive", 1, 600_000_000), ("drive", 2, 700_000_000)]
    assert dataset.image(2)[0, 0, 0] == 100
    assert dataset.label(2).object_id.tolist() == [0, 1000]


def write_depth(folder, k, values):
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / f"{k:06d}.png"), np.asarray(values, np.uint16))


def test_depth_beside_the_images_is_truth_in_metres(tiny_mots):
    steps = np.zeros((5, 8))
    steps[1, 2], steps[4, 7] = 256, 20_000
    write_depth(tiny_mots / "depth_02", 0, steps)
    write_depth(tiny_mots / "depth_02", 2, np.full((5, 9), 256))
    dataset = pickle.loads(pickle.dumps(open_dataset(str(tiny_mots))))
    assert dataset.truth == {Truth.TRACKS, Truth.DEPTH}
    depth = dataset.depth(0)
    assert depth.dtype == np.float32
    assert (depth[1, 2], depth[4, 7], np.count_nonzero(depth)) == (1, 78.125, 2)
    # Nothing is known where the file is missing.
    assert dataset.depth(1).shape == (5, 8)
    assert not dataset.depth(1).any()
    with pytest.raises(InputError, match=r"depth_02/000002\.png is 9 x 5 pixels"):
        dataset.depth(2)


def test_depth_of_the_official_layout_is_of_its_sequence(tiny_mots, tmp_path):
    root = tmp_path / "kitti"
    for name in ("0002", "0006"):
        shutil.copytree(tiny_mots / "image_02", root / "training" / "image_02" / name)
        (root / "instances_txt").mkdir(exist_ok=True)
        shutil.copy(tiny_mots / "instances.txt", root / "instances_txt" / f"{name}.txt")
    write_depth(root / "training" / "depth_02" / "0006", 1, np.full((5, 8), 512))
    dataset = open_dataset(str(root))
    assert Truth.DEPTH in dataset.truth
    assert [float(dataset.depth(k).max()) for k in range(6)] == [0, 0, 0, 0, 2, 0]


def test_a_depth_picture_in_colour_is_refused(tiny_mots):
    write_depth(tiny_mots / "depth_02", 0, np.zeros((5, 8, 3)))
    with pytest.raises(InputError, match=r"000000\.png has 3 channels"):
        open_dataset(str(tiny_mots)).depth(0)


def test_the_official_layout_has_several_sequences(tiny_mots, tmp_path):
    root = tmp_path / "kitti"
    for name in ("0002", "0006"):
        shutil.copytree(tiny_mots / "image_02", root / "training" / "image_02" / name)
        (root / "instances_txt").mkdir(exist_ok=True)
        shutil.copy(tiny_mots / "instances.txt", root / "instances_txt" / f"{name}.txt")
    dataset = open_dataset(str(root))
    assert [(name, len(rows)) for name, rows in dataset.sequences()] == [("0002", 3), ("0006", 3)]
    assert dataset.image(5).shape == (5, 8, 3)
    assert len({entry.name for entry in dataset.entries}) == 6


def test_text_files_alone_are_labels_up_to_the_last_frame_they_name(tiny_mots, tmp_path):
    (tmp_path / "results").mkdir()
    shutil.copy(tiny_mots / "instances.txt", tmp_path / "results" / "0004.txt")
    for path in (tmp_path / "results", tmp_path / "results" / "0004.txt"):
        dataset = open_dataset(str(path))
        assert [(e.sequence, e.number) for e in dataset.entries] == [("0004", 0), ("0004", 1), ("0004", 2)]
        assert len(dataset.label(1)) == 1
        with pytest.raises(InputError, match="has no images"):
            dataset.image(0)


@pytest.mark.parametrize(("line", "words"), [
    ((0, 1005, 1, 1, 3, 2, 5), "the masks of object 1005 and of object 1000 overlap"),
    ((0, 1005, 1, 4, 5, 2, 5), "the masks of object 1005 and of an ignore region overlap"),
    ((0, 1000, 1, 3, 4, 6, 8), "an object id is there twice"),
])
def test_masks_that_contradict_each_other_are_refused(tiny_mots, make_mots_line, line, words):
    file = tiny_mots / "instances.txt"
    file.write_text(file.read_text() + make_mots_line(*line))
    with pytest.raises(InputError, match=words) as error:
        open_dataset(str(tiny_mots)).label(0)
    assert "instances.txt" in str(error.value)
    assert "frame 0" in str(error.value)


@pytest.mark.parametrize("line", ["0 1 1 5 8", "0 1 3 5 8 abc", "zero 1 1 5 8 abc", "0 1 1 5 8 a b", "0,1,1,5,8,abc",
                                  "999999999999 1 1 5 8 abc", "0 1 1 999999 999999 abc",
                                  "0 99999999999999999 1 5 8 abc"])
def test_a_line_of_another_kind_is_named(tiny_mots, line):
    file = tiny_mots / "instances.txt"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"instances\.txt, line 5: not 'frame object_id"):
        open_dataset(str(tiny_mots))


@pytest.mark.parametrize("shape", [(5, 8), (37, 53), (1, 1)])
def test_masks_are_decoded_as_by_pycocotools_where_they_are_whole(shape):
    for seed in range(20):
        random = np.random.default_rng(seed)
        mask = random.random(shape) < random.random()
        rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
        assert np.array_equal(ObjectMask(0, 1, 1, *shape, rle).decode(), mask)
        with pytest.raises(ValueError, match="pixels, not of"):
            ObjectMask(0, 1, 1, shape[0] + 1, shape[1], rle).decode()


def test_an_image_of_another_size_is_named(tiny_mots):
    cv2.imwrite(str(tiny_mots / "image_02" / "000001.png"), np.zeros((5, 9, 3), np.uint8))
    with pytest.raises(InputError, match=r"000001\.png is 9 x 5 pixels, its label 8 x 5"):
        open_dataset(str(tiny_mots)).image(1)


def test_what_is_written_can_be_read_again(tmp_path):
    segment_map = np.array([[1, 1, 2, 2], [3, 3, 0, 4]])
    label = PanopticLabel.of(segment_map, np.array([NO_CLASS, 0, 1, 0]), np.array([0, 12, 30000, 0]))
    writer = MotsWriter(tmp_path / "out" / "0000.txt")
    writer.add(3, label)
    writer.close()
    read = open_dataset(str(tmp_path / "out" / "0000.txt")).label(3)
    # The car without a track is no longer there.
    assert read.segment_map.tolist() == [[1, 1, 2, 2], [3, 3, 1, 1]]
    assert read.class_id.tolist() == [NO_CLASS, 0, 1]
    assert read.object_id.tolist() == [0, 12, 30000]


def test_numbers_may_be_written_as_other_programs_write_them(tiny_mots):
    file = tiny_mots / "instances.txt"
    want = open_dataset(str(tiny_mots)).label(0).segment_map
    rows = [line.split() for line in file.read_text().splitlines()]
    file.write_bytes(b"\xef\xbb\xbf" + "".join(
        f"{frame}.0\t{number}.0 {kind} {height} {width} {rle}\r\n" for frame, number, kind, height, width, rle in rows
    ).encode())
    assert np.array_equal(open_dataset(str(tiny_mots)).label(0).segment_map, want)


def test_run_lengths_without_end_cost_no_time():
    with pytest.raises(ValueError, match="larger than any image"):
        ObjectMask(0, 1, 1, 5, 8, "o" * 1_000_000).decode()


@pytest.mark.parametrize(("names", "sequences"), [
    (["KITTI-MOTS-0000", "KITTI-MOTS-0012"], ["0000", "0012"]),
    (["MOTS20-02"], ["02"]),
    (["drive", "0002"], ["0002"]),  # where there are numbers, others are something else
    (["a_1", "b_1"], ["a_1", "b_1"]),
    (["drive"], ["drive"]),
])
def test_a_folder_of_files_with_other_names_is_known_by_their_lines(tmp_path, make_mots_line, names, sequences):
    for name in names:
        (tmp_path / f"{name}.txt").write_text("a line that is no object\n" * (name == "drive") +
                                              make_mots_line(0, 1000, 1, 0, 2, 1, 4))
    (tmp_path / "README.txt").write_text("not of this kind\n")
    (tmp_path / "._KITTI-MOTS-0000.txt").write_bytes(b"\0\5\x16\x07")
    assert [sequence.name for sequence in find_mots_sequences(tmp_path)] == sequences


def test_a_folder_of_other_text_files_is_no_kitti_mots(tmp_path):
    (tmp_path / "train.txt").write_text("images/0.jpg\n1 2 3 4 5 6\n")
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "noise.txt").write_bytes(bytes(range(256)) * 10)
    assert find_mots_sequences(tmp_path) == []
