"""Centroid embedding's ablation (Table 4) at small scale: python -m benchmarks.ablation_centroid_embedding [--quick]

Trains every variant on the synthetic city with the same budget and two seeds, tunes the thresholds of each in the same
way, and scores it on drives that neither has seen: PQ, and the IoU of objects by their size (Figures 4 and 5). Runs are
kept in runs/ablation_centroid_embedding: an interrupted benchmark goes on where it was. The paper's PQ are of ViT-B on
COCO; each encoding is here with and without EDS, where the paper leaves some out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.ablation import Ablation, table
from benchmarks.command import run_benchmark
from panoptic_ros.datasets import Dataset
from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.perception import Perception

# Upper bounds of the groups of objects, the square root of their area in pixels.
SIDES = (12, 24, 48, float("inf"))


def iou_by_size(perception: Perception, dataset: Dataset) -> list[float | None]:
    """Mean IoU of the true things of each group of SIDES with the predicted thing that they share most with, whatever
    its class; None for a group without any."""
    total, count = np.zeros(len(SIDES)), np.zeros(len(SIDES), int)
    for index in range(len(dataset)):
        truth, found = dataset.label(index), PanopticLabel.of_frame(perception(dataset.image(index)))
        shared = overlap(found.segment_map, truth.segment_map, len(found), len(truth))
        is_thing = perception.model.classes.thing_mask[found.class_id]
        of_truth = shared.sum(0)
        iou = shared[1:] / (shared[1:].sum(1, keepdims=True) + of_truth - shared[1:]).clip(min=1)
        best = np.where(is_thing[:, None], iou, 0).max(0, initial=0)[1:]
        objects = np.flatnonzero(dataset.classes.thing_mask[truth.class_id] & ~truth.is_crowd & (of_truth[1:] > 0))
        group = np.searchsorted(SIDES, np.sqrt(of_truth[1:][objects]))
        np.add.at(total, group, best[objects])
        np.add.at(count, group, 1)
    return [float(t / n) if n else None for t, n in zip(total, count, strict=True)]


ABLATION = Ablation("centroid_embedding", {
    "direct": ("direct regression", 38.0),
    "positional": ("PE, L = 4", 44.9),
    "eds_direct": ("EDS, direct regression", 41.6),
    "eds_cross_entropy": ("EDS, cross entropy", 39.9),
    "eds_harmonics_3": ("EDS, PE, L = 3", 47.4),
    "full": ("EDS, PE, L = 4", 48.6),
    "eds_harmonics_5": ("EDS, PE, L = 5", 48.1),
    "cross_entropy": ("cross entropy", None),
    "harmonics_3": ("PE, L = 3", None),
    "harmonics_5": ("PE, L = 5", None),
    "without_void": ("PE, L = 4, void left out", None),
}, measures={"iou_by_size": iou_by_size})
# Figure: variant, and that which its gain is over.
GAINS = {"Figure 4, void": ("positional", "without_void"), "Figure 4, EDS as well": ("full", "without_void"),
         "Figure 5, PE": ("full", "eds_direct")}


def tables(result: dict[str, Any]) -> str:
    """Table 4, then the gains in IoU by the objects' size."""
    lines = [table(result), "", f"{'gain in IoU by side, pixels':32} "
             + " ".join(f"{f'< {side}' if np.isfinite(side) else f'>= {SIDES[-2]}':>8}" for side in SIDES)]
    for name, pair in GAINS.items():
        ours, base = (np.mean(np.array(result["variants"][key]["iou_by_size"], float), 0) for key in pair)
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = 100 * (ours / base - 1)
        lines.append(f"{name:32} " + " ".join(f"{value:+7.1f}%" if np.isfinite(value) else f"{'-':>8}"
                                              for value in gain))
    return "\n".join(lines)


if __name__ == "__main__":
    run_benchmark(__doc__, ABLATION.measure, tables)
