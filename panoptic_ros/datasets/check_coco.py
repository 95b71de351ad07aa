"""Checks of a COCO-panoptic dataset: the JSON file in itself, and each PNG and image against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.datasets.coco_format import class_table_of, read_ids, read_panoptic_json
from panoptic_ros.datasets.coco_layout import image_names, image_places
from panoptic_ros.datasets.findings import Findings, Tally
from panoptic_ros.errors import InputError
from panoptic_ros.geometry.numpy_label_maps import label_areas_and_boxes
from panoptic_ros.image_files import read_image

Pair = tuple[Mapping[str, Any], Mapping[str, Any]]  # an image's entry and its annotation's
_BOX_TOLERANCE = 1  # pixels; converters do not agree on where a box ends


class CocoCheck:
    """A JSON file that is checked when this is made; `pairs` are left to be checked with `check_image`, in any process.

    tally: what was found so far.
    """

    def __init__(self, json_file: Path, png_folder: Path) -> None:
        """Raises InputError where the JSON file is none of this format at all."""
        findings = Findings()
        content = read_panoptic_json(json_file, png_folder, findings.add)
        self.name, self.json_file, self.png_folder = json_file.stem, json_file, png_folder
        if json_file.stem == "panoptic":
            self.name = json_file.parent.resolve().name
        self.class_names = [category["name"] for category in content["categories"]]
        self.is_thing = [category["isthing"] for category in content["categories"]]
        self._row = {category["id"]: row for row, category in enumerate(content["categories"])}
        self.tally = Tally.of_classes(len(self.class_names))
        self.tally.findings.merge(findings)
        self.pairs = self._pairs(content)
        self._check_whole(content)
        self._check_objects()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "pairs": None, "tally": None}

    def lengths(self) -> list[int]:
        """The number of images of each video, 0 for an image alone."""
        videos = Counter(image.get("video_id") for image, _ in self.pairs)
        alone = videos.pop(None, 0)
        return [*videos.values(), *[0] * alone]

    def check_image(self, pair: Pair) -> Tally:
        """One image: its PNG against its segments, and the camera image against both."""
        image, annotation = pair
        tally = Tally.of_classes(len(self.class_names))
        rows = annotation["segments_info"]
        self._check_segments(annotation, tally.findings)
        png = self.png_folder / annotation["file_name"]
        size = self._check_png(png, rows, tally)
        self._check_image_file(image, annotation["file_name"], size, tally.findings)
        said = (image.get("height"), image.get("width"))
        if size is not None and None not in said and said != size:
            tally.findings.add("JSON file and PNG differ in size",
                               f"{annotation['file_name']}: {said[1]} x {said[0]}, the PNG is {size[1]} x {size[0]}")
        return tally

    def _pairs(self, content: Mapping[str, Any]) -> list[Pair]:
        """Images with their annotations; images and PNGs without are reported."""
        images = {image["id"]: image for image in content["images"]}
        pairs = [(images.pop(annotation["image_id"]), annotation) for annotation in content["annotations"]]
        for number, image in images.items():
            self.tally.findings.remark("an image has no annotation", str(image.get("file_name", number)))
        pngs = {annotation["file_name"] for _, annotation in pairs}
        for file in sorted(self.png_folder.rglob("*.png")):
            if str(file.relative_to(self.png_folder)) not in pngs:
                self.tally.findings.remark("a PNG has no annotation", str(file))
        return pairs

    def _check_whole(self, content: Mapping[str, Any]) -> None:
        """What readers refuse of the file as a whole: its classes, names that two images have, no annotation."""
        try:
            class_table_of(content["categories"], self.name)
        except InputError as error:
            self.tally.findings.add("the categories cannot be used", str(error))
        if not self.pairs:
            self.tally.findings.add("there is no annotation", str(self.json_file))
        names = Counter(image_names([Path(str(image.get("file_name", annotation["file_name"])))
                                     for image, annotation in self.pairs]))
        for name, count in names.items():
            if count > 1:
                self.tally.findings.add("two images have one name", name)

    def _check_objects(self) -> None:
        """Of a video: an object keeps its class, a moment is there once."""
        class_of: dict[tuple[Any, Any], Any] = {}
        stamps: set[tuple[Any, Any]] = set()
        for image, annotation in self.pairs:
            if (video := image.get("video_id")) is None:
                continue
            if "stamp_ns" in image:
                moment = (video, image["stamp_ns"])
                if moment in stamps:
                    self.tally.findings.remark("two images of a sequence have one time stamp",
                                               f"{annotation['file_name']}: {image['stamp_ns']} ns")
                stamps.add(moment)
            for segment in annotation["segments_info"]:
                category = segment["category_id"]
                known = class_of.setdefault((video, segment["id"]), category)
                if known != category:
                    self.tally.findings.remark("an object changes its class", (
                        f"{annotation['file_name']}: segment {segment['id']} was of category {known}, is of "
                        f"{category}"))

    def _check_segments(self, annotation: Mapping[str, Any], findings: Findings) -> None:
        """How many segments the image and each of its stuff classes has."""
        stuff = Counter(category for segment in annotation["segments_info"]
                        if (category := segment["category_id"]) is not None and not self.is_thing[self._row[category]])
        for category, count in stuff.items():
            if count > 1:
                findings.remark("a stuff class has several segments in an image",
                                f"{annotation['file_name']}: {count} of {self.class_names[self._row[category]]}")
        if not annotation["segments_info"]:
            findings.remark("an image has no segments", annotation["file_name"])

    def _check_png(self, png: Path, segments: Sequence[Mapping[str, Any]], tally: Tally) -> tuple[int, int] | None:
        """Ids, areas and boxes; returns the size (height, width), None where it cannot be read."""
        findings = tally.findings
        if not png.is_file():
            findings.add("a PNG is missing", str(png))
            return None
        try:
            ids = read_ids(png)
        except InputError as error:
            findings.add("a PNG cannot be read", str(error))
            return None
        numbers = np.array([segment["id"] for segment in segments], np.int64)
        table = np.zeros(1 + max(int(ids.max()), int(numbers.max(initial=0))), np.int32)
        table[numbers] = np.arange(1, len(numbers) + 1)
        segment_map = table.take(ids)
        if np.count_nonzero(segment_map) != np.count_nonzero(ids):
            lost = ids[(segment_map == 0) & (ids != 0)]
            for number in np.unique(lost).tolist():
                findings.add("a segment is in the PNG, but not in the JSON file", f"{png.name}: id {number}")
        areas, boxes = label_areas_and_boxes(segment_map, len(numbers))
        for segment, pixels, (x0, y0, x1, y1) in zip(segments, areas.tolist(), boxes.tolist(), strict=True):
            where = f"{png.name}: segment {segment['id']}"
            if not pixels:
                findings.remark("a segment is in the JSON file, but not in the PNG", where)
                continue
            if "area" in segment and segment["area"] != pixels:
                findings.remark("an area is wrong", f"{where}: {segment['area']} in the JSON file, {pixels} pixels")
            box = [x0, y0, x1 - x0, y1 - y0]
            if "bbox" in segment and not _close(segment["bbox"], box):
                findings.remark("a box is wrong", f"{where}: {segment['bbox']} in the JSON file, it is {box}")
        class_id = np.array([self._row.get(segment["category_id"], -1) for segment in segments], np.int64)
        tally.count_segments(class_id, areas, ids.shape)
        if not areas.any():
            findings.remark("a label is void everywhere", png.name)
        return ids.shape[0], ids.shape[1]

    def _check_image_file(self, image: Mapping[str, Any], png_name: str, size: tuple[int, int] | None,
                       findings: Findings) -> None:
        name = str(image.get("file_name", png_name))
        places = image_places(self.json_file, self.png_folder, png_name, name)
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            findings.add("an image is missing", name)
            return
        try:
            height, width = read_image(file).shape[:2]
        except InputError as error:
            findings.add("an image cannot be read", str(error))
            return
        if size is not None and (height, width) != size:
            findings.add("image and PNG differ in size", f"{file}: {width} x {height}, its PNG {size[1]} x {size[0]}")


def _close(said: Any, box: Sequence[int]) -> bool:
    return isinstance(said, list) and len(said) == len(box) and all(
        isinstance(a, (int, float)) and abs(a - b) <= _BOX_TOLERANCE for a, b in zip(said, box, strict=True))
