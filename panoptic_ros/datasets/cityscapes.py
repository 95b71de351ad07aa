"""Turns Cityscapes' labels into COCO's panoptic format with the converter of its authors."""

from __future__ import annotations

from pathlib import Path

from panoptic_ros.errors import InputError

SPLITS = ("train", "val")  # the labels of the test images are not published


def convert_cityscapes(root: Path, out: Path | None = None) -> list[Path]:
    """Write cityscapes_panoptic_SPLIT.json and the folder of PNGs beside it, for each split whose labels are there.

    root: with gtFine/SPLIT/CITY/*_gtFine_instanceIds.png. out: a folder; None: gtFine itself, where `open_dataset`
    finds the images too. Returns the JSON files.
    Raises InputError where the labels or the package cityscapesscripts are missing.
    """
    labels = root if root.name == "gtFine" else root / "gtFine"
    splits = [split for split in SPLITS if any((labels / split).glob("*/*_gtFine_instanceIds.png"))]
    if not splits:
        raise InputError(f"{labels} has no train/CITY/*_gtFine_instanceIds.png or val/...: download and unpack "
                         "gtFine_trainvaltest.zip, and give the folder that holds gtFine")
    try:
        from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
    except ImportError as error:
        raise InputError("Cityscapes' own converter is not installed; install it with: pip install "
                         f"cityscapesscripts ({error})") from error
    target = out or labels
    target.mkdir(parents=True, exist_ok=True)
    for split in splits:
        convert2panoptic(str(labels), str(target), False, [split])
    return [target / f"cityscapes_panoptic_{split}.json" for split in splits]
