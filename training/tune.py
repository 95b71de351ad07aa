"""Tune the decode of a model: python -m training.tune --model runs/city/model

Searches the thresholds that are best on images that are not trained on, as HLE's authors did with Optuna on each
dataset (section 4.2): by the mean of PQ and STQ where the truth follows objects, by PQ where it is of single images, by
the segments' mean IoU where it is of classes alone. Of the things that are found a share of `--min_precision` is to be
right: where few objects are found at all, PQ gains by a segment of which one in six is. It writes them into model.yaml,
with a calibration of the scores of things on the same images (with it scores are probabilities, and the tracker's
thresholds for births and for second matches mean the same for every model; STQ is of tracks with it), and with what
`training.evaluate` measures on images that the search did not see either.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
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
from panoptic_ros.evaluation.overlap import mask_iou, overlap
from panoptic_ros.evaluation.panoptic_quality import match_overlap
from panoptic_ros.evaluation.results import format_table
from panoptic_ros.evaluation.segmentation_tracking_quality import SegmentationTrackingQuality
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.model import Model
from panoptic_ros.paths import model_folder
from panoptic_ros.perception import Perception, preprocess
from panoptic_ros.segments import Segments
from panoptic_ros.tracking import CameraTrackers, TrackerSettings

from .evaluate import evaluate
from .reading import read_ahead
from .score_calibration import fit_calibration
from .validation import headline_scores

# Images of a clip, in which objects are followed.
CLIP_LENGTH = 4


@dataclass(frozen=True)
class TuningExample:
    """Network outputs of one image, on the CPU, with its ground truth, its time and the name of its clip."""

    outputs: dict[str, Tensor]
    truth: PanopticLabel
    stamp_ns: int = 0
    clip: str = ""


@dataclass(frozen=True)
class TuningImages:
    """Images to tune thresholds on: network outputs with ground truth, its classes and its kinds of truth."""

    examples: list[TuningExample]
    classes: ClassTable
    truth: frozenset[Truth]

    @property
    def has_clips(self) -> bool:
        """Whether objects can be followed in them."""
        return {Truth.PANOPTIC, Truth.TRACKS} <= self.truth


def tuning_images(perception: Perception, dataset: Dataset, count: int, workers: int,
                  follow: bool = True) -> TuningImages:
    """Network outputs of about `count` images of a dataset, evenly spread over it; clips of CLIP_LENGTH consecutive
    ones where its truth follows objects and sequences are so long.

    follow: whether objects are followed at all; without, all images are single ones.
    Raises InputError where the dataset's truth says nothing of most pixels.
    """
    if not dataset.truth & {Truth.PANOPTIC, Truth.SEMANTIC}:
        raise InputError(f"{dataset.name} has objects alone as its truth: tuning needs a class for every pixel")
    clips = [rows[k:k + CLIP_LENGTH] for _, rows in dataset.sequences()
             for k in range(0, len(rows) - CLIP_LENGTH + 1, CLIP_LENGTH)]
    kinds = dataset.truth
    if follow and clips and {Truth.PANOPTIC, Truth.TRACKS} <= kinds:
        clips = [clips[k] for k in _spread(len(clips), max(count // CLIP_LENGTH, 1))]
    else:
        kinds -= {Truth.TRACKS}
        clips = [[row] for row in _spread(len(dataset), count)]
    model, engine = perception.model, perception.engine
    clip_of = {row: f"clip {k}" for k, rows in enumerate(clips) for row in rows}

    def examples() -> Iterator[TuningExample]:
        read = read_ahead(dataset, list(clip_of), workers)
        for example in tqdm(read, total=len(clip_of), unit="image", disable=None):
            batch = preprocess(model, [CameraImage(example.image, "rgb8")], engine.device)
            yield TuningExample({name: output.cpu() for name, output in engine(batch).items()}, example.truth,
                                example.stamp_ns, clip_of[example.row])

    images = TuningImages(list(examples()), dataset.classes, kinds)
    if not any(example.truth.segment_map.any() for example in images.examples):
        raise InputError(f"{dataset.name} is void in every pixel of the {len(clip_of)} images that were read")
    return images


def _spread(length: int, count: int) -> list[int]:
    """`count` of so many indices, evenly spread, or all."""
    rows: list[int] = np.linspace(0, length, min(count, length), endpoint=False).astype(int).tolist()
    return rows


@dataclass(frozen=True)
class _Prediction:
    """What was decoded of an example, with the network's own scores; label and shared pixels are in the truth's
    classes."""

    segment_map: np.ndarray
    segments: Segments[Tensor]
    label: PanopticLabel
    shared: np.ndarray


def _decoded(model: Model, thresholds: Any, images: TuningImages) -> list[_Prediction]:
    decode = dataclasses.replace(model, calibration=None).decoder(torch.device("cpu"))
    predictions = []
    for example in images.examples:
        truth = example.truth
        height, width = truth.segment_map.shape
        found = decode(example.outputs, thresholds, (height, width), False)
        segment_map, segments = found.segment_map[0].numpy(), found.segments[0]
        label = _in_classes_of(images, model, PanopticLabel.of(
            segment_map, segments.class_id.numpy(), score=segments.score.numpy()))
        predictions.append(_Prediction(segment_map, segments, label, overlap(
            label.segment_map, truth.segment_map, len(label), len(truth))))
    return predictions


def _in_classes_of(images: TuningImages, model: Model, label: PanopticLabel) -> PanopticLabel:
    if model.classes.names == images.classes.names:
        return label
    return label.translated(class_mapping(model.classes, images.classes), images.classes.thing_mask)


def quality(model: Model, thresholds: Any, images: TuningImages, min_precision: float = 0.0) -> float:
    """What the search makes large, at most 1: the mean of PQ and of STQ with calibrated scores, PQ alone where nothing
    is followed, or the mean IoU of the segments' classes where the truth is semantic (the semantic map is the same for
    all thresholds); less by what the share of right ones among the things is below `min_precision`."""
    predictions, classes = _decoded(model, thresholds, images), images.classes
    pairs = [(one.shared, one.label.class_id, example.truth)
             for one, example in zip(predictions, images.examples, strict=True)]
    if Truth.PANOPTIC not in images.truth:
        pixels = reduce(add, (class_pixels(shared, class_id, truth.class_id, len(classes))
                              for shared, class_id, truth in pairs))
        return float(np.nanmean(pixels.iou()))
    matches = reduce(add, (match_overlap(shared, class_id, truth.class_id, truth.is_crowd, len(classes))
                           for shared, class_id, truth in pairs))
    panoptic = float(np.nanmean(matches.quality()))
    score, is_right = _found_things(predictions, images)
    shortfall = max(0.0, min_precision - float(is_right.mean())) if len(is_right) else 0.0
    tracking = (_tracking_quality(model, predictions, images, fit_calibration(score, is_right))
                if images.has_clips else None)
    return (panoptic if tracking is None else (panoptic + tracking) / 2) - shortfall


def _tracking_quality(model: Model, predictions: list[_Prediction], images: TuningImages,
                      calibrated: ScoreCalibration | None) -> float | None:
    """STQ of the tracker on what was decoded; None where the clips show no object."""
    totals = []
    for _, rows in groupby(range(len(predictions)), lambda k: images.examples[k].clip):
        trackers, clip = CameraTrackers(), SegmentationTrackingQuality(images.classes.thing_mask)
        for k in rows:
            found, example = predictions[k], images.examples[k]
            segments = found.segments if calibrated is None else calibrated.calibrated(found.segments)
            pixels = np.broadcast_to(np.uint8(0), (*found.segment_map.shape, 3))
            frame = trackers.update(PanopticFrame(
                CameraImage(pixels, stamp_ns=example.stamp_ns), found.segment_map, segments.numpy(), model.classes),
                TrackerSettings())
            clip.add(_in_classes_of(images, model, PanopticLabel.of_frame(frame)), example.truth, found.shared)
        totals.append(clip.totals())
    return reduce(add, totals).result().get("stq")


def calibration(model: Model, thresholds: Any, images: TuningImages) -> ScoreCalibration | None:
    """How many of the thing segments with a score fit an object of their class; None where there are few segments, or
    the truth has no objects."""
    return (fit_calibration(*_found_things(_decoded(model, thresholds, images), images))
            if Truth.PANOPTIC in images.truth else None)


def _found_things(predictions: list[_Prediction], images: TuningImages) -> tuple[np.ndarray, np.ndarray]:
    """Score of each thing that was found, and whether it fits an object of its class, (N,) each; without those of which
    nobody knows."""
    scores, is_right = [np.zeros(0)], [np.zeros(0, bool)]
    for one, example in zip(predictions, images.examples, strict=True):
        label, shared, truth = one.label, one.shared, example.truth
        fits = ((mask_iou(shared) > 0.5) & (label.class_id[:, None] == truth.class_id) & ~truth.is_crowd).any(1)
        # What lies on void or on a crowd is neither right nor wrong.
        unknown = shared[1:, 0] + shared[1:, 1:][:, truth.is_crowd].sum(1)
        is_thing = np.append(images.classes.thing_mask, False)[label.class_id]
        asked = is_thing & ((2 * unknown < shared.sum(1)[1:]) | fits)
        scores.append(label.score[asked])
        is_right.append(fits[asked])
    return np.concatenate(scores), np.concatenate(is_right)


def search(model: Model, images: TuningImages, trials: int, seed: int = 0, min_precision: float = 0.0) -> Any:
    """Random search of the thresholds: trials over the whole ranges first, then closer and closer to the best.

    Searched is each field that has a search range, see `panoptic_ros.settings.setting`: whole numbers (areas)
    by their logarithm.
    """
    random = np.random.default_rng(seed)
    searched = [(f.name, f.metadata["search"], isinstance(getattr(model.thresholds, f.name), int))
                for f in dataclasses.fields(model.thresholds) if "search" in f.metadata]
    best, best_quality = model.thresholds, quality(model, model.thresholds, images, min_precision)
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
        reached = quality(model, candidate, images, min_precision)
        if reached > best_quality:
            best, best_quality = candidate, reached
    return best


def run(args: argparse.Namespace) -> int:
    """Tune, write and print the score."""
    if not 0 <= args.min_precision <= 1:
        raise InputError(f"--min_precision is {args.min_precision}, a share from 0 to 1")
    folder = model_folder(args.model)
    seen, scored = open_dataset(args.data), open_dataset(args.score)
    perception = Perception(folder)
    with torch.inference_mode():
        images = tuning_images(perception, seen, args.images, args.workers)
        perception.thresholds = search(perception.model, images, args.trials, min_precision=args.min_precision)
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
    parser.add_argument("--data", default="city:500-523x4/5", help="dataset to tune on")
    parser.add_argument("--images", type=int, default=96, help="so many of its images, evenly spread, in clips of "
                        f"{CLIP_LENGTH} where objects can be followed")
    parser.add_argument("--trials", type=int, default=120, help="thresholds that are tried")
    parser.add_argument("--min_precision", type=float, default=0.75, metavar="SHARE",
                        help="of the things that are found so many are to be right")
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
