"""A recording and a teacher -> a COCO-panoptic dataset with track ids, a contact sheet and a report."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from panoptic_ros.atomic_write import write_atomically
from panoptic_ros.bags.recording import Recording
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import VOID
from panoptic_ros.datasets.coco_panoptic import CocoPanopticWriter
from panoptic_ros.engines.test_time_augmentation import AugmentedEngine, TestTime
from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.geometry.numpy_label_maps import label_areas_and_boxes
from panoptic_ros.image_files import write_image
from panoptic_ros.labelling.contact_sheet import ContactSheet
from panoptic_ros.labelling.doubts import Doubt, classes_of_tracks, doubts_of
from panoptic_ros.labelling.key_frames import select_key_frames
from panoptic_ros.labelling.motion import carried_over, small_grey
from panoptic_ros.labelling.predictions import Prediction, Predictions, pictures
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.methods import METHODS
from panoptic_ros.model import Model
from panoptic_ros.perception import Perception
from panoptic_ros.segments import Segments

OUTPUTS = ("panoptic.json", "labelling.json", "contact_sheet.jpg")
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class LabelSettings:
    """motion, novelty, count: see `select_key_frames`. min_score, min_left: see `doubts_of`.

    flip: whether predictions are averaged over the mirror image, where the method has such an average.
    """

    motion: float = 0.05
    novelty: float = 0.05
    count: int = 0
    min_score: float = 0.5
    min_left: float = 0.5
    flip: bool = True

    def __post_init__(self) -> None:
        for name, low, high in (("motion", 0, 10), ("novelty", 0, 2), ("min_score", 0, 1), ("min_left", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} is {getattr(self, name)}; it must lie between {low} and {high}")
        if self.count < 0:
            raise InputError(f"count is {self.count}; it is a number of images, 0 = all")


def labelling_perception(model: Model, settings: LabelSettings, engine: str = "auto", device: str = "auto",
                         precision: str = "auto") -> Perception:
    """A perception of this model as the settings say: averaged over the mirror image, where the method has that."""
    perception = Perception(model, engine, device, precision)
    if settings.flip and METHODS[model.method].test_time_augmentation is not None:
        perception.engine = AugmentedEngine(perception.engine, model.method, TestTime(flip=True), model.network.stride)
    return perception


def label_recording(recording: Recording, model: Model, out: Path, settings: LabelSettings, stop: Event,
                    engine: str = "auto", device: str = "auto", precision: str = "auto",
                    perception: Perception | None = None) -> dict[str, Any] | None:
    """Write the dataset; returns the report, or None when `stop` was set: called again, it goes on.

    perception: `labelling_perception` of the same arguments, where there is one already; it has no tracks yet.
    Leaves OUT/panoptic.json, panoptic/, images/, labelling.json (the report) and contact_sheet.jpg.
    Raises InputError where there is nothing to label, or `out` has other files.
    """
    if out.is_dir() and any(out.iterdir()) and not (out / "predictions").is_dir():
        raise InputError(f"{out} has files that are not of unfinished labels: choose another folder")
    perception = perception or labelling_perception(model, settings, engine, device, precision)
    flips = isinstance(perception.engine, AugmentedEngine)
    predictions = Predictions(out / "predictions", {
        "recording": str(recording.path.resolve()), "streams": [stream.topic for stream in recording.streams],
        "model": model.model_id, "flip": flips, "engine": engine, "device": device, "precision": precision})
    if not predictions.make(recording, perception, stop):
        return None
    rows = list(predictions)
    if not rows:
        raise InputError(f"{recording.path} has no images with a time stamp of their own: there is nothing to follow")
    keys = select_key_frames(rows, settings.motion, settings.novelty, settings.count)
    for name in ("panoptic", "images"):  # of a run that ended while it wrote them
        shutil.rmtree(out / name, ignore_errors=True)
    report = _write(recording, model, out, settings, predictions, rows, keys, stop)
    if report is None:
        return None
    report["settings"] = {**dataclasses.asdict(settings), "flip": flips}
    write_atomically(out / "labelling.json", json.dumps(report, indent=1) + "\n")
    predictions.delete()
    return report


def _write(recording: Recording, model: Model, out: Path, settings: LabelSettings, predictions: Predictions,
           rows: list[Prediction], keys: list[int], stop: Event) -> dict[str, Any] | None:
    """Write the labels of the key frames, and images and contact sheet; returns the report, None when stopped."""
    by_number = {row.number: row for row in rows}
    at = {(row.camera, row.position): row.number for row in rows}
    around = {key: [number for step in (-1, 1) if (number := at.get(
        (by_number[key].camera, by_number[key].position + step))) is not None] for key in keys}
    track_class = classes_of_tracks(rows)
    writer, sheet = CocoPanopticWriter(out, model.classes), ContactSheet(len(keys))
    reasons, pixels, segments = Counter[str](), Counter[int](), Counter[int]()
    # Only the pictures around key frames are held, and only until the last that needs them.
    needed = Counter(number for key in keys for number in (key, *around[key]))
    held: dict[int, CameraImage] = {}
    waiting = list(keys)
    bar = tqdm(total=len(keys), unit="label", disable=None)
    for number, image in pictures(recording, set(needed)):
        if stop.is_set():
            return None
        held[number] = image
        while waiting and all(other <= number for other in (waiting[0], *around[waiting[0]])):
            key = waiting.pop(0)
            label, doubt = _label(by_number[key], held, around[key], predictions, track_class, settings)
            name = f"images/{by_number[key].camera}/{by_number[key].position:06d}.jpg"
            _write_image(out / name, held[key])
            writer.add(name, label, f"{recording.path.stem}/{by_number[key].camera}", by_number[key].position,
                       by_number[key].stamp_ns)
            sheet.add(_overlay(held[key], label, model), label.segment_map == 0, f"{Path(name).stem}")
            reasons.update({Doubt(value).name.lower(): int(count) for value, count in enumerate(
                np.bincount(doubt.ravel(), minlength=len(Doubt)))})
            areas = np.bincount(label.segment_map.ravel(), minlength=len(label) + 1)[1:]
            pixels.update({int(k): int(areas[label.class_id == k].sum()) for k in np.unique(label.class_id)})
            segments.update(label.class_id.tolist())
            for other in (key, *around[key]):
                needed[other] -= 1
                if not needed[other]:
                    del held[other]
            bar.update()
    bar.close()
    writer.close()
    sheet.write(out / "contact_sheet.jpg")
    total = max(sum(reasons.values()), 1)
    return {"recording": str(recording.path), "model": model.model_id, "images": len(rows), "labelled": len(keys),
            "pixels": sum(reasons.values()), "labelled_share": reasons["none"] / total,
            "void": {name.lower(): reasons[name.lower()] / total for name in Doubt.__members__ if name != "NONE"},
            "classes": {model.classes.names[k]: {"segments": segments[k], "pixel_share": pixels[k] / total}
                        for k in sorted(segments)}}


def _label(prediction: Prediction, held: dict[int, CameraImage], around: list[int], predictions: Predictions,
           track_class: dict[tuple[str, int], int], settings: LabelSettings) -> tuple[PanopticLabel, np.ndarray]:
    """The label of a key frame without what is doubtful, and the doubts (H, W)."""
    segment_map, semantics = predictions.maps(prediction.number)
    grey = small_grey(held[prediction.number].rgb())
    neighbours = []
    for number in around:
        other_grey = small_grey(held[number].rgb())
        _, other_semantics = predictions.maps(number)
        if other_semantics.shape == semantics.shape:
            neighbours.append(carried_over(other_semantics, grey, other_grey, VOID))
    doubt = doubts_of(prediction, segment_map, semantics, neighbours, track_class, settings.min_score,
                      settings.min_left)
    sure = np.where(doubt == Doubt.NONE, segment_map, 0)
    kept = np.bincount(sure.ravel(), minlength=len(prediction.class_id) + 1)[1:] > 0
    renumbered = np.concatenate([[0], np.cumsum(kept) * kept]).astype(np.uint16)
    return PanopticLabel.of(renumbered[sure], prediction.class_id[kept], prediction.track_id[kept]), doubt


def _write_image(file: Path, image: CameraImage) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_image(file, np.ascontiguousarray(image.rgb()[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])


def _overlay(image: CameraImage, label: PanopticLabel, model: Model) -> np.ndarray:
    area, box = label_areas_and_boxes(label.segment_map, len(label))
    count = len(label)
    rows = Segments(label.class_id, model.classes.thing_mask[label.class_id], np.ones(count, np.float32),
                    area.astype(np.int32), box.astype(np.int32), None, label.object_id.astype(np.int32),
                    np.ones(count, np.int32))
    return PanopticFrame(image, label.segment_map, rows, model.classes).overlay_bgr()
