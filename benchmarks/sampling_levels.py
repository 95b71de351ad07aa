"""Levels of the pyramid that sampling policies train: python -m benchmarks.sampling_levels [--quick] [--plot FILE.svg]

Of crops of the synthetic city under each policy: the share of objects that belong to each level of the feature pyramid,
by the box of what the crop shows. What ISUS (Porzi et al. 2021, section 2.1) is for: supervision at all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import torch

from benchmarks.command import run_benchmark
from benchmarks.plots import bar_plot
from panoptic_ros.datasets import open_dataset
from panoptic_ros.methods.all_scales.region_pooling import pyramid_level
from training.augmentation import Augmentation
from training.ground_truth import ground_truth_objects
from training.samples import Samples
from training.sampling import Sampling

LEVELS = 4
POLICIES: tuple[str, ...] = get_args(get_type_hints(Sampling)["policy"])


def measure(quick: bool, plot: str) -> dict[str, list[float]]:
    """Policy -> share of the objects on each level, 0 to 1."""
    dataset = open_dataset("city:1000000-1000001x2/24" if quick else "city:1000000-1000039x4/24")
    augmentation = Augmentation(crop=(256, 512), scale=(0.5, 2.0))
    result = {}
    for policy in POLICIES:
        samples = Samples(dataset, augmentation, sampling=Sampling(policy=policy, levels=LEVELS))  # type: ignore[arg-type]
        counts = np.zeros(LEVELS)
        for index in range(4 if quick else 400):
            sample = samples[index]
            truth = ground_truth_objects(sample["class_map"][None].long(), sample["instance_map"][None].long())
            counts += torch.bincount(pyramid_level(truth.box[1:], LEVELS), minlength=LEVELS).numpy()
        result[policy] = (counts / max(counts.sum(), 1)).tolist()
    if plot:
        bar_plot(Path(plot), "Objects of the crops by level of the pyramid",
                 {policy: {f"level {k}": 100 * share for k, share in enumerate(shares)}
                  for policy, shares in result.items()})
    return result


def table(result: dict[str, list[float]]) -> str:
    """A row for each policy."""
    return "\n".join([f"{'share of objects, %':24}" + "".join(f"{f'level {k}':>9}" for k in range(LEVELS)),
                      *(f"{policy:24}" + "".join(f"{100 * share:9.1f}" for share in shares)
                        for policy, shares in result.items())])


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, plot="")
