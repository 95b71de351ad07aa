"""Temporal smoothing: what `tracking.temporal_smoothing` does to a segmentation, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from time import perf_counter
from typing import Any

import numpy as np

from panoptic_ros.evaluation.flicker import Flicker
from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.evaluation.panoptic_quality import Matches, match_overlap
from panoptic_ros.evaluation.segmentation_tracking_quality import SegmentationTrackingQuality
from panoptic_ros.evaluation.video_panoptic_quality import VideoPanopticQuality
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.tracking import CameraTrackers, TrackerSettings


@dataclass(frozen=True)
class SmoothingTotals:
    """Totals over sequences: metrics by name, and the milliseconds of each image; `+` joins sequences."""

    metrics: dict[str, Any]
    milliseconds: list[float]

    def __add__(self, other: SmoothingTotals) -> SmoothingTotals:
        return SmoothingTotals({name: value + other.metrics[name] for name, value in self.metrics.items()},
                               self.milliseconds + other.milliseconds)

    def result(self, is_thing: np.ndarray) -> dict[str, float]:
        """Shares, and the median time from segments to what is shown."""
        flicker, quality, video = (self.metrics[name].result() for name in ("flicker", "stq", "vpq"))
        panoptic = self.metrics["pq"].result(is_thing)
        return {"flicker": flicker["flicker"], "vpq": video["mean"], "stq": quality["stq"], "aq": quality["aq"],
                "pq": panoptic["all"]["pq"], "pq_things": panoptic["things"]["pq"],
                "milliseconds": float(np.median(self.milliseconds))}


def smoothing_totals(frames: Sequence[PanopticFrame], truth: Sequence[PanopticLabel], is_thing: np.ndarray,
                     temporal_smoothing: bool) -> SmoothingTotals:
    """Totals of one sequence, tracked with or without temporal smoothing; is_thing: (C,) bool."""
    trackers, settings = CameraTrackers(), TrackerSettings(temporal_smoothing=temporal_smoothing)
    metrics: dict[str, Any] = {"flicker": Flicker(), "stq": SegmentationTrackingQuality(is_thing),
                               "vpq": VideoPanopticQuality(is_thing)}
    matches: list[Matches] = []
    milliseconds: list[float] = []
    for frame, label in zip(frames, truth, strict=True):
        start = perf_counter()
        shown = PanopticLabel.of_frame(trackers.update(frame, settings))
        milliseconds.append(1e3 * (perf_counter() - start))
        shared = overlap(shown.segment_map, label.segment_map, len(shown), len(label))
        metrics["flicker"].add(shown, label)
        metrics["stq"].add(shown, label, shared)
        metrics["vpq"].add(shown, label, shared)
        matches.append(match_overlap(shared, shown.class_id, label.class_id, label.is_crowd, len(is_thing)))
    return SmoothingTotals({name: metric.totals() for name, metric in metrics.items()} | {"pq": reduce(add, matches)},
                           milliseconds)
