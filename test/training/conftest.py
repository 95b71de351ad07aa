"""Tiny images with labels, and what keeps runs short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from panoptic_ros.classes import ClassTable, load_class_table
from panoptic_ros.datasets.coco_panoptic import CocoPanopticWriter
from panoptic_ros.labels import PanopticLabel

HEIGHT, WIDTH = 64, 128


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """More threads than one cost more than they bring in networks so small, above all on a machine that is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Streets:
    """Made-up streets in the classes of any table."""

    @staticmethod
    def image_and_label(k: int, classes: ClassTable) -> tuple[np.ndarray, PanopticLabel]:
        """Image k: two objects of the table's first class of things and a crowd of them before stuff, or stuff alone.

        Objects are bright, and the upper half is blue.
        """
        random = np.random.default_rng(k)
        stuff, things = (np.flatnonzero(classes.thing_mask == kind).tolist() for kind in (False, True))
        segments = np.ones((HEIGHT, WIDTH), np.int32)
        segments[HEIGHT // 2:] = 2
        class_id, is_crowd = stuff[:2], [False, False]
        image = random.integers(0, 60, (HEIGHT, WIDTH, 3), np.uint8)
        image[:HEIGHT // 2, :, 2] += 120
        if things:
            for n, x in enumerate((8 + 2 * k, 60 - 2 * k, 100)):
                segments[24:48, x:x + 20] = n + 3
                image[24:48, x:x + 20] //= 2
                image[24:48, x:x + 20] += 150
            class_id, is_crowd = [*class_id, *things[:1] * 3], [False, False, False, False, True]
        segments[:, :2] = 0
        return image, PanopticLabel.of(segments, class_id, is_crowd=is_crowd)

    def write_coco(self, folder: Path, classes: ClassTable, images: int) -> None:
        """A folder in COCO's panoptic format: panoptic.json, panoptic/ and images/."""
        writer = CocoPanopticWriter(folder, classes)
        (folder / "images").mkdir()
        for k in range(images):
            image, label = self.image_and_label(k, classes)
            cv2.imwrite(str(folder / "images" / f"street_{k}.png"), image[..., ::-1])
            writer.add(f"images/street_{k}.png", label)
        writer.close()


@pytest.fixture(scope="session")
def streets() -> Streets:
    return Streets()


@pytest.fixture(scope="session")
def street_folder(streets: Streets, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images with crowds in the classes of Cityscapes, in COCO's panoptic format."""
    folder = tmp_path_factory.mktemp("streets")
    streets.write_coco(folder, load_class_table("cityscapes"), 4)
    return folder
