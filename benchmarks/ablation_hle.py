"""HLE's ablation (Table 6 of the paper) at small scale: python -m benchmarks.ablation_hle [--quick] [--json FILE]

Trains every variant on the synthetic city with the same budget and several seeds, tunes the thresholds of each in the
same way, and scores it on drives that neither has seen. Runs are kept in runs/ablation_hle: an interrupted benchmark
goes on where it was.
"""

from __future__ import annotations

from benchmarks.ablation import Ablation, table
from benchmarks.command import run_benchmark

ABLATION = Ablation("hle", {
    "associative": ("associative embedding", 38.8),
    "cross_entropy": ("cross entropy", 45.0),
    "split": ("split embedding space", 50.2),
    "branch": ("separate semantic branch", 57.0),
    "backpropagated_means": ("without VQ-style means", 57.0),
    "random_means": ("without Thomson means", 58.6),
    "predicted_spatial_sigma": ("a spatial sigma for each pixel", None),
    "full": ("hierarchical Lovász embeddings", 59.1),
}, backbone="backbone")

if __name__ == "__main__":
    run_benchmark(__doc__, ABLATION.measure, table)
