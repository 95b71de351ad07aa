"""Tune the decode of a model: python -m training.tune --model runs/city/model

Searches the thresholds that give the best panoptic quality (the segments' best mean IoU where the truth is of classes
alone) on images that are not trained on, as HLE's authors did with Optuna on each dataset (section 4.2). It writes them
into model.yaml, with a calibration of the scores of things on the same images (with it scores are probabilities, and
the tracker's thresholds mean the same for every model), and with what `training.evaluate` measures on images that the
search did not see either.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from panoptic_ros.atomic_write import write_atomically
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import ClassTable, class_mapping
from panoptic_ros.datasets import Dataset, Truth, open_dataset
from panoptic_ros.decoding.score_calibration import ScoreCalibration
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.mean_iou import class_pixels
from panoptic_ros.evaluation.metrics import METRICS
from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.evaluation.panoptic_quality import match_overlap
from panoptic_ros.evaluation.results import format_table
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.model import Model
from panoptic_ros.paths import model_folder
from panoptic_ros.perception import Perception, preprocess

from .evaluate import evaluate
from .reading import read_ahead
from .score_calibration import fit_calibration
from .validation import headline_scores


@dataclass(frozen=True)
class TuningExample:
    """Network outputs of one image, on the CPU, and its ground truth."""

    outputs: dict[str, Tensor]
    truth: PanopticLabel


@dataclass(frozen=True)
class TuningImages:
    """Images to tune thresholds on: network outputs with ground truth, its classes and its kinds of truth."""

    examples: list[TuningExample]
    classes: ClassTable
    truth: frozenset[Truth]


def tuning_images(perception: Perception, dataset: Dataset, count: int, workers: int) -> TuningImages:
    """Network outputs of `count` images of a dataset, evenly spread over it.

    Raises InputError where the dataset's truth says nothing of most pixels.
    """
    if not dataset.truth & {Truth.PANOPTIC, Truth.SEMANTIC}:
        raise InputError(f"{dataset.name} has objects alone as its truth: tuning needs a class for every pixel")
    rows = np.linspace(0, len(dataset), min(count, len(dataset)), endpoint=False).astype(int).tolist()
    model, engine = perception.model, perception.engine

    def examples() -> Iterator[TuningExample]:
        for example in tqdm(read_ahead(dataset, rows, workers), total=len(rows), unit="image", disable=None):
            batch = preprocess(model, [CameraImage(example.image, "rgb8")], engine.device)
            yield TuningExample({name: output.cpu() for name, output in engine(batch).items()}, example.truth)

    images = TuningImages(list(examples()), dataset.classes, dataset.truth)
    if not any(example.truth.segment_map.any() for example in images.examples):
        raise InputError(f"{dataset.name} is void in every pixel of the {len(rows)} images that were read")
    return images


def quality(model: Model, thresholds: Any, images: TuningImages) -> float:
    """PQ of the decode with these thresholds, or mean IoU where the truth is semantic; 0 to 1.

    The mean IoU is that of the segments' classes: the semantic map is the same for all thresholds.
    """
    is_panoptic, classes = Truth.PANOPTIC in images.truth, images.classes
    class_of = None if model.classes.names == classes.names else class_mapping(model.classes, classes)

    def part(example: TuningExample) -> Any:
        truth = example.truth
        height, width = truth.segment_map.shape
        found = model.decode(example.outputs, thresholds, (height, width))
        predicted = PanopticLabel.of(found.segment_map[0].numpy(), found.segments[0].class_id.numpy())
        if class_of is not None:
            predicted = predicted.translated(class_of, classes.thing_mask)
        intersection = overlap(predicted.segment_map, truth.segment_map, len(predicted), len(truth))
        if is_panoptic:
            return match_overlap(intersection, predicted.class_id, truth.class_id, truth.is_crowd, len(classes))
        return class_pixels(intersection, predicted.class_id, truth.class_id, len(classes))

    total = reduce(add, map(part, images.examples))
    if is_panoptic:
        return float(np.nanmean(total.quality()))
    return float(np.nanmean(total.iou()))


def calibration(model: Model, thresholds: Any, images: TuningImages) -> ScoreCalibration | None:
    """How many of the thing segments with a score fit an object of their class; None where there are few segments, or
    the truth has no objects."""
    if Truth.PANOPTIC not in images.truth:
        return None
    model = dataclasses.replace(model, calibration=None)
    mapping = class_mapping(model.classes, images.classes)
    scores, real = [np.zeros(0)], [np.zeros(0, bool)]
    for example in images.examples:
        truth = example.truth
        height, width = truth.segment_map.shape
        found = model.decode(example.outputs, thresholds, (height, width))
        rows = found.segments[0].numpy()
        shared = overlap(found.segment_map[0].numpy(), truth.segment_map, len(rows), len(truth))
        union = shared.sum(1)[1:, None] + shared.sum(0)[None, 1:] - shared[1:, 1:]
        same_class = mapping[rows.class_id][:, None] == truth.class_id
        fits = (2 * shared[1:, 1:] > union) & same_class & ~truth.is_crowd
        # What lies on void or on a crowd is neither right nor wrong.
        unknown = shared[1:, 0] + shared[1:, 1:][:, truth.is_crowd].sum(1)
        asked = rows.is_thing & ((2 * unknown < shared.sum(1)[1:]) | fits.any(1))
        scores.append(rows.score[asked])
        real.append(fits.any(1)[asked])
    return fit_calibration(np.concatenate(scores), np.concatenate(real))


def search(model: Model, images: TuningImages, trials: int, seed: int = 0) -> Any:
    """Random search of the thresholds: trials over the whole ranges first, then closer and closer to the best.

    Searched is each field that has a search range, see `panoptic_ros.settings.setting`: whole numbers (areas)
    by their logarithm.
    """
    random = np.random.default_rng(seed)
    searched = [(f.name, f.metadata["search"], isinstance(getattr(model.thresholds, f.name), int))
                for f in dataclasses.fields(model.thresholds) if "search" in f.metadata]
    best, best_quality = model.thresholds, quality(model, model.thresholds, images)
    progress = tqdm(range(trials), unit="trial", disable=None)
    for trial in progress:
        progress.set_postfix(best=f"{100 * best_quality:.2f}")
        spread = 1 - trial / trials
        changes: dict[str, Any] = {}
        for name, (low, high), is_whole in searched:
            if is_whole:
                low, high = np.log(low), np.log(high)
            here = np.log(max(1, getattr(best, name))) if is_whole else getattr(best, name)
            centre = random.uniform(low, high) if spread > 0.5 else here
            value = float(np.clip(centre + random.normal() * spread * (high - low) / 4, low, high))
            changes[name] = round(np.exp(value)) if is_whole else round(value, 3)
        candidate = dataclasses.replace(best, **changes)
        reached = quality(model, candidate, images)
        if reached > best_quality:
            best, best_quality = candidate, reached
    return best


def run(args: argparse.Namespace) -> int:
    """Tune, write and print the score."""
    folder = model_folder(args.model)
    seen, scored = open_dataset(args.data), open_dataset(args.score)
    perception = Perception(folder)
    with torch.inference_mode():
        images = tuning_images(perception, seen, args.images, args.workers)
        perception.thresholds = search(perception.model, images, args.trials)
        calibrated = calibration(perception.model, perception.thresholds, images)
    result = evaluate(perception, scored, len(scored), args.workers)
    description = folder / "model.yaml"
    text = yaml.safe_load(description.read_text())
    text["thresholds"] = dataclasses.asdict(perception.thresholds)
    text.pop("score_calibration", None)
    if calibrated is not None:
        text["score_calibration"] = calibrated.pairs()
    # With what follows objects over time, which a validation during training does not.
    scores = {name: round(value, 4) for name, value in {
        **headline_scores(result), "stq": METRICS["stq.stq"].value(result)}.items() if value is not None}
    text["training"]["score"] = {**scores, "on": f"{args.score}, {len(scored)} images"}
    write_atomically(description, yaml.safe_dump(text, sort_keys=False, default_flow_style=None, width=110))
    print(format_table(result))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}.tune", description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", required=True, help="model folder; its model.yaml is rewritten")
    parser.add_argument("--data", default="city:500-523x60", help="dataset to tune on")
    parser.add_argument("--images", type=int, default=48, help="so many of its images, evenly spread")
    parser.add_argument("--trials", type=int, default=120, help="thresholds that are tried")
    parser.add_argument("--score", default="city", metavar="DATA", help="dataset whose score goes into model.yaml")
    parser.add_argument("--workers", type=int, default=1, help="processes that read or render images ahead")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        return run(args)
    except InputError as error:
        print(f"tune: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
