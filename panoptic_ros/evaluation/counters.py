"""The additive counters of all metrics as named arrays, fit for np.savez without pickles, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from panoptic_ros.evaluation.depth import ClassDepthErrors, DepthErrors
from panoptic_ros.evaluation.flicker import FlickerTotals
from panoptic_ros.evaluation.hota import HotaTotals
from panoptic_ros.evaluation.mask_ap import MaskAP, ThingPairs
from panoptic_ros.evaluation.mean_iou import ClassPixels
from panoptic_ros.evaluation.multi_object_tracking import MultiObjectTrackingTotals
from panoptic_ros.evaluation.panoptic_quality import Matches
from panoptic_ros.evaluation.panoptic_quality_dagger import DaggerQuality
from panoptic_ros.evaluation.parsing_covering import Covering
from panoptic_ros.evaluation.segmentation_tracking_quality import SegmentationTrackingTotals
from panoptic_ros.evaluation.sums import Sums
from panoptic_ros.evaluation.video_panoptic_quality import VideoPanopticTotals

# The metric's name -> what it keeps; VPQ and mask AP keep several of a kind.
COUNTERS: dict[str, type[Sums]] = {
    "classes": ClassPixels, "matches": Matches, "dagger": DaggerQuality, "covering": Covering, "depth": DepthErrors,
    "class_depth": ClassDepthErrors, "stq": SegmentationTrackingTotals, "tracking": MultiObjectTrackingTotals,
    "hota": HotaTotals, "flicker": FlickerTotals}


def counters_as_arrays(counters: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Metric -> its counters, as `METRIC.FIELD` -> array; a number is an array without dimensions."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in counters.items():
        if isinstance(value, MaskAP):
            # The things and pairs of all images in a row, and how many of them are of each image.
            for column in fields(ThingPairs):
                parts = [getattr(image, column.name) for image in value.images]
                arrays[f"{name}.{column.name}"] = np.concatenate(parts) if parts else np.zeros(0)
                arrays[f"{name}.{column.name}.sizes"] = np.array([len(part) for part in parts], np.int64)
        elif isinstance(value, VideoPanopticTotals):
            arrays[f"{name}.windows"] = np.array(value.windows, np.int64)
            for k, matches in enumerate(value.matches):
                arrays.update(_as_arrays(f"{name}.{k}", matches))
        else:
            arrays.update(_as_arrays(name, value))
    return arrays


def counters_of_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The counters again. Raises KeyError where an array is missing."""
    there = {name.split(".")[0] for name in arrays if "." in name}
    counters: dict[str, Any] = {name: _of_arrays(name, kind, arrays) for name, kind in COUNTERS.items()
                                if name in there}
    if "vpq" in there:
        windows = arrays["vpq.windows"].tolist()
        counters["vpq"] = VideoPanopticTotals(
            tuple(_of_arrays(f"vpq.{k}", Matches, arrays) for k in range(len(windows))), tuple(windows))
    if "mask_ap" in there:
        columns = [np.split(arrays[f"mask_ap.{c.name}"], np.cumsum(arrays[f"mask_ap.{c.name}.sizes"])[:-1])
                   for c in fields(ThingPairs)]
        images = len(arrays["mask_ap.iou.sizes"])
        counters["mask_ap"] = MaskAP([ThingPairs(*(column[i] for column in columns)) for i in range(images)])
    return counters


def _as_arrays(name: str, sums: Sums) -> dict[str, np.ndarray]:
    return {f"{name}.{field.name}": np.asarray(getattr(sums, field.name)) for field in fields(sums)}


def _of_arrays(name: str, kind: type[Sums], arrays: Mapping[str, np.ndarray]) -> Any:
    values = [arrays[f"{name}.{field.name}"] for field in fields(kind)]
    return kind(*(value if value.ndim else value.item() for value in values))
