"""COCO's panoptic format: a JSON file of images, annotations and categories, and PNGs whose pixels are segment ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from panoptic_ros.classes import ClassTable, load_class_table
from panoptic_ros.datasets.coco_content import MAX_ID, Report, accepted, refuse
from panoptic_ros.errors import InputError
from panoptic_ros.image_files import read_label_image
from panoptic_ros.paths import shared_folder


def read_panoptic_json(json_file: Path, png_folder: Path, report: Report | None = None,
                       truth_file: Path | None = None) -> dict[str, Any]:
    """The content of the file, as `coco_content.accepted` has it. Raises InputError where it is none of this format.

    report: takes the faults of single entries; None: the first of them is raised as an InputError.
    truth_file: of the truth that the file's annotations are predictions of; has the images and categories that COCO's
    form of results leaves out.
    """
    content = _json(json_file)
    if truth_file is not None and isinstance(content, dict) and not content.keys() >= {"images", "categories"}:
        truth = _json(truth_file)
        content = {"images": truth["images"], "categories": truth["categories"], **content}
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in (
            "images", "annotations", "categories")):
        raise InputError(f"{json_file} is no COCO-panoptic file: it needs lists of images, annotations and categories")
    if not all("segments_info" in a and "file_name" in a and "image_id" in a for a in content["annotations"]
               if isinstance(a, dict)):
        raise InputError(f"{json_file} is no COCO-panoptic file: each annotation needs image_id, file_name and "
                         "segments_info; a detection or caption file is another format")
    return accepted(content, png_folder, report or refuse(json_file))


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}") from error


def read_ids(png_file: Path) -> np.ndarray:
    """The segment ids (H, W) of a PNG. Raises InputError where it is not one of 3 channels with 8 bits."""
    pixels = read_label_image(png_file)
    if pixels.ndim != 3 or pixels.dtype != np.uint8:
        raise InputError(f"{png_file} has not the three 8-bit channels that a segment id is made of")
    return decode_ids(np.ascontiguousarray(pixels[..., :3]))  # without alpha


def class_table_of(categories: Sequence[Mapping[str, Any]], name: str) -> tuple[ClassTable, dict[int, int]]:
    """The class table of a file and the row in it of each category id.

    It is a table of config/datasets where one has the same names and kinds, for the sake of its colours and order.
    Raises InputError where there are none, or more than a class table can have.
    """
    rows = [{"name": c["name"], "thing": c["isthing"], "color": c["color"]} for c in categories]
    ids = [c["id"] for c in categories]
    table = ClassTable.from_dict({"name": name, "classes": rows})
    kinds = dict(zip(table.names, table.is_thing, strict=True))
    for known in _known_tables():
        if dict(zip(known.names, known.is_thing, strict=True)) == kinds:
            table = known
            break
    return table, {number: table.names.index(str(c["name"])) for number, c in zip(ids, categories, strict=True)}


def encode_ids(id_map: np.ndarray) -> np.ndarray:
    """Segment ids (H, W) up to MAX_ID -> (H, W, 3) uint8 in OpenCV's order: blue, green, red."""
    return np.stack([id_map >> 16 & 255, id_map >> 8 & 255, id_map & 255], 2).astype(np.uint8)


def decode_ids(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 in OpenCV's order -> segment ids (H, W) uint32."""
    four = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGBA)
    return four.view("<u4")[..., 0] & np.uint32(MAX_ID)


@lru_cache(maxsize=1)
def _known_tables() -> tuple[ClassTable, ...]:
    return tuple(load_class_table(file) for file in sorted((shared_folder("config") / "datasets").glob("*.yaml")))
