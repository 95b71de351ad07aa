"""NYU Depth v2: the labelled file, folders of colour and depth, and what is wrong with them."""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from panoptic_ros.cli import main
from panoptic_ros.datasets import Truth, open_dataset
from panoptic_ros.datasets.check import check_dataset
from panoptic_ros.errors import InputError

# Of 3 images of 6 x 8 pixels, by columns, as MATLAB stores them.
IMAGES = np.random.default_rng(0).integers(0, 255, (3, 3, 8, 6), np.uint8)
DEPTHS = np.random.default_rng(1).uniform(0.5, 9, (3, 8, 6)).astype(np.float32)


@pytest.fixture
def hdf5(monkeypatch):
    """h5py, or where it is not installed one that has what was written in memory."""
    try:
        import h5py
    except ImportError:
        files = {}

        class File(dict):
            def __init__(self, path, mode):
                super().__init__(files.setdefault(str(path), {}) if mode == "w" else files.get(str(path), {}))
                if mode == "r" and str(path) not in files:
                    raise OSError("no HDF5") from None
                self.path = str(path)

            def __setitem__(self, name, values):
                files[self.path][name] = values
                open(self.path, "wb").close()

        h5py = SimpleNamespace(File=File)
        monkeypatch.setitem(sys.modules, "h5py", h5py)
    return h5py


@pytest.fixture
def labelled(tmp_path, hdf5):
    file = tmp_path / "nyu_depth_v2_labeled.mat"
    opened = hdf5.File(file, "w")
    opened["images"], opened["depths"] = IMAGES, DEPTHS
    if hasattr(opened, "close"):
        opened.close()
    savemat(tmp_path / "splits.mat", {"trainNdxs": np.array([[1], [3]]), "testNdxs": np.array([[2]])})
    return file


def test_the_labelled_file_has_images_with_depth_in_metres(labelled):
    dataset = open_dataset(str(labelled))
    assert (len(dataset), dataset.truth) == (3, {Truth.DEPTH})
    assert np.array_equal(dataset.image(1), IMAGES[1].transpose(2, 1, 0))
    assert np.array_equal(dataset.depth(1), DEPTHS[1].T)
    assert dataset.depth(1).dtype == np.float32
    assert dataset.focal_length(1) == pytest.approx(518.86, abs=0.01)
    label = dataset.label(1)
    assert (label.segment_map.shape, len(label), label.segment_map.any()) == ((6, 8), 0, False)


def test_a_split_has_the_images_that_splits_mat_names(labelled):
    test, train = (open_dataset(f"{labelled}:{split}") for split in ("test", "train"))
    assert [entry.name for entry in train.entries] == ["0000", "0002"]
    assert np.array_equal(test.depth(0), DEPTHS[1].T)
    with pytest.raises(InputError, match="'val' is no split of NYUv2; there are train and test"):
        open_dataset(f"{labelled}:val")
    (labelled.parent / "splits.mat").unlink()
    with pytest.raises(InputError, match=r"splits\.mat is needed for the split 'test'"):
        open_dataset(f"{labelled}:test")


def test_processes_can_share_the_labelled_file(labelled):
    dataset = open_dataset(str(labelled))
    dataset.depth(0)
    assert np.array_equal(pickle.loads(pickle.dumps(dataset)).depth(2), DEPTHS[2].T)


def test_another_file_and_a_missing_h5py_are_said(tmp_path, hdf5, labelled, monkeypatch):
    other = tmp_path / "other.mat"
    other.write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(InputError, match=r"other\.mat cannot be read as HDF5"):
        open_dataset(str(other))
    opened = hdf5.File(tmp_path / "depth.mat", "w")
    opened["depths"] = DEPTHS
    if hasattr(opened, "close"):
        opened.close()
    with pytest.raises(InputError, match=r"depth\.mat is not nyu_depth_v2_labeled\.mat"):
        open_dataset(str(tmp_path / "depth.mat"))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"needs h5py: pip install '\.\[depth\]'"):
        open_dataset(str(labelled))


def write_pair(color, depth, values=None, size=(6, 8)):
    for file in (color, depth):
        file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(color), np.full((*size, 3), (10, 20, 30), np.uint8))
    cv2.imwrite(str(depth), np.full((6, 8), 2500, np.uint16) if values is None else values)


@pytest.fixture
def recorded(tmp_path):
    """As recordings of NYUv2 are passed on: a folder for each scene; one image has no depth."""
    root = tmp_path / "sync"
    for scene, number in (("kitchen_0028b", "00045"), ("kitchen_0028b", "00046"), ("bath_0001", "00001")):
        write_pair(root / scene / f"rgb_{number}.png", root / scene / f"sync_depth_{number}.png")
    cv2.imwrite(str(root / "bath_0001" / "rgb_00002.png"), np.zeros((6, 8, 3), np.uint8))
    return root


