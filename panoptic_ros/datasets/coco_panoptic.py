"""Panoptic truth in COCO's format: one JSON file and a PNG per image whose pixels are segment ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.frame import Segments

MAX_ID = (1 << 24) - 1  # a pixel's id is red + 256 green + 65536 blue


def encode_ids(id_map: np.ndarray) -> np.ndarray:
    """Segment ids (H, W) up to MAX_ID -> (H, W, 3) uint8 in OpenCV's order: blue, green, red."""
    return np.stack([id_map >> 16 & 255, id_map >> 8 & 255, id_map & 255], 2).astype(np.uint8)


class CocoPanopticWriter:
    """Writes FOLDER/panoptic.json and FOLDER/panoptic/*.png.

    A category's id is the class id of the table. Use ids that are an object's own over a video, and it is video truth.
    """

    def __init__(self, folder: Path, classes: ClassTable) -> None:
        self.folder = folder
        (folder / "panoptic").mkdir(parents=True, exist_ok=True)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories = [
            {"id": i, "name": name, "supercategory": name, "isthing": int(thing), "color": list(color)}
            for i, (name, thing, color) in enumerate(zip(classes.names, classes.is_thing, classes.colors, strict=True))]

    def add(self, image_file: str, segment_map: np.ndarray, segments: Segments) -> None:
        """One image and its segments.

        image_file: path as the JSON file shall have it. segment_map: (H, W), 0 = void, k = row k - 1 of `segments`.
        segments: `track_id` is the id of each; ids differ and are at least 1.
        Raises InputError when an id is not a number from 1 to MAX_ID, or is there twice.
        """
        ids = np.asarray(segments.track_id, np.int64)
        if len(ids) and (ids.min() < 1 or ids.max() > MAX_ID or len(np.unique(ids)) < len(ids)):
            raise InputError(f"{image_file}: segment ids must differ and lie between 1 and {MAX_ID}")
        height, width = segment_map.shape
        number, file = len(self._images), Path(image_file).stem + ".png"
        picture = encode_ids(np.concatenate([[0], ids]).astype(np.int32)[segment_map])
        cv2.imwrite(str(self.folder / "panoptic" / file), picture, [cv2.IMWRITE_PNG_COMPRESSION, 2])
        self._images.append({"id": number, "file_name": image_file, "width": width, "height": height})
        rows = zip(ids.tolist(), segments.class_id.tolist(), segments.area.tolist(), segments.box.tolist(), strict=True)
        self._annotations.append({"image_id": number, "file_name": file, "segments_info": [
            {"id": segment, "category_id": category, "area": area, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0}
            for segment, category, area, (x0, y0, x1, y1) in rows]})

    def close(self) -> None:
        """Write the JSON file, for the images that were added."""
        content = {"images": self._images, "annotations": self._annotations, "categories": self._categories}
        (self.folder / "panoptic.json").write_text(json.dumps(content))
