"""Dense detections' ablation (Table 3) at small scale: python -m benchmarks.ablation_dense_detections [--quick]

Trains every variant on the synthetic city with the same budget and two seeds, tunes the thresholds of each in the same
way, and scores it on drives that neither has seen. Runs are kept in runs/ablation_dense_detections: an interrupted
benchmark goes on where it was.
"""

from __future__ import annotations

from benchmarks.ablation import Ablation, table
from benchmarks.command import run_benchmark

ABLATION = Ablation("dense_detections", {
    "one_tower": ("one tower", 56.8),
    "two_towers": ("two towers", 57.1),
    "levelness": ("two towers, levelness", 58.1),
    "full": ("two towers, levelness, mask loss", 58.8),
    "boxes": ("boxes and semantics alone", 55.7),
})

if __name__ == "__main__":
    run_benchmark(__doc__, ABLATION.measure, table)
