"""`panoptic-ros quantise`: the INT8 graph of a model, with what it costs in quality and gains in time."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.datasets import Dataset, Truth, open_dataset
from panoptic_ros.engines.quantised_graph import DESCRIPTION, GRAPH, quantise, weights_hash
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.scorer import Scorer
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.model import Model, load_model
from panoptic_ros.paths import model_folder
from panoptic_ros.perception import Perception, preprocess

# What the quality is called where the truth has segments, and where it has classes alone.
QUALITY = {True: "PQ", False: "mIoU"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--model", required=True, help="model folder, or name of a shipped model: the graph is written "
                                                       "into it")
    parser.add_argument("--data", required=True, metavar="DATASET",
                        help="images with a panoptic or semantic truth that the model has not been trained on")
    parser.add_argument("--images", type=int, default=200, metavar="N", help="images to calibrate on")
    parser.add_argument("--validation-images", type=int, default=48, metavar="N", help="other images, to score on")
    parser.add_argument("--max-drop", type=float, default=0.5, metavar="POINTS",
                        help="points of PQ (or mIoU) that may be lost; where more would be, layers stay in higher "
                             "precision")


def run(args: argparse.Namespace) -> int:
    """Returns 0, or 1 where the quality fell by more than was allowed; then nothing is written."""
    if args.images < 1 or args.validation_images < 1 or args.max_drop < 0:
        raise InputError("--images and --validation-images are at least 1, --max-drop is at least 0")
    folder = model_folder(args.model)
    model = dataclasses.replace(load_model(folder), int8=None)
    if not model.network.dynamic_size:
        raise InputError(f"the graph of a model of the method {model.method} holds for one shape of the input alone, "
                         "and cannot be kept in INT8: use precision half")
    dataset = open_dataset(args.data)
    if not dataset.truth & {Truth.PANOPTIC, Truth.SEMANTIC}:
        raise InputError(f"{dataset.name} has no class for every pixel: what is lost cannot be measured on it")
    if not os.access(folder, os.W_OK):
        raise InputError(f"the model folder {folder} cannot be written: copy it to another place, and give that one")
    count = min(len(dataset), args.images + args.validation_images)
    rows = np.linspace(0, len(dataset), count, endpoint=False).astype(int)
    scored = np.linspace(0, count, min(args.validation_images, max(1, count // 2)), endpoint=False).astype(int)
    calibrated = np.setdiff1d(np.arange(count), scored)
    if not len(calibrated):
        raise InputError(f"{dataset.name} has {len(dataset)} image(s): at least two are needed")
    return _quantise(model, folder, dataset, rows[calibrated].tolist(), rows[scored].tolist(), args.max_drop)


def _quantise(model: Model, folder: Path, dataset: Dataset, calibrated: Sequence[int], scored: Sequence[int],
              max_drop: float) -> int:
    perception = Perception(model, "openvino", "cpu")
    engine: Any = perception.engine
    inputs = [preprocess(model, [CameraImage(dataset.image(row), "rgb8")], engine.device).numpy()
              for row in tqdm(calibrated, desc="reading", unit="image", disable=None)]
    shape = inputs[0].shape
    if any(image.shape != shape for image in inputs):
        inputs = [image for image in inputs if image.shape == shape]
    validation = [(dataset.image(row), dataset.label(row)) for row in scored]
    is_panoptic = Truth.PANOPTIC in dataset.truth
    progress = tqdm(desc="quantising", unit="score", disable=None)

    def score(compiled: Any) -> float:
        perception.engine = _Compiled(compiled)
        progress.update()
        return _scores(perception, dataset, validation)["pq" if is_panoptic else "miou"]

    graph, facts = quantise(engine.graph(shape).clone(), inputs, score, max_drop / 100)
    progress.close()
    before, after = facts["score_before"], facts["score_after"]
    if before - after > max_drop / 100:
        print(f"{QUALITY[is_panoptic]} falls from {100 * before:.1f} to {100 * after:.1f}, by more than {max_drop}: "
              "nothing is written; more images to calibrate on (--images) may help")
        return 1
    _write(graph, folder, {
        "weights": weights_hash((folder / "weights.safetensors").read_bytes()), "data": dataset.name,
        "images": len(inputs),
        "validation_images": len(scored), "quality": QUALITY[is_panoptic], "before": round(before, 4),
        "after": round(after, 4), "with_accuracy_control": facts["with_accuracy_control"],
        "made_by": {name: metadata.version(name) for name in ("nncf", "openvino")}})
    times = [_median_ms(Perception(one, "openvino", "cpu", precision), shape)
             for one, precision in ((model, "auto"), (load_model(folder), "int8"))]
    print(f"{QUALITY[is_panoptic]} {100 * before:.1f} -> {100 * after:.1f} on {len(scored)} images; network "
          f"{times[0]:.0f} -> {times[1]:.0f} ms at {shape[2]} x {shape[3]}; wrote {folder / GRAPH}")
    return 0


class _Compiled:
    """A compiled graph as an engine."""

    name, precision = "openvino", "int8"

    def __init__(self, compiled: Any) -> None:
        self.device = torch.device("cpu")
        self._request = compiled.create_infer_request()
        self._names = [output.get_any_name() for output in compiled.outputs]

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        self._request.infer([image.contiguous().numpy()], share_inputs=True)
        return {name: torch.from_numpy(self._request.get_output_tensor(i).data.copy())
                for i, name in enumerate(self._names)}


def _scores(perception: Perception, dataset: Dataset, images: Sequence[tuple[np.ndarray, PanopticLabel]],
            ) -> dict[str, float]:
    perception.with_semantics = True
    scorer = Scorer(dataset.classes, dataset.truth & {Truth.PANOPTIC, Truth.SEMANTIC}, perception.model.classes)
    for image, truth in images:
        scorer.add(PanopticLabel.of_frame(perception(image)), truth)
    result = scorer.result()
    return {"miou": result.get("miou", 0.0), "pq": result.get("panoptic", {}).get("all", {}).get("pq", 0.0)}


def _median_ms(perception: Perception, shape: tuple[int, ...]) -> float:
    image, spent = torch.zeros(shape), []
    perception.engine(image)
    for _ in range(10):
        start = perf_counter()
        perception.engine(image)
        spent.append(1e3 * (perf_counter() - start))
    return float(np.median(spent))


def _write(graph: Any, folder: Path, description: dict[str, Any]) -> None:
    """All or nothing: what an earlier run left is replaced by whole files, the description last."""
    import openvino
    partial = folder / f".{os.getpid()}.xml"
    try:
        openvino.save_model(graph, partial)
        (folder / DESCRIPTION).unlink(missing_ok=True)
        for ending in (".bin", ".xml"):
            os.replace(partial.with_suffix(ending), (folder / GRAPH).with_suffix(ending))
        (folder / DESCRIPTION).write_text(yaml.safe_dump(description, sort_keys=False))
    finally:
        for ending in (".bin", ".xml"):
            partial.with_suffix(ending).unlink(missing_ok=True)
