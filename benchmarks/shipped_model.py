"""Scores and speed of a model, as the README's table: python -m benchmarks.shipped_model [--quick]

The synthetic city's test drives, and, where the recordings are there, the CamVid validation clip and KITTI 0000 with
their truth: streets that the shipped model has never seen the like of. --model and --recordings name another model and
another folder of recordings.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import cv2

from benchmarks.command import run_benchmark
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.datasets import open_dataset
from panoptic_ros.evaluation.metrics import METRICS
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception
from training.evaluate import evaluate

# What is scored besides the city: its name in the table, and where it lies among the recordings.
RECORDED = {"CamVid validation clip": "camvid/val", "KITTI tracking 0000": "kitti_0000"}
# Column -> metric and, where it is of one class, which.
COLUMNS = {METRICS[key].name: (METRICS[key], "") for key in (
    "panoptic.all.pq", "panoptic.things.pq", "panoptic.stuff.pq", "miou", "stq.stq", "vpq.mean", "flicker", "mots.hota",
    "mots.idf1", "mots.smotsa")} | {"sMOTSA car": (METRICS["mots.classes.*.smotsa"], "car")}


def measure(quick: bool, model: str, recordings: str) -> dict[str, Any]:
    """Fractions from 0 to 1 by dataset and column; frames per second of the whole way from image to tracks."""
    cv2.setNumThreads(1)
    loaded = load_model(model)
    datasets = {"synthetic city, 8 unseen drives": "city:600-601x6" if quick else "city",
                **{name: str(Path(recordings) / folder) for name, folder in RECORDED.items()}}
    scores = {}
    for name, path in datasets.items():
        if name in RECORDED and not Path(path).exists():
            print(f"left out: {name}, there is no {path}")
            continue
        dataset = open_dataset(path)
        result = evaluate(Perception(loaded), dataset, min(len(dataset), 12) if quick else len(dataset), 1)
        scores[name] = {column: value for column, (metric, class_name) in COLUMNS.items()
                        if (value := metric.value(result, class_name)) is not None}
    return {"model": loaded.model_id, "scores": scores, "frames_per_second": _speed(Perception(loaded), quick)}


def _speed(perception: Perception, quick: bool) -> float:
    """Images of 512 x 1024 per second, one after the other."""
    dataset = open_dataset("city:600x10")
    images = [CameraImage(dataset.image(i), "rgb8", round(i * 1e8)) for i in range(len(dataset))]
    perception.warm_up(512, 1024)
    seconds = []
    for _ in range(1 if quick else 6):
        perception.reset_tracks()
        for image in images:
            start = perf_counter()
            perception(image)
            seconds.append(perf_counter() - start)
    return 1 / sorted(seconds)[len(seconds) // 2]


def table(result: dict[str, Any]) -> str:
    """Markdown, in per cent."""
    used = [column for column in COLUMNS if any(column in row for row in result["scores"].values())]
    lines = ["| | " + " | ".join(used) + " |", "|---" * (len(used) + 1) + "|"]
    for name, row in result["scores"].items():
        cells = (f"{100 * row[column]:.1f}" if column in row else "" for column in used)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, f"{result['model']}: {result['frames_per_second']:.1f} frames/s at 512 x 1024"])


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, model="city", recordings="../shared/data")
