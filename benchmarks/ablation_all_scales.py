"""Ablation of CABB and ISUS at small scale (Table 1): python -m benchmarks.ablation_all_scales [--quick] [--json FILE]

Trains every variant on drives of the synthetic city at 1024 x 2048, with the same budget and two seeds, tunes the
thresholds of each in the same way, and scores it on drives that neither has seen. Runs are kept in
runs/ablation_all_scales: an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.ablation import Ablation, table
from benchmarks.command import run_benchmark
from benchmarks.detection_scores import PERCENTILES, detection_scores
from panoptic_ros.datasets import Dataset
from panoptic_ros.perception import Perception

CROP = (512, 512)
SIZES = tuple(f"_{a}_{b}" for a, b in zip(PERCENTILES[:-1], PERCENTILES[1:], strict=True))
# Key -> what the table calls it. PC: parsing covering.
COLUMNS = {"pq": "PQ", "pq_things": "things", "mask_ap": "mask AP", "box_ap": "box AP", "parsing_covering": "PC",
           "pq_dagger": "PQ†", "iou_large": "IoU large", "iou_border": "border", "iou_other": "other"}


def _detections(perception: Perception, dataset: Dataset) -> dict[str, float]:
    return detection_scores(perception, dataset, CROP)


# The paper's PQ on Mapillary Vistas, where all five are given.
ABLATION = Ablation("all_scales", {
    "whole_images": ("FULL", 39.4),
    "crop": ("CROP", 43.6),
    "crop_cabb": ("CROP + CABB", 44.5),
    "crop_isus": ("CROP + ISUS", 44.7),
    "full": ("CROP + CABB + ISUS", 45.1),
}, size=(1024, 2048), metrics=("parsing_covering", "pq_dagger"), further=_detections)


def tables(result: dict[str, Any]) -> str:
    """PQ beside the paper's, the other metrics of Table 1 with the IoU of boxes, and AP by size as in Figure 5."""
    rows = result["variants"].values()
    lines = [table(result), "", f"{'':24}" + "".join(f"{name:>10}" for name in COLUMNS.values())]
    lines += [f"{row['title']:24}" + "".join(_cell(row, key) for key in COLUMNS) for row in rows]
    lines += ["", "Box AP, then mask AP, by percentiles of the objects' areas",
              f"{'':24}" + "".join(f"{size[1:].replace('_', '-'):>10}" for size in 2 * SIZES)]
    lines += [f"{row['title']:24}" + "".join(_cell(row, f"{kind}_ap{size}") for kind in ("box", "mask")
                                             for size in SIZES) for row in rows]
    return "\n".join(lines)


def _cell(row: dict[str, Any], key: str) -> str:
    return f"{100 * np.mean(row[key]):10.1f}" if key in row else f"{'-':>10}"


if __name__ == "__main__":
    run_benchmark(__doc__, ABLATION.measure, tables)
