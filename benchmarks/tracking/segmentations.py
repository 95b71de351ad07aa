"""Segmented sequences with ground truth, cached on disk: every tracker is given the same segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from panoptic_ros import synthetic_city
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import ClassTable, class_mapping
from panoptic_ros.datasets import Dataset
from panoptic_ros.decoding.appearance import appearance_vectors
from panoptic_ros.decoding.segment_pooling import pool_segments
from panoptic_ros.decoding.segments import make_segments
from panoptic_ros.evaluation.content_hash import hash_path, hash_settings
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import NO_CLASS, PanopticLabel
from panoptic_ros.model import Model
from panoptic_ros.perception import Perception, preprocess
from panoptic_ros.segments import Segments

CACHE = Path(__file__).parents[2] / "runs" / "tracking"


@dataclass(frozen=True)
class SegmentedSequence:
    """The images of one sequence, in order.

    truth: in the classes of the model. predicted: the model's segments. oracle: ground-truth segments, with the
    embeddings that the model gives them. Frames have no pixels and no tracks.
    """

    name: str
    truth: list[PanopticLabel]
    oracle: list[PanopticFrame]
    predicted: list[PanopticFrame]

    def every(self, step: int) -> SegmentedSequence:
        """Every `step`-th image."""
        return replace(self, truth=self.truth[::step], oracle=self.oracle[::step], predicted=self.predicted[::step])


def segmented_sequences(perception: Perception, dataset: Dataset) -> Iterator[SegmentedSequence]:
    """The sequences of a dataset, segmented by the model and by the ground truth; cached."""
    model = perception.model
    world = [hash_path(file) for file in sorted(Path(synthetic_city.__file__).parent.glob("*.py"))]
    class_of = class_mapping(dataset.classes, model.classes)
    for name, rows in dataset.sequences():
        key = hash_settings({"model": model.model_id, "kind": model.embedding_kind, "world": world,
                             "precision": perception.engine.precision,
                             "images": [dataset.entries[row].name for row in rows]})
        file = CACHE / f"{dataset.name.split(':')[0]}_{name}_{key[:12]}.npz"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part.npz")
            sequence = _segment(perception, dataset, str(name), rows, class_of)
            np.savez_compressed(part, allow_pickle=False, **_columns(sequence))
            part.rename(file)
        with np.load(file) as columns:
            yield _of_columns(str(name), dict(columns), perception.model.classes)


@torch.inference_mode()
def _segment(perception: Perception, dataset: Dataset, name: str, rows: Sequence[int],
             class_of: np.ndarray) -> SegmentedSequence:
    table = np.append(class_of, NO_CLASS)
    model = perception.model
    sequence = SegmentedSequence(name, [], [], [])
    for k, row in enumerate(tqdm(rows, desc=f"segment {name}", unit="image", disable=None)):
        image = CameraImage(dataset.image(row), "rgb8", dataset.entries[row].stamp_ns or k * 100_000_000)
        label = dataset.label(row)
        label = replace(label, class_id=table[label.class_id].astype(np.int32))
        outputs = perception.engine(preprocess(model, [image], perception.engine.device))
        decoded = model.decode(outputs, perception.thresholds, (image.height, image.width))
        sequence.truth.append(label)
        segment_map = decoded.segment_map[0].to(torch.uint16).cpu().numpy()
        sequence.predicted.append(PanopticFrame(image, segment_map, decoded.segments[0].numpy(), model.classes))
        sequence.oracle.append(_oracle_frame(image, label, model, outputs))
    return sequence


def _oracle_frame(image: CameraImage, label: PanopticLabel, model: Model, outputs: dict[str, Tensor]) -> PanopticFrame:
    """Ground-truth segments as a frame, with the embeddings that the network's outputs give them."""
    kept = (label.class_id != NO_CLASS) & ~label.is_crowd
    number = np.concatenate([[0], np.cumsum(kept) * kept]).astype(np.int32)
    class_id = label.class_id[kept]
    segment_map, segments = make_segments(
        torch.as_tensor(number[label.segment_map]), torch.as_tensor(class_id),
        torch.as_tensor(model.classes.thing_mask[class_id]), torch.ones(len(class_id)), None)
    outputs = {name: values.cpu() for name, values in outputs.items()}
    if "embedding" in model.network.pixel_outputs:
        maps = outputs["embedding"][0]
        pooled = pool_segments(maps, segment_map, segments.box)[:, :len(maps)]
        segments = replace(segments, embedding=F.normalize(pooled, dim=1))
    if "appearance" in outputs:
        segments = replace(segments, embedding=appearance_vectors(outputs["appearance"][0], segment_map, segments,
                                                                  model.appearance))
    return PanopticFrame(image, segment_map.numpy().astype(np.uint16), segments.numpy(), model.classes)


def _columns(sequence: SegmentedSequence) -> dict[str, np.ndarray]:
    """Arrays for a file: `truth_X`, `oracle_X`, `predicted_X`; columns of all images one after the other."""
    result = {"stamp_ns": np.array([frame.image.stamp_ns for frame in sequence.oracle])}
    for kind, found in (("truth", sequence.truth), ("oracle", sequence.oracle), ("predicted", sequence.predicted)):
        tables = [one.segments if isinstance(one, PanopticFrame) else one for one in found]
        result[f"{kind}_map"] = np.stack([one.segment_map.astype(np.uint16) for one in found])
        result[f"{kind}_rows"] = np.array([len(table) for table in tables])
        for column in fields(tables[0]):
            if column.name != "segment_map" and getattr(tables[0], column.name) is not None:
                result[f"{kind}_{column.name}"] = np.concatenate([getattr(table, column.name) for table in tables])
    return result


def _of_columns(name: str, columns: dict[str, np.ndarray], classes: ClassTable) -> SegmentedSequence:
    def tables(kind: str, names: Sequence[str]) -> Iterator[list[Any]]:
        ends = np.cumsum(columns[f"{kind}_rows"])
        for begin, end in zip((ends - columns[f"{kind}_rows"]).tolist(), ends.tolist(), strict=True):
            yield [columns[key][begin:end] if (key := f"{kind}_{column}") in columns else None for column in names]

    blank = np.broadcast_to(np.uint8(0), (*columns["truth_map"].shape[1:], 3))
    images = [CameraImage(blank, "rgb8", stamp) for stamp in columns["stamp_ns"].tolist()]
    label_columns, segment_columns = ([column.name for column in fields(kind) if column.name != "segment_map"]
                                      for kind in (PanopticLabel, Segments))
    truth = [PanopticLabel(segment_map, *table)
             for segment_map, table in zip(columns["truth_map"], tables("truth", label_columns), strict=True)]
    oracle, predicted = (
        [PanopticFrame(image, segment_map, Segments(*table), classes) for image, segment_map, table in zip(
            images, columns[f"{kind}_map"], tables(kind, segment_columns), strict=True)]
        for kind in ("oracle", "predicted"))
    return SegmentedSequence(name, truth, oracle, predicted)
