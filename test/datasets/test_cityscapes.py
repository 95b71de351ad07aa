"""Cityscapes through the converter of its authors."""

from __future__ import annotations

import importlib.util

import cv2
import numpy as np
import pytest

from panoptic_ros.classes import load_class_table
from panoptic_ros.cli import main
from panoptic_ros.datasets import open_dataset

INSTALLED = importlib.util.find_spec("cityscapesscripts") is not None


@pytest.fixture
def root(tmp_path):
    """One validation image: road, sky, two cars and a group of cars."""
    for folder in ("gtFine", "leftImg8bit"):
        (tmp_path / folder / "val" / "ulm").mkdir(parents=True)
    ids = np.full((8, 16), 7, np.uint16)
    ids[:2], ids[4:6, 1:3], ids[4:6, 5:7], ids[7, 9:], ids[7, :4] = 23, 26001, 26002, 26, 1
    cv2.imwrite(str(tmp_path / "gtFine" / "val" / "ulm" / "ulm_000000_000019_gtFine_instanceIds.png"), ids)
    cv2.imwrite(str(tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_000000_000019_leftImg8bit.png"),
                np.zeros((8, 16, 3), np.uint8))
    return tmp_path


@pytest.mark.skipif(not INSTALLED, reason="the optional package cityscapesscripts is not installed")
@pytest.mark.parametrize("elsewhere", [False, True])
def test_labels_are_converted_so_that_they_can_be_opened(root, tmp_path, elsewhere):
    out = ["--out", str(tmp_path / "made")] if elsewhere else []
    assert main(["dataset", "convert", "cityscapes", str(root), *out]) == 0
    dataset = open_dataset(str(tmp_path / "made") if elsewhere else str(root))
    assert dataset.classes == load_class_table("cityscapes")
    assert dataset.entries[0].name == "ulm_000000_000019"
    label = dataset.label(0)
    names = [dataset.classes.names[k] for k in label.class_id]
    assert sorted(names) == ["car", "car", "car", "road", "sky"]
    assert label.is_crowd.sum() == 1
    assert (label.segment_map[7, :4] == 0).all()
    if not elsewhere:
        assert dataset.image(0).shape == (8, 16, 3)
        assert main(["dataset", "check", str(root)]) == 0


@pytest.mark.skipif(INSTALLED, reason="the optional package cityscapesscripts is installed")
def test_a_missing_converter_is_named_with_how_to_get_it(root, capsys):
    assert main(["dataset", "convert", "cityscapes", str(root)]) == 2
    assert "pip install cityscapesscripts" in capsys.readouterr().err


def test_a_folder_without_labels_is_refused(tmp_path, capsys):
    assert main(["dataset", "convert", "cityscapes", str(tmp_path)]) == 2
    assert "gtFine_trainvaltest.zip" in capsys.readouterr().err
