"""The metrics of sequences, each image's table of shared pixels computed once for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from panoptic_ros.classes import ClassTable
from panoptic_ros.datasets.dataset import Truth
from panoptic_ros.evaluation.flicker import Flicker
from panoptic_ros.evaluation.hota import HigherOrderTrackingAccuracy
from panoptic_ros.evaluation.multi_object_tracking import MultiObjectTracking
from panoptic_ros.evaluation.segmentation_tracking_quality import SegmentationTrackingQuality
from panoptic_ros.evaluation.tracked_masks import tracked_masks
from panoptic_ros.evaluation.video_panoptic_quality import VideoPanopticQuality
from panoptic_ros.labels import PanopticLabel

# The names of what `SequenceSums.totals` has.
SEQUENCE_COUNTERS = ("stq", "vpq", "tracking", "hota", "flicker")


class SequenceSums:
    """Takes the images of one sequence in order, for each metric that its truth allows."""

    def __init__(self, classes: ClassTable, kinds: frozenset[Truth]) -> None:
        """kinds: what the truth can judge."""
        tracks, panoptic = Truth.TRACKS in kinds, Truth.PANOPTIC in kinds
        things = self._things = classes.thing_mask
        self._stq = SegmentationTrackingQuality(things) if tracks and panoptic else None
        self._vpq = VideoPanopticQuality(things) if tracks and panoptic else None
        self._tracking = MultiObjectTracking(things) if tracks else None
        self._hota = HigherOrderTrackingAccuracy(things) if tracks else None
        self._flicker = Flicker() if panoptic or Truth.SEMANTIC in kinds else None
        self._images = 0

    def add(self, predicted: PanopticLabel, truth: PanopticLabel, shared: np.ndarray) -> None:
        """shared: (N + 1, M + 1) of `overlap`."""
        for metric in (self._stq, self._vpq):
            if metric is not None:
                metric.add(predicted, truth, shared)
        if self._tracking is not None and self._hota is not None:
            masks = tracked_masks(predicted, truth, self._things, self._images, shared)
            self._tracking.add_masks(masks)
            self._hota.add_masks(masks)
        if self._flicker is not None:
            self._flicker.add(predicted, truth)
        self._images += 1

    def totals(self) -> dict[str, Any]:
        """What the sequence adds to each metric: name -> accumulator."""
        metrics = (self._stq, self._vpq, self._tracking, self._hota, self._flicker)
        return {name: metric.totals() for name, metric in zip(SEQUENCE_COUNTERS, metrics, strict=True)
                if metric is not None}


def sequence_result(totals: dict[str, Any], classes: ClassTable) -> dict[str, Any]:
    """The part of a result (see `panoptic_ros.evaluation.results`) that comes from the sums over sequences."""
    result: dict[str, Any] = {}
    for name in ("stq", "vpq"):
        if name in totals and (values := totals[name].result()):
            result[name] = values
    if "tracking" in totals and (mots := _mots(totals, None)):
        by_class = {classes.names[k]: values for k in np.flatnonzero(classes.thing_mask)
                    if (values := _mots(totals, int(k)))}
        result["mots"] = {**mots, "classes": by_class}
    if "flicker" in totals:
        change = totals["flicker"].result()
        if "flicker" in change:
            result["flicker"] = change.pop("flicker")
        if change:
            result["class_change"] = change
    return result


def _mots(totals: dict[str, Any], class_id: int | None) -> dict[str, float]:
    values: dict[str, float] = totals["tracking"].result(class_id) | totals["hota"].result(class_id)
    return values
