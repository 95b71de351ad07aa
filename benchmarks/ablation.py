"""Ablations at small scale: every variant of a method trained, tuned and scored in the same way, beside the paper's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
import torch

from panoptic_ros.datasets import Dataset, open_dataset
from panoptic_ros.evaluation.metrics import METRICS
from panoptic_ros.perception import Perception
from training.devices import make_fabric
from training.evaluate import evaluate
from training.recipe import Recipe, load_recipe
from training.train import train
from training.tune import search, tuning_images

SEEDS, QUICK_STEPS = (0, 1), 6
RECIPES = Path(__file__).parents[1] / "training" / "recipes"
# Drives and frames; images have the size that the recipes are made for.
TUNED_ON, SCORED_ON = "city:500-511x2/40@{}x{}", "city:600-623x4/20@{}x{}"
QUICK_TUNED_ON, QUICK_SCORED_ON = "city:500x2/20@{}x{}", "city:600-601x2/20@{}x{}"


@dataclass(frozen=True)
class Ablation:
    """A table of a paper.

    method: its recipes are in training/recipes/METHOD/ablation, its runs in runs/ablation_METHOD.
    variants: name of a recipe -> what it is, and the paper's PQ on Cityscapes val with ResNet-50, None for our own.
    backbone: a recipe besides whose model all variants start with, where they do not start with a shipped one, as the
        papers' start with one that ImageNet made; its run is in runs/ablation_NAME.
    size: (h, w) of the images that all variants are tuned and scored on; None: that of each one's own input.
    metrics: further results of `training.evaluate` that are kept, by their keys.
    further: scores besides, of the tuned model on the same images, by name.
    measures: the same, one by one.
    """

    method: str
    variants: dict[str, tuple[str, float | None]]
    backbone: str = ""
    size: tuple[int, int] | None = None
    metrics: tuple[str, ...] = ()
    further: Callable[[Perception, Dataset], dict[str, float]] | None = None
    measures: Mapping[str, Callable[[Perception, Dataset], Any]] = field(default_factory=dict)

    def measure(self, quick: bool) -> dict[str, Any]:
        """PQ of each variant and seed, 0 to 1, and what `measures` give."""
        cv2.setNumThreads(1)
        if self.backbone and not quick:
            recipe = load_recipe(RECIPES / self.method / "ablation" / f"{self.backbone}.yaml")
            train(recipe, Path("runs") / f"ablation_{self.backbone}", make_fabric(recipe), 1, Event())
        variants: dict[str, Any] = {}
        for name, (title, paper) in self.variants.items():
            scores = [self._score(name, seed, quick) for seed in (SEEDS[:1] if quick else SEEDS)]
            variants[name] = {"title": title, "paper_pq": None if paper is None else paper / 100,
                              **{key: [score[key] for score in scores] for key in scores[0]}}
        recipe = self._recipe("full", 0, quick)
        return {"variants": variants, "steps": recipe.steps, "batch_size": recipe.batch_size,
                "crop": recipe.augmentation.crop, "data": recipe.data.train}

    def _recipe(self, name: str, seed: int, quick: bool) -> Recipe:
        recipe = dataclasses.replace(load_recipe(RECIPES / self.method / "ablation" / f"{name}.yaml"), seed=seed)
        if not quick:
            return recipe
        small = dataclasses.replace(recipe.data, train="city:1000000-1000001x2/12@128x256", cache="")
        return dataclasses.replace(recipe, data=small, steps=QUICK_STEPS, batch_size=2, input_size=(128, 256),
                                   initial_backbone="",
                                   augmentation=dataclasses.replace(recipe.augmentation, crop=(64, 128)))

    def _score(self, name: str, seed: int, quick: bool) -> dict[str, Any]:
        out = Path("runs") / f"ablation_{self.method}" / ("quick" if quick else "full") / f"{name}_{seed}"
        result = out / "score.json"
        if not result.is_file() or quick:
            recipe = self._recipe(name, seed, quick)
            train(recipe, out, make_fabric(recipe), 0 if quick else 1, Event())
            perception = Perception(out / "model")
            size = recipe.input_size if quick or self.size is None else self.size
            with torch.inference_mode():
                tuned = open_dataset((QUICK_TUNED_ON if quick else TUNED_ON).format(*size))
                images = tuning_images(perception, tuned, 24, 0, follow=False)  # the papers' tables are of PQ
                perception.thresholds = search(perception.model, images, 5 if quick else 80)
            scored = open_dataset((QUICK_SCORED_ON if quick else SCORED_ON).format(*size))
            evaluated = evaluate(perception, scored, len(scored), 0)
            groups = {"pq": "all", "pq_things": "things", "pq_stuff": "stuff"}
            scores = {key: evaluated["panoptic"].get(group, {}).get("pq", 0.0) for key, group in groups.items()}
            scores.update((key, METRICS[key].value(evaluated) or 0.0) for key in self.metrics)
            if self.further is not None:
                scores.update(self.further(perception, scored))
            scores.update((key, measure(perception, scored)) for key, measure in self.measures.items())
            result.write_text(json.dumps(scores))
        score: dict[str, Any] = json.loads(result.read_text())
        return score


def table(result: dict[str, Any]) -> str:
    """Ours beside the paper's, and where the direction differs."""
    rows = result["variants"]
    full = rows["full"]
    best = np.mean(full["pq"])
    lines = [f"{result['steps']} steps of {result['batch_size']} crops {result['crop'][0]} x {result['crop'][1]}",
             f"{'':32} {'paper':>6} {'ours':>6} {'things':>7} {'stuff':>6}   seeds"]
    for row in rows.values():
        pq = 100 * np.array(row["pq"])
        # Above the full method where the paper has it below, or the other way round.
        above = np.mean(row["pq"]) > best
        differs = row["paper_pq"] not in (None, full["paper_pq"]) and above != (row["paper_pq"] > full["paper_pq"])
        paper = "-" if row["paper_pq"] is None else f"{100 * row['paper_pq']:.1f}"
        lines.append(f"{row['title']:32} {paper:>6} {pq.mean():6.1f} "
                     f"{100 * np.mean(row['pq_things']):7.1f} {100 * np.mean(row['pq_stuff']):6.1f}   "
                     f"{', '.join(f'{value:.1f}' for value in pq)}" + (
                         f"   {'above' if above else 'below'} the full method" if differs else ""))
    return "\n".join(lines)
