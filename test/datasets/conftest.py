"""Small datasets that tests write themselves."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

CATEGORIES = [{"id": 7, "name": "ground", "isthing": 0, "color": [10, 20, 30]},
              {"id": 21, "name": "roof", "isthing": 0, "color": [40, 50, 60]},
              {"id": 33, "name": "cart", "isthing": 1, "color": [70, 80, 90]}]
GROUND, CART, FAR_CART = 70000, 300, 16_000_000  # segment ids whose red, green and blue all matter


class TinyCoco:
    """A COCO-panoptic dataset of one image of 6 x 4 pixels, to be changed before `write`: ground, two carts, void."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ids = np.full((4, 6), GROUND, np.int64)
        self.ids[1:3, 1:3], self.ids[0, 5], self.ids[3] = CART, FAR_CART, 0
        self.segments = [
            {"id": GROUND, "category_id": 7, "area": 13, "bbox": [0, 0, 6, 3], "iscrowd": 0},
            {"id": CART, "category_id": 33, "area": 4, "bbox": [1, 1, 2, 2], "iscrowd": 0},
            {"id": FAR_CART, "category_id": 33, "area": 1, "bbox": [5, 0, 1, 1], "iscrowd": 1}]
        self.json = {"images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}],
                     "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": self.segments}],
                     "categories": [dict(category) for category in CATEGORIES]}
        self.json_file, self.png_folder = folder / "panoptic.json", folder / "panoptic"
        self.image = folder / "images" / "a.jpg"

    def write(self) -> Path:
        for place in (self.png_folder, self.image.parent):
            place.mkdir(parents=True, exist_ok=True)
        self.json_file.write_text(json.dumps(self.json))
        self.write_png("a.png", self.ids)
        cv2.imwrite(str(self.image), np.full((4, 6, 3), (0, 0, 200), np.uint8))
        return self.folder

    def write_png(self, name: str, ids: np.ndarray) -> None:
        """Blue first, as OpenCV wants it."""
        picture = np.stack([ids // 65536, ids // 256 % 256, ids % 256], 2).astype(np.uint8)
        (self.png_folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(self.png_folder / name), picture)


@pytest.fixture
def tiny_coco(tmp_path: Path) -> TinyCoco:
    return TinyCoco(tmp_path / "tiny")


@pytest.fixture
def tiny_camvid(tmp_path: Path) -> Path:
    """A root with three images of a clip and one from elsewhere in val, and train images near to and far from them."""
    root = tmp_path / "camvid"
    names = {"val": ["0016E5_07959", "0016E5_07961", "0016E5_07963", "0001TP_000030"],
             "train": ["0016E5_07470", "0016E5_07500", "0016E5_08640", "0016E5_08670", "0006R0_f00930"]}
    for split, stems in names.items():
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        for stem in stems:
            label = np.array([[3, 3, 3], [8, 11, 0]], np.uint8)
            cv2.imwrite(str(root / split / f"{stem}.jpg"), np.full((2, 3, 3), 90, np.uint8))
            cv2.imwrite(str(root / f"{split}annot" / f"{stem}.png"), label)
    return root


def mots_line(frame: int, object_id: int, class_id: int, mask: np.ndarray) -> str:
    """One line of a KITTI-MOTS file."""
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    return f"{frame} {object_id} {class_id} {mask.shape[0]} {mask.shape[1]} {rle}\n"


def box_mask(y0: int, y1: int, x0: int, x1: int) -> np.ndarray:
    mask = np.zeros((5, 8), bool)
    mask[y0:y1, x0:x1] = True
    return mask


MOTS_LINES = (mots_line(0, 1000, 1, box_mask(0, 2, 0, 3)) + mots_line(0, 2001, 2, box_mask(2, 4, 3, 4))
              + mots_line(0, 10000, 10, box_mask(4, 5, 0, 8)) + mots_line(2, 1000, 1, box_mask(0, 2, 1, 4)))


@pytest.fixture
def make_mots_line():
    """`mots_line` and `box_mask` for a test's own files."""
    return lambda frame, object_id, class_id, *box: mots_line(frame, object_id, class_id, box_mask(*box))


@pytest.fixture
def tiny_mots(tmp_path: Path) -> Path:
    """Three frames of 8 x 5 pixels: a car and a pedestrian with an ignore region, nothing, the car again."""
    folder = tmp_path / "drive"
    (folder / "image_02").mkdir(parents=True)
    for k in range(3):
        cv2.imwrite(str(folder / "image_02" / f"{k:06d}.png"), np.full((5, 8, 3), 50 * k, np.uint8))
    (folder / "image_02" / "timestamps.txt").write_text("0.5\n0.6\n0.7\n")
    (folder / "instances.txt").write_text(MOTS_LINES)
    return folder
