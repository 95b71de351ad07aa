"""HLE's ablation (Table 6 of the paper) at small scale: python -m benchmarks.ablation_hle [--quick] [--json FILE]

Trains every variant on the synthetic city with the same budget and several seeds, tunes the thresholds of each in the
same way, and scores it on drives that neither has seen. Runs are kept in runs/ablation_hle: an interrupted benchmark
goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric

from benchmarks.command import run_benchmark
from panoptic_ros.datasets import open_dataset
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception
from training.evaluate import evaluate
from training.recipe import Recipe, load_recipe
from training.train import train
from training.tune import search, tuning_images

RECIPES = Path(__file__).parents[1] / "training" / "recipes" / "hle" / "ablation"
RUNS = Path("runs/ablation_hle")
# Variant -> what it is, and the paper's PQ on Cityscapes val with ResNet-50.
VARIANTS = {
    "associative": ("associative embedding", 38.8),
    "cross_entropy": ("cross entropy", 45.0),
    "split": ("split embedding space", 50.2),
    "branch": ("separate semantic branch", 57.0),
    "backpropagated_means": ("without VQ-style means", 57.0),
    "random_means": ("without Thomson means", 58.6),
    "full": ("hierarchical Lovász embeddings", 59.1),
}
SEEDS, QUICK_STEPS = (0, 1), 6
TUNED_ON, SCORED_ON = "city:500-511x4/20@256x512", "city:600-623x4/20@256x512"
QUICK_TUNED_ON, QUICK_SCORED_ON = "city:500x2/20@128x256", "city:600-601x2/20@128x256"


def measure(quick: bool) -> dict[str, Any]:
    """PQ of each variant and seed, 0 to 1."""
    cv2.setNumThreads(1)
    variants: dict[str, Any] = {}
    for name, (title, paper) in VARIANTS.items():
        scores = [_score(name, seed, quick) for seed in (SEEDS[:1] if quick else SEEDS)]
        variants[name] = {"title": title, "paper_pq": paper / 100,
                          **{key: [score[key] for score in scores] for key in ("pq", "pq_things", "pq_stuff")}}
    recipe = _recipe("full", 0, quick)
    return {"variants": variants, "steps": recipe.steps, "batch_size": recipe.batch_size,
            "crop": recipe.augmentation.crop, "data": recipe.data.train}


def _recipe(name: str, seed: int, quick: bool) -> Recipe:
    recipe = dataclasses.replace(load_recipe(RECIPES / f"{name}.yaml"), seed=seed)
    if not quick:
        return recipe
    small = dataclasses.replace(recipe.data, train="city:1000000-1000001x2/12@128x256", cache="")
    return dataclasses.replace(recipe, data=small, steps=QUICK_STEPS, batch_size=2, input_size=(128, 256),
                               augmentation=dataclasses.replace(recipe.augmentation, crop=(64, 128)))


def _score(name: str, seed: int, quick: bool) -> dict[str, float]:
    out = RUNS / ("quick" if quick else "full") / f"{name}_{seed}"
    result = out / "score.json"
    if not result.is_file() or quick:
        recipe = _recipe(name, seed, quick)
        fabric = Fabric(accelerator="auto", devices=1, precision=recipe.precision)
        train(recipe, out, fabric, 0 if quick else 1, Event())
        perception = Perception(load_model(out / "model"))
        with torch.inference_mode():
            images = tuning_images(perception, open_dataset(QUICK_TUNED_ON if quick else TUNED_ON), 48, 0)
            perception.thresholds = search(perception.model, images, 5 if quick else 80)
        scored = open_dataset(QUICK_SCORED_ON if quick else SCORED_ON)
        panoptic = evaluate(perception, scored, len(scored), 0)["panoptic"]
        groups = {"pq": "all", "pq_things": "things", "pq_stuff": "stuff"}
        result.write_text(json.dumps({key: panoptic.get(group, {}).get("pq", 0.0) for key, group in groups.items()}))
    score: dict[str, float] = json.loads(result.read_text())
    return score


def table(result: dict[str, Any]) -> str:
    """Ours beside the paper's, and where the direction differs."""
    rows = result["variants"]
    best = np.mean(rows["full"]["pq"])
    lines = [f"{result['steps']} steps of {result['batch_size']} crops {result['crop'][0]} x {result['crop'][1]}",
             f"{'':32} {'paper':>6} {'ours':>6} {'things':>7} {'stuff':>6}   seeds"]
    for row in rows.values():
        pq = 100 * np.array(row["pq"])
        # The paper's direction: each variant is below the full method.
        differs = row is not rows["full"] and np.mean(row["pq"]) > best
        lines.append(f"{row['title']:32} {100 * row['paper_pq']:6.1f} {pq.mean():6.1f} "
                     f"{100 * np.mean(row['pq_things']):7.1f} {100 * np.mean(row['pq_stuff']):6.1f}   "
                     f"{', '.join(f'{value:.1f}' for value in pq)}" + ("   above the full method" if differs else ""))
    return "\n".join(lines)


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table)
