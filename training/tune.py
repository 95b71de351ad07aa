"""Tune the decode of a model: python -m training.tune --model runs/city/model

Searches the thresholds that give the best panoptic quality on frames of the synthetic city that no training sees, as
the paper did with Optuna on each dataset (section 4.2), and writes them with their score into model.yaml.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from panoptic_ros.engines import build_engine
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.panoptic_quality import Matches, match_segments, number_segments
from panoptic_ros.frame import CameraImage
from panoptic_ros.model import Model, load_model
from panoptic_ros.perception import preprocess
from panoptic_ros.synthetic_city import CityCamera, CityDrive

# Drives 500, 501, ... tune; 600, 601, ... score what was tuned. Training starts at a million.
FIRST_TUNING_SEED, FIRST_SCORING_SEED = 500, 600
FRAMES = (20, 60)
# What is searched: a range for each field; the others stay as they are.
SEARCHED = {"seed": (0.2, 0.8), "merge": (0.02, 0.6), "mask": (0.05, 0.7), "stuff": (0.1, 0.7)}
SEARCHED_AREAS = {"thing_area": (8, 400), "stuff_area": (16, 4000)}


@dataclasses.dataclass(frozen=True)
class Example:
    """Network outputs of one frame, on the CPU, and its truth as numbered segments."""

    outputs: dict[str, Tensor]
    truth_map: np.ndarray
    truth_class: np.ndarray


def city_examples(model: Model, first_seed: int, drives: int) -> Iterator[Example]:
    """Frames of unseen drives at the model's input size, through the network."""
    engine = build_engine(model.network)
    for seed in range(first_seed, first_seed + drives):
        drive = CityDrive(seed, CityCamera.of_size(*model.input_size))
        for k in FRAMES:
            frame = drive.render(k)
            batch = preprocess(model, [CameraImage(frame.image, "rgb8")], engine.device)
            outputs = {name: output.cpu() for name, output in engine(batch).items()}
            yield Example(outputs, *number_segments(frame.class_map, frame.instance_map))


def score(model: Model, thresholds: Any, examples: list[Example]) -> Matches:
    """What the decode with these thresholds gets right, over all examples."""
    total = None
    for example in examples:
        maps, [segments] = model.decode(example.outputs, thresholds, example.truth_map.shape)
        matches = match_segments(maps[0].numpy(), segments.class_id.numpy(), example.truth_map, example.truth_class,
                                 len(model.classes))
        total = matches if total is None else total + matches
    assert total is not None
    return total


def search(model: Model, examples: list[Example], trials: int, seed: int = 0) -> Any:
    """The best thresholds found: random trials over the whole ranges first, then closer and closer to the best."""
    random = np.random.default_rng(seed)
    best, best_quality = model.thresholds, panoptic_quality(score(model, model.thresholds, examples))
    for trial in tqdm(range(trials), unit="trial", disable=None):
        spread = 1 - trial / trials
        changes: dict[str, Any] = {}
        for name, (low, high) in SEARCHED.items():
            centre = random.uniform(low, high) if spread > 0.5 else getattr(best, name)
            changes[name] = round(float(np.clip(centre + random.normal() * spread * (high - low) / 4, low, high)), 3)
        for name, (smallest, largest) in SEARCHED_AREAS.items():
            centre = random.uniform(np.log(smallest), np.log(largest)) if spread > 0.5 else np.log(
                max(smallest, getattr(best, name)))
            moved = centre + random.normal() * spread * np.log(largest / smallest) / 4
            changes[name] = round(float(np.exp(np.clip(moved, np.log(smallest), np.log(largest)))))
        candidate = dataclasses.replace(best, **changes)
        quality = panoptic_quality(score(model, candidate, examples))
        if quality > best_quality:
            best, best_quality = candidate, quality
    return best


def panoptic_quality(matches: Matches) -> float:
    """Mean over the classes that occur."""
    return float(np.nanmean(matches.quality()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.tune", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="model folder; its model.yaml is rewritten")
    parser.add_argument("--drives", type=int, default=24, help="drives to tune on, two frames each")
    parser.add_argument("--trials", type=int, default=120)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        model = load_model(arguments.model)
        with torch.inference_mode():
            examples = list(city_examples(model, FIRST_TUNING_SEED, arguments.drives))
            best = search(model, examples, arguments.trials)
            quality = score(model, best, list(city_examples(model, FIRST_SCORING_SEED, arguments.drives))).quality()
    except InputError as error:
        print(f"tuning: error: {error}", file=sys.stderr)
        return 2
    things = model.classes.thing_mask
    result = {name: round(float(np.nanmean(quality[rows])), 4)
              for name, rows in (("pq", np.ones_like(things)), ("pq_things", things), ("pq_stuff", ~things))}
    description = arguments.model / "model.yaml"
    text = yaml.safe_load(description.read_text())
    text["thresholds"] = dataclasses.asdict(best)
    text["training"]["score"] = {**result, "on": f"synthetic city, {arguments.drives} unseen drives, "
                                                 f"{len(FRAMES)} frames each"}
    description.write_text(yaml.safe_dump(text, sort_keys=False, default_flow_style=None, width=110))
    for name, value in zip(model.classes.names, quality, strict=True):
        print(f"{name:>15}  {'-' if np.isnan(value) else f'{100 * value:.1f}'}")
    print(", ".join(f"{name} {100 * value:.1f}" for name, value in result.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
