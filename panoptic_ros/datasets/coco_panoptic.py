"""Panoptic truth and predictions in COCO's format: one JSON file and a PNG per image whose pixels are segment ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from panoptic_ros.atomic_write import write_atomically
from panoptic_ros.classes import ClassTable
from panoptic_ros.datasets.coco_content import MAX_ID
from panoptic_ros.datasets.coco_format import class_table_of, encode_ids, read_ids, read_panoptic_json
from panoptic_ros.datasets.coco_layout import bare_name, image_names, image_places
from panoptic_ros.datasets.dataset import Dataset, Entry, Truth
from panoptic_ros.errors import InputError
from panoptic_ros.geometry.numpy_label_maps import label_areas_and_boxes
from panoptic_ros.image_files import check_size, read_depth_image, read_image, trailing_number, write_image
from panoptic_ros.labels import NO_CLASS, PanopticLabel

FIRST_OBJECT = 256  # ids of objects that keep theirs over a video begin here; a stuff class has its number + 1
_STAMP_DIGITS = 16  # a file's name that ends in so many is a time in nanoseconds


class CocoPanoptic(Dataset):
    """A JSON file and its folder of PNGs: Cityscapes, COCO, Mapillary Vistas, IDD, or what CocoPanopticWriter wrote.

    Labels can be read without the images. A depth/ folder beside the JSON file, as `panoptic-ros city` writes it, is
    truth as well.
    """

    def __init__(self, json_file: Path, png_folder: Path, video: bool | None = None,
                 truth_file: Path | None = None) -> None:
        """video: whether an id is an object's own in a sequence of images; None: it is where images have a video_id.

        truth_file: of predictions, the JSON file of their truth, see `read_panoptic_json`.
        A sequence is the images of one video_id, else of one folder in their file_name, else all.
        Raises InputError where the JSON file cannot be read or is none of this format.
        """
        content = read_panoptic_json(json_file, png_folder, truth_file=truth_file)
        self.json_file, self.png_folder, self.name = json_file, png_folder, _dataset_name(json_file)
        self.classes, category_row = class_table_of(content["categories"], self.name)
        images = {image["id"]: image for image in content["images"]}
        if video is None:
            video = bool(images) and all("video_id" in image for image in images.values())
        pairs = [(images[annotation["image_id"]], annotation) for annotation in content["annotations"]]
        if not pairs:
            raise InputError(f"{json_file} has no annotations: there is nothing in it to score or to train on")
        self.entries, order = _entries(pairs, content.get("videos", []), video)
        pairs = [pairs[i] for i in order]
        # By which other systems' evaluators know an entry's image and a class.
        self.image_ids: list[int | str] = [image["id"] for image, _ in pairs]
        self.category_ids = sorted(category_row, key=category_row.__getitem__)
        self._image_files = [str(image.get("file_name", annotation["file_name"])) for image, annotation in pairs]
        self._png_files = [str(annotation["file_name"]) for _, annotation in pairs]
        self._sizes = [(image["height"], image["width"]) if "height" in image and "width" in image else None
                       for image, _ in pairs]
        self._segments = _SegmentTable([annotation["segments_info"] for _, annotation in pairs], category_row)
        self._is_video = video
        self._has_depth = self._depth_file(0).is_file()
        self.truth = frozenset({Truth.PANOPTIC, Truth.SEMANTIC} | ({Truth.TRACKS} if video else set())
                               | ({Truth.DEPTH} if self._has_depth else set()))

    def image(self, index: int) -> np.ndarray:
        file = self.image_file(index)
        if file is None:
            tried = dict.fromkeys(place.parent for place in self._image_places(index))
            raise InputError(f"no image {self._image_files[index]} to {self.json_file}; looked in: "
                             f"{', '.join(str(folder) for folder in tried)}")
        image = read_image(file)
        if (size := self._sizes[index]) is not None:
            check_size(file, image, size)
        return image

    def label(self, index: int) -> PanopticLabel:
        file = self.png_folder / self._png_files[index]
        ids = read_ids(file)
        if (size := self._sizes[index]) not in (None, ids.shape):
            raise InputError(f"{file} has {ids.shape[1]} x {ids.shape[0]} pixels, its image {size[1]} x {size[0]} by "
                             f"{self.json_file.name}")
        segment_id, class_id, is_crowd, score = self._segments.rows(index)
        table = np.zeros(1 + max(int(ids.max()), int(segment_id.max(initial=0))), np.uint16)
        table[segment_id] = np.arange(1, len(segment_id) + 1)
        segment_map = table.take(ids)
        if np.count_nonzero(segment_map) != np.count_nonzero(ids):
            unknown = np.unique(ids[(segment_map == 0) & (ids != 0)]).tolist()
            raise InputError(f"{file} has {len(unknown)} segment ids that {self.json_file.name} does not know: "
                             f"{', '.join(map(str, unknown[:5]))}; see `panoptic-ros dataset check`")
        is_object = self.classes.thing_mask[class_id] & ~is_crowd if self._is_video else False
        return PanopticLabel(segment_map, class_id, np.where(is_object, segment_id, 0).astype(np.int64), is_crowd,
                             score)

    def depth(self, index: int) -> np.ndarray:
        if not self._has_depth:
            return super().depth(index)
        return read_depth_image(self._depth_file(index))

    def image_file(self, index: int) -> Path | None:
        """Where the image is, None where it is in none of the places where it is looked for."""
        return next((place for place in self._image_places(index) if place.is_file()), None)

    def _image_places(self, index: int) -> Iterator[Path]:
        return image_places(self.json_file, self.png_folder, self._png_files[index], self._image_files[index])

    def _depth_file(self, index: int) -> Path:
        return self.json_file.parent / "depth" / self._png_files[index]


class _SegmentTable:
    """The segments_info of all images as arrays, small to pickle; rows offset[i] to offset[i + 1] are of image i."""

    def __init__(self, infos: Sequence[Sequence[Mapping[str, Any]]], category_row: Mapping[int, int]) -> None:
        self.offset = np.cumsum([0, *(len(info) for info in infos)])
        flat = [segment for info in infos for segment in info]
        self.segment_id = np.array([segment["id"] for segment in flat], np.int64)
        self.class_id = np.array([category_row[segment["category_id"]] for segment in flat], np.int32)
        self.is_crowd = np.array([segment["iscrowd"] for segment in flat], bool)
        self.score = np.array([segment.get("score", np.nan) for segment in flat], np.float32)

    def rows(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Ids, class ids, whether crowd, and scores of the segments of an image."""
        rows = slice(self.offset[index], self.offset[index + 1])
        return self.segment_id[rows], self.class_id[rows], self.is_crowd[rows], self.score[rows]


