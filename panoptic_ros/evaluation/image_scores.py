"""The metrics of single images, all from one table of shared pixels."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from panoptic_ros.classes import ClassTable
from panoptic_ros.datasets.dataset import Truth
from panoptic_ros.evaluation.mask_ap import pair_things
from panoptic_ros.evaluation.mean_iou import predicted_class_pixels
from panoptic_ros.evaluation.panoptic_quality import Matches, match_overlap
from panoptic_ros.evaluation.panoptic_quality_dagger import dagger_quality
from panoptic_ros.evaluation.parsing_covering import cover_overlap
from panoptic_ros.labels import PanopticLabel


def image_sums(predicted: PanopticLabel, truth: PanopticLabel, shared: np.ndarray, classes: ClassTable,
               kinds: frozenset[Truth], image: str) -> dict[str, Any]:
    """What one image adds to each metric that its truth allows: name -> accumulator.

    shared: (N + 1, M + 1) of `overlap`. kinds: what the truth can judge. image: its name, for errors.
    Panoptic quality is there for every kind but semantic truth; of tracks alone it is that of the objects in the image.
    """
    predicted_class, truth_class = predicted.class_id, truth.class_id
    sums: dict[str, Any] = {}
    if Truth.PANOPTIC in kinds or Truth.SEMANTIC in kinds:
        sums["classes"] = predicted_class_pixels(predicted, truth, shared, len(classes))
    if Truth.PANOPTIC in kinds or Truth.TRACKS in kinds:
        sums["matches"] = match_overlap(shared, predicted_class, truth_class, truth.is_crowd, len(classes))
    if Truth.PANOPTIC in kinds:
        sums["dagger"] = dagger_quality(sums["matches"], shared, predicted_class, truth_class, classes.thing_mask)
        sums["covering"] = cover_overlap(shared, predicted_class, truth_class, truth.is_crowd, len(classes))
        if classes.thing_mask.any():
            # What has no score at all is ranked alike; what has some must have all of them.
            score = (np.ones_like(predicted.score) if np.isnan(thing_scores(predicted, classes)).all()
                     else predicted.score)
            sums["mask_ap"] = pair_things(shared, predicted_class, score, truth_class, truth.is_crowd,
                                          classes.thing_mask, image)
    return sums


def image_result(sums: dict[str, Any], classes: ClassTable, kinds: frozenset[Truth]) -> dict[str, Any]:
    """The part of a result (see `panoptic_ros.evaluation.results`) that comes from the sums over images."""
    result: dict[str, Any] = {}
    if Truth.PANOPTIC in kinds:
        if groups := sums["matches"].result(classes.thing_mask):
            result["panoptic"] = {**groups, "classes": _by_class(sums["matches"], classes)}
        result |= sums["dagger"].result() | sums["covering"].result()
    if "classes" in sums:
        result |= sums["classes"].result()
        if "miou" in result:
            iou = sums["classes"].iou()
            result["iou"] = {classes.names[k]: float(iou[k]) for k in np.flatnonzero(~np.isnan(iou))}
    for name in ("mask_ap", "depth"):
        if name in sums and (values := sums[name].result()):
            result[name] = values
    if "class_depth" in sums and (by_class := sums["class_depth"].result(classes.names)):
        result["depth"]["classes"] = by_class
    return result


def image_quality(sums: dict[str, Any], classes: ClassTable, kinds: frozenset[Truth]) -> dict[str, float]:
    """The image's own scores, 0..1, the one that says most first; empty where the truth judges nothing in it.

    `pq`, `sq`, `rq`: means over the classes of the image. `object_quality`, for tracks alone: PQ of the things of all
    classes together. `miou`: mean over the classes of the image.
    """
    quality: dict[str, float] = {}
    if "matches" in sums:
        matches: Matches = sums["matches"]
        if Truth.PANOPTIC in kinds:
            quality |= matches.result(classes.thing_mask).get("all", {})
        else:
            iou, *counts = (float(getattr(matches, f.name)[classes.thing_mask].sum()) for f in fields(matches))
            if occurrences := counts[0] + (counts[1] + counts[2]) / 2:
                quality["object_quality"] = iou / occurrences
    if "classes" in sums:
        quality |= sums["classes"].result()
    return quality


def thing_scores(predicted: PanopticLabel, classes: ClassTable) -> np.ndarray:
    """Scores of the things of a prediction, NaN where it does not say."""
    scores: np.ndarray = predicted.score[np.append(classes.thing_mask, False)[predicted.class_id]]
    return scores


def _by_class(matches: Matches, classes: ClassTable) -> dict[str, dict[str, float]]:
    columns = {"pq": matches.quality(), "sq": matches.segmentation_quality(), "rq": matches.recognition_quality()}
    counts = {"tp": matches.true_positive, "fp": matches.false_positive, "fn": matches.false_negative}
    return {classes.names[k]: {**{name: float(column[k]) for name, column in columns.items()},
                               **{name: int(column[k]) for name, column in counts.items()}}
            for k in np.flatnonzero(~np.isnan(columns["pq"]))}