def test_colour_beside_depth_in_millimetres_is_read_scene_by_scene(recorded):
    dataset = open_dataset(str(recorded))
    assert [e.name for e in dataset.entries] == ["bath_0001_rgb_00001", "kitchen_0028b_rgb_00045",
                                                 "kitchen_0028b_rgb_00046"]
    assert dataset.image(0)[0, 0].tolist() == [30, 20, 10]
    assert (dataset.depth(0) == 2.5).all()
    assert dataset.focal_length(0) == 0  # only of images of NYUv2's size it is known


def test_folders_of_colour_and_of_depth_are_read_by_name(tmp_path):
    for name in ("a", "b"):
        write_pair(tmp_path / "rgb" / f"{name}.png", tmp_path / "depth" / f"{name}.png")
    dataset = open_dataset(str(tmp_path))
    assert [e.name for e in dataset.entries] == ["a", "b"]
    assert dataset.truth == {Truth.DEPTH}


def test_a_check_counts_what_is_wrong_with_depth(recorded, capsys):
    assert main(["dataset", "check", str(recorded)]) == 0
    assert "NYU Depth v2" in capsys.readouterr().out
    write_pair(recorded / "bath_0001" / "rgb_00001.png", recorded / "bath_0001" / "sync_depth_00001.png",
               np.zeros((6, 8), np.uint16))
    write_pair(recorded / "kitchen_0028b" / "rgb_00045.png", recorded / "kitchen_0028b" / "sync_depth_00045.png",
               np.full((6, 8), 9, np.uint8))
    write_pair(recorded / "kitchen_0028b" / "rgb_00046.png", recorded / "kitchen_0028b" / "sync_depth_00046.png",
               size=(5, 8))
    found = {kind: first for kind, _, first in check_dataset(str(recorded)).findings.kinds()}
    assert found.keys() == {"the depth is unknown in the whole image", "the depth cannot be used",
                            "the image cannot be used"}
    assert "one channel of 16 bits" in " ".join(found["the depth cannot be used"])
    assert "8 x 5 pixels, its label 8 x 6" in found["the image cannot be used"][0]


def test_a_check_reads_the_depth_of_kitti_too(tiny_mots):
    (tiny_mots / "depth_02").mkdir()
    for k, values in enumerate((np.full((5, 8), 512, np.uint16), np.zeros((5, 8), np.uint16))):
        cv2.imwrite(str(tiny_mots / "depth_02" / f"{k:06d}.png"), values)
    found = {kind: count for kind, count, _ in check_dataset(str(tiny_mots)).findings.kinds()}
    assert found == {"the depth is unknown in the whole image": 2}  # frame 2 has none
    (tiny_mots / "depth_02" / "000000.png").write_bytes(b"cut")
    assert "the depth cannot be used" in {kind for kind, *_ in check_dataset(str(tiny_mots)).findings.kinds()}


def test_the_focal_length_of_kitti_is_that_of_its_calibration(tiny_mots):
    assert open_dataset(str(tiny_mots)).focal_length(0) == 0
    (tiny_mots / "calib_cam_to_cam.txt").write_text(
        "S_rect_02: 8.0e+00 5.0e+00\nP_rect_02: 721.5 0 609.5 44.8 0 721.5 172.8 0.2 0 0 1 0.002\n")
    assert open_dataset(str(tiny_mots)).focal_length(0) == 721.5


def test_joined_datasets_are_one_in_the_classes_of_the_first(tiny_coco, tiny_camvid, recorded):
    coco = tiny_coco.write()
    joined = open_dataset(f"{coco} + {recorded}")
    first, second = open_dataset(str(coco)), open_dataset(str(recorded))
    assert len(joined) == len(first) + 3
    assert joined.classes == first.classes
    assert joined.truth == {Truth.PANOPTIC, Truth.SEMANTIC, Truth.DEPTH}
    assert len({entry.name for entry in joined.entries}) == len(joined)
    assert np.array_equal(joined.label(0).class_map(), first.label(0).class_map())
    assert np.array_equal(joined.image(len(first) + 1), second.image(1))
    assert (joined.depth(len(first)) == 2.5).all()
    assert not joined.depth(0).any()
    assert joined.depth(0).shape == first.image(0).shape[:2]
    assert (joined.label(len(first)).class_map() == 255).all()
    with pytest.raises(InputError, match="no class in common"):
        open_dataset(f"{tiny_camvid} + {coco}")
