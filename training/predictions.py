"""Predictions for a dataset in COCO's panoptic format, for the evaluators of others."""

from __future__ import annotations

from pathlib import Path

from panoptic_ros.datasets import Dataset
from panoptic_ros.datasets.coco_panoptic import CocoPanoptic, CocoPanopticWriter
from panoptic_ros.labels import PanopticLabel

from .reading import LabelledImage


class PredictionWriter:
    """Writes FOLDER/panoptic.json with a score for each segment, and FOLDER/panoptic/NAME.png.

    Where the dataset is in COCO's panoptic format, images and categories keep its ids, by which panopticapi, and what
    builds on it, matches predictions and ground truth.
    """

    def __init__(self, folder: Path, dataset: Dataset) -> None:
        self._truth = dataset if isinstance(dataset, CocoPanoptic) else None
        category_ids = self._truth.category_ids if self._truth else None
        self._writer = CocoPanopticWriter(folder, dataset.classes, scores=True, category_ids=category_ids)

    def add(self, example: LabelledImage, predicted: PanopticLabel) -> None:
        """The prediction for an image of the dataset, in the dataset's classes; what has none of them becomes void."""
        entry = example.entry
        self._writer.add(f"{entry.name}.png", predicted, entry.sequence, entry.number, entry.stamp_ns,
                         image_id=self._truth.image_ids[example.row] if self._truth else None)

    def close(self) -> None:
        """Write the JSON file."""
        self._writer.close()
