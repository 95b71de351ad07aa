"""HLE's loss against plain cross entropy on real images: python -m benchmarks.train_real [--quick] [--data CAMVID]

The shipped model's network is trained twice from random weights on CamVid's labels, which are of classes alone: with
the semantic terms of HLE's loss, and with a softmax classifier and cross entropy. Data, steps, order of the samples
and seed are the same. Scored is the mean IoU of both on the validation clip, whose neighbourhood is left out of the
training. Weights stay in runs/train_real: CamVid's terms do not allow to ship them.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from threading import Event
from typing import Any

import cv2

from benchmarks.command import run_benchmark
from panoptic_ros.datasets import Dataset, open_dataset
from panoptic_ros.errors import InputError
from panoptic_ros.perception import Perception
from training.devices import make_fabric
from training.evaluate import evaluate
from training.recipe import load_recipe
from training.train import train

RECIPES = Path(__file__).parents[1] / "training" / "recipes" / "hle"
RUNS = Path("runs/train_real")
OURS, BASELINE = "HLE's semantic terms", "cross entropy"
TRAINED = {OURS: "camvid", BASELINE: "camvid_cross_entropy"}
QUICK_STEPS = 150


def measure(quick: bool, data: str) -> dict[str, Any]:
    """Mean IoU and IoU of each class, 0 to 1, by loss. Raises InputError where CamVid is not at `data`."""
    cv2.setNumThreads(1)
    root = Path(data)
    if missing := [part for part in ("train", "trainannot", "val", "valannot") if not (root / part).is_dir()]:
        raise InputError(f"CamVid is not in {data}: {', '.join(missing)} missing. Give by --data the folder that "
                         "SegNet's tutorial calls CamVid, with train, trainannot, val and valannot")
    scored = open_dataset(str(root / "val"))
    scores = {title: _score(name, root, scored, quick) for title, name in TRAINED.items()}
    recipe = load_recipe(RECIPES / "camvid.yaml")
    return {"losses": scores, "steps": QUICK_STEPS if quick else recipe.steps, "batch_size": recipe.batch_size,
            "crop": list(recipe.augmentation.crop), "backbone": recipe.hyperparameters.backbone,
            "train_images": len(open_dataset(str(root / "train"), for_training=True)), "scored_images": len(scored)}


def _score(name: str, root: Path, scored: Dataset, quick: bool) -> dict[str, Any]:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    data = dataclasses.replace(recipe.data, train=str(root / "train"), validation="")
    recipe = dataclasses.replace(recipe, data=data, steps=QUICK_STEPS if quick else recipe.steps)
    out = RUNS / ("quick" if quick else "full") / name
    if quick:
        shutil.rmtree(out, ignore_errors=True)
    # An interrupted benchmark goes on where it was.
    if not train(recipe, out, make_fabric(recipe), 1, Event()):
        raise InputError(f"the training in {out} did not end")
    result = evaluate(Perception(out / "model"), scored, len(scored), 0)
    return {"miou": result["miou"], "iou": result["iou"]}


def table(result: dict[str, Any]) -> str:
    """Both losses side by side."""
    losses = result["losses"]
    height, width = result["crop"]
    lines = [f"CamVid, {result['train_images']} images to train on, {result['scored_images']} of the clip scored; "
             f"{result['backbone']}, {result['steps']} steps of {result['batch_size']} crops {height} x {width}",
             f"{'':14}" + "".join(f"{title:>22}" for title in losses)]
    rows = {"mean IoU": [score["miou"] for score in losses.values()]}
    for name in dict.fromkeys(name for score in losses.values() for name in score["iou"]):
        # A class that is not in the truth has an IoU where it is predicted alone.
        rows[name] = [score["iou"].get(name, float("nan")) for score in losses.values()]
    lines += [f"{name:14}" + "".join(f"{100 * value:22.1f}" for value in values) for name, values in rows.items()]
    difference = 100 * (losses[OURS]["miou"] - losses[BASELINE]["miou"])
    return "\n".join([*lines, f"{OURS}: {difference:+.1f} points of mean IoU against {BASELINE}"])


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, data="../shared/data/camvid")
