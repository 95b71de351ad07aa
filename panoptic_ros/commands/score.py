"""`panoptic-ros score`: what any system wrote to disk, against a truth; no model is needed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from panoptic_ros import __version__
from panoptic_ros.datasets.coco_layout import find_panoptic_json
from panoptic_ros.datasets.coco_panoptic import CocoPanoptic
from panoptic_ros.datasets.dataset import Dataset, Truth
from panoptic_ros.datasets.open import open_dataset
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.comparison_arguments import add_comparison_arguments, earlier_result, print_comparison
from panoptic_ros.evaluation.content_hash import hash_images
from panoptic_ros.evaluation.parallel_scoring import score_in_parallel
from panoptic_ros.evaluation.prediction_pairs import PredictionPairs, pair_predictions
from panoptic_ros.evaluation.results import format_table, write_result
from panoptic_ros.evaluation.scorer import Scorer

_LISTED = 20  # names of predictions without a truth


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("predictions", help="COCO-panoptic folder or JSON file, KITTI-MOTS text file or folder of them")
    parser.add_argument("truth", help="the same, or any dataset that can be opened; the images are matched by name")
    parser.add_argument("--video", action=argparse.BooleanOptionalAction,
                        help="images are sequences in which an id is an object's own (default: as the truth says)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result")
    parser.add_argument("--workers", type=int, metavar="N",
                        help="processes; the result does not depend on it (default: by processors and images)")
    add_comparison_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Score; returns 0, or 1 where something is worse than in --compare by more than the tolerance."""
    if args.workers is not None and args.workers < 1:
        raise InputError(f"--workers is {args.workers}; at least one process is needed")
    other = earlier_result(args)
    truth = open_dataset(args.truth, args.video)
    video = args.video if args.video is not None else any(entry.sequence for entry in truth.entries)
    pairs = pair_predictions(_open_predictions(args.predictions, truth, video), truth, video)
    scorer = Scorer(truth.classes, pairs.kinds, pairs.predictions.classes)
    result = {**_facts(args, pairs), **score_in_parallel(scorer, pairs.groups(), pairs, args.workers).result()}
    if args.json:
        write_result(args.json, result)
    print(format_table(result))
    if pairs.extra:
        print(f"\nnot scored: {len(pairs.extra)} predictions without a truth: {', '.join(pairs.extra[:_LISTED])}")
    return print_comparison(result, other, args)


def _open_predictions(path: str, truth: Dataset, video: bool) -> Dataset:
    followed = video and Truth.TRACKS in truth.truth
    if isinstance(truth, CocoPanoptic) and (found := find_panoptic_json(Path(path).expanduser())) is not None:
        return CocoPanoptic(*found, video=followed, truth_file=truth.json_file)
    return open_dataset(path, followed)


def _facts(args: argparse.Namespace, pairs: PredictionPairs) -> dict[str, Any]:
    frames: dict[str, Any] = {"scored": len(pairs.truth), "predictions_without_truth": len(pairs.extra)}
    return {"panoptic_ros": __version__, "predictions": args.predictions, "truth": args.truth,
            "truth_hash": hash_images(pairs.truth), "frames": frames,
            "matched_by": "frame number" if pairs.by_number else "name",
            **({"unmatched": {"predictions_without_truth": list(pairs.extra[:_LISTED])}} if pairs.extra else {})}
