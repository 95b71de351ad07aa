"""Score a model on a dataset: python -m training.evaluate --model config/models/city --data city

Every image goes the way that it goes in the node and in a replay: segmented, and tracked where images are a sequence.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from panoptic_ros import __version__
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.datasets import Dataset, Truth, open_dataset
from panoptic_ros.engines.test_time_augmentation import AugmentedEngine, TestTime
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.comparison_arguments import add_comparison_arguments, earlier_result, print_comparison
from panoptic_ros.evaluation.content_hash import hash_images, hash_path, hash_settings
from panoptic_ros.evaluation.results import format_table, write_result
from panoptic_ros.evaluation.scorer import Scorer
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.latency import latency_percentiles
from panoptic_ros.model import load_model
from panoptic_ros.paths import model_folder
from panoptic_ros.perception import Perception

from .predictions import PredictionWriter
from .reading import LabelledImage, read_ahead

# Frames that may wait to be scored: a network that is faster than the scores must not fill the memory.
WAITING = 8


def evaluate(perception: Perception, dataset: Dataset, count: int, workers: int,
             predictions: PredictionWriter | None = None) -> dict[str, Any]:
    """Segment, track and score the first `count` images of a dataset; switches `perception.with_semantics` on.

    workers: processes that read or render images ahead; the result is the same for any number of them.
    predictions: where what was found is written, too.
    Returns the metrics in the layout of `panoptic_ros.evaluation.results`, and `latency_ms`, percentiles of what each
    stage of the perception took. Raises InputError for a model and a dataset without a class in common.
    """
    scorer = Scorer(dataset.classes, dataset.truth, perception.model.classes)
    perception.with_semantics = True
    latency_ms: dict[str, list[float]] = {}

    def take(example: LabelledImage, predicted: PanopticLabel, depth: np.ndarray | None,
             true_depth: np.ndarray | None) -> None:
        scorer.add(predicted, example.truth, example.entry.sequence, depth, true_depth, example.entry.name)
        if predictions is not None:
            predictions.add(example, scorer.translated(predicted))

    # One thread scores, in the order of the images, while the next image is segmented.
    with ThreadPoolExecutor(1) as scoring:
        waiting: deque[Future[None]] = deque()
        sequence: str | None = None
        sizes: set[tuple[int, ...]] = set()
        for example in tqdm(read_ahead(dataset, range(count), workers), total=count, unit="image", disable=None):
            if example.starts_sequence:
                perception.reset_tracks()
                if sequence is not None:
                    waiting.append(scoring.submit(scorer.finish, sequence))
                sequence = example.entry.sequence
            image = CameraImage(example.image, "rgb8", example.stamp_ns,
                                focal_length=dataset.focal_length(example.row) or None)
            if (size := example.image.shape) not in sizes:
                sizes.add(size)
                perception.warm_up(image.height, image.width)
            frame = perception(image)
            for stage, spent in frame.timings_ms.items():
                latency_ms.setdefault(stage, []).append(spent)
            # Read by this thread: a dataset need not be safe for two.
            is_judged = frame.depth is not None and Truth.DEPTH in dataset.truth
            true_depth = dataset.depth(example.row) if is_judged else None
            waiting.append(scoring.submit(take, example, PanopticLabel.of_frame(frame), frame.depth, true_depth))
            if len(waiting) > WAITING:
                waiting.popleft().result()
        for rest in waiting:
            rest.result()
    latency = {stage: latency_percentiles(values) for stage, values in latency_ms.items()}
    return {**scorer.result(), "latency_ms": latency}


def run(args: argparse.Namespace) -> int:
    """Evaluate; returns 0, or 1 where a metric is worse than --compare's by more than the tolerance."""
    if args.predictions and not args.out:
        raise InputError("--predictions needs --out, the folder in which they are to lie")
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit is {args.limit}; at least one image is needed")
    other = earlier_result(args)
    if args.out:
        _make_room(args.out)
    dataset = open_dataset(args.data, args.video)
    count = min(len(dataset), args.limit or len(dataset))
    folder = model_folder(args.model)
    model = load_model(folder)
    asked = TestTime.of_training(model.training)
    test_time = TestTime(asked.flip if args.flip is None else args.flip, tuple(args.scales or asked.scales))
    perception = Perception(model, args.engine, args.device, args.precision)
    if test_time:
        perception.engine = AugmentedEngine(perception.engine, model.method, test_time, model.network.stride)
    engine = perception.engine
    settings = {"thresholds": dataclasses.asdict(model.thresholds), "tracking": dataclasses.asdict(perception.tracking),
                "test_time": {"flip": test_time.flip, "scales": list(test_time.scales)},
                "engine": engine.name, "device": str(engine.device), "precision": engine.precision}
    facts = {"panoptic_ros": __version__, "input": args.data, "truth_hash": hash_images(dataset, count),
             "model": model.model_id, "model_hash": hash_path(folder), "settings": settings,
             "settings_hash": hash_settings(settings), "frames": {"in": count, "scored": count}}
    predictions = PredictionWriter(args.out / "predictions", dataset) if args.predictions else None
    result = {**facts, **evaluate(perception, dataset, count, args.workers, predictions)}
    print(format_table(result))
    if predictions is not None:
        predictions.close()
    if args.out:
        write_result(args.out / "evaluation.json", result)
    return print_comparison(result, other, args)


def _make_room(out: Path) -> None:
    """Before any work is done: an evaluation.json is replaced, predictions would mix with earlier ones."""
    if (out / "predictions").exists():
        raise InputError(f"{out} has predictions already: choose another folder with --out, or delete them")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"results cannot be written to {out}: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="model folder, or name of a shipped model")
    parser.add_argument("--data", required=True,
                        help="dataset: a folder or file, or city for the synthetic city's test drives "
                             "(city:600-607x40 for 40 frames of each)")
    parser.add_argument("--video", action=argparse.BooleanOptionalAction,
                        help="whether the images of a COCO-panoptic folder are videos (default: as its JSON file says)")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N images only")
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction,
                        help="average over the mirrored image as well (default: as the model's recipe asks)")
    parser.add_argument("--scales", type=float, nargs="+", metavar="S",
                        help="average over the image at these scales, such as 0.75 1 1.25 (default: as the model's "
                             "recipe asks)")
    parser.add_argument("--engine", default="auto", help="auto, openvino, torch, onnxruntime or tensorrt")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="auto, single, half or int8")
    parser.add_argument("--workers", type=int, default=1, help="processes that read or render images ahead")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for evaluation.json")
    parser.add_argument("--predictions", action="store_true",
                        help="with --out: also write DIR/predictions, in COCO's panoptic format with scores")
    add_comparison_arguments(parser)
    args = parser.parse_args(arguments)
    try:
        return run(args)
    except InputError as error:
        print(f"evaluate: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluate: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