class CocoPanopticWriter:
    """Writes FOLDER/panoptic.json and FOLDER/panoptic/*.png, an image at a time."""

    def __init__(self, folder: Path, classes: ClassTable, scores: bool = False,
                 category_ids: Sequence[int] | None = None) -> None:
        """scores: write how sure a prediction is of each segment; a truth has no such thing.

        category_ids: (C,) the JSON file's id of each class; None: the class ids of the table.
        """
        self.folder, self._scores, self._is_thing = folder, scores, classes.thing_mask
        (folder / "panoptic").mkdir(parents=True, exist_ok=True)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._videos: dict[str, int] = {}
        self._files: set[str] = set()
        self._sequence_ids: dict[str, _SequenceIds] = {}
        self._category_ids = list(range(len(classes)) if category_ids is None else category_ids)
        self._categories = [
            {"id": number, "name": name, "supercategory": name, "isthing": int(thing), "color": list(color)}
            for number, name, thing, color in zip(self._category_ids, classes.names, classes.is_thing, classes.colors,
                                                  strict=True)]

    def add(self, image_file: str, label: PanopticLabel, sequence: str | None = None, number: int = -1,
            stamp_ns: int = 0, segment_ids: np.ndarray | None = None, image_id: int | str | None = None) -> None:
        """One image and its segments; segments of NO_CLASS become void.

        image_file: path as the JSON file shall have it; the PNG has the same without a leading images/.
        sequence: the video that the image belongs to; an id is then an object's own in all of its images.
        number, stamp_ns: the frame's number and time, where they are known.
        segment_ids: (N,) from 1 to MAX_ID, all different; None: made from the label's object ids.
        image_id: the JSON file's id of the image; None: images are counted.
        Raises InputError when an id is not such a number, or when an image is there twice.
        """
        if segment_ids is None:
            given = self._sequence_ids.setdefault(sequence, _SequenceIds()) if sequence is not None else _SequenceIds()
            segment_ids = given.of(label, self._is_thing)
        ids = np.asarray(segment_ids, np.int64)
        if len(ids) and (ids.min() < 1 or ids.max() > MAX_ID or len(np.unique(ids)) < len(ids)):
            raise InputError(f"{image_file}: segment ids must differ and lie between 1 and {MAX_ID}")
        height, width = label.segment_map.shape
        file = str(Path(image_file.removeprefix("images/")).with_suffix(".png"))
        if file in self._files:
            raise InputError(f"{image_file} is there twice: images need names of their own")
        self._files.add(file)
        written = np.where(label.class_id == NO_CLASS, 0, ids)
        place = self.folder / "panoptic" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        id_image = encode_ids(np.concatenate([[0], written]).astype(np.int32)[label.segment_map])
        write_image(place, id_image, [cv2.IMWRITE_PNG_COMPRESSION, 2])
        image: dict[str, Any] = {"id": len(self._images) if image_id is None else image_id, "file_name": image_file,
                                 "width": width, "height": height}
        if sequence is not None:
            image["video_id"] = self._videos.setdefault(sequence, len(self._videos))
        if number >= 0:
            image["frame_id"] = number
        if stamp_ns or number >= 0:
            image["stamp_ns"] = stamp_ns
        self._annotations.append({"image_id": image["id"], "file_name": file,
                                  "segments_info": self._segments_info(label, ids)})
        self._images.append(image)

    def close(self) -> None:
        """Write the JSON file, for the images that were added."""
        content: dict[str, Any] = {"images": self._images, "annotations": self._annotations,
                                   "categories": self._categories}
        if self._videos:
            content["videos"] = [{"id": number, "name": name} for name, number in self._videos.items()]
        write_atomically(self.folder / "panoptic.json", json.dumps(content))

    def _segments_info(self, label: PanopticLabel, ids: np.ndarray) -> list[dict[str, Any]]:
        areas, boxes = label_areas_and_boxes(label.segment_map, len(ids))
        infos: list[dict[str, Any]] = []
        for row, (area, (x0, y0, x1, y1)) in enumerate(zip(areas.tolist(), boxes.tolist(), strict=True)):
            if area and label.class_id[row] != NO_CLASS:
                info = {"id": int(ids[row]), "category_id": self._category_ids[label.class_id[row]],
                        "area": area, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": int(label.is_crowd[row])}
                scored = self._scores and not np.isnan(label.score[row])
                infos.append({**info, "score": round(float(label.score[row]), 5)} if scored else info)
        return infos


class _SequenceIds:
    """Gives segment ids that are the same in all images of a video: of stuff by class, of objects by object."""

    def __init__(self) -> None:
        self._objects: dict[int, int] = {}
        self._lowest = MAX_ID + 1

    def of(self, label: PanopticLabel, is_thing: np.ndarray) -> np.ndarray:
        """(N,) int64; what is not followed, such as a second segment of a stuff class, counts down from MAX_ID."""
        ids: list[int] = []
        for class_id, object_id in zip(label.class_id.tolist(), label.object_id.tolist(), strict=True):
            if class_id != NO_CLASS and not is_thing[class_id]:
                number = class_id + 1
            else:
                number = self._objects.setdefault(object_id, FIRST_OBJECT + len(self._objects)) if object_id else 0
            if number == 0 or number in ids:
                self._lowest -= 1
                number = self._lowest
            ids.append(number)
        return np.array(ids, np.int64)


def _dataset_name(json_file: Path) -> str:
    return json_file.parent.resolve().name if json_file.stem == "panoptic" else json_file.stem


def _entries(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], videos: Sequence[Mapping[str, Any]],
             video: bool) -> tuple[list[Entry], list[int]]:
    """The entries, those of a sequence together and in the order of their frames, and the pair that each is of."""
    video_names = {v["id"]: str(v.get("name", v["id"])) for v in videos if "id" in v}
    files = [Path(str(image.get("file_name", annotation["file_name"]))) for image, annotation in pairs]
    several = len({file.parent for file in files}) > 1
    stems = image_names(files)
    if len(set(stems)) < len(stems):
        raise InputError(f"two images have one name: {Counter(stems).most_common(1)[0][0]}; see `panoptic-ros dataset "
                         "check`")
    first_seen: dict[str, int] = {}
    entries = []
    for (image, _), file, stem in zip(pairs, files, stems, strict=True):
        sequence = None
        if video:
            sequence = (video_names.get(image["video_id"], str(image["video_id"])) if "video_id" in image
                        else file.parent.name if several else file.parent.name or "video")
            first_seen.setdefault(sequence, len(first_seen))
        ending = trailing_number(bare_name(file.stem))
        is_stamp = ending >= 10 ** (_STAMP_DIGITS - 1)
        number = image.get("frame_id", image.get("frame_index", -1 if is_stamp else ending))
        entries.append(Entry(stem, sequence, image.get("stamp_ns", ending if is_stamp else 0), number))
    order = list(range(len(entries)))
    if video:
        order.sort(key=lambda i: (first_seen[str(entries[i].sequence)], entries[i].number, entries[i].stamp_ns, i))
    return [entries[i] for i in order], order
