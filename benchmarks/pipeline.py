"""Latency of each pipeline stage, from image to tracked segments: python -m benchmarks.pipeline [--quick] [--json FILE]

Every figure is also given relative to the network alone in the same run, since machines differ. The stages are those of
--model; decode and tracking of many instances are measured on made-up ones, with HLE's decode (that of dense
detections has a benchmark of its own).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.command import latency_table, run_benchmark
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.methods import hle
from panoptic_ros.methods.hle.kernels import CELLS_PER_UNIT
from panoptic_ros.perception import Perception
from panoptic_ros.segments import Segments
from panoptic_ros.synthetic_city import CityCamera, CityDrive
from panoptic_ros.tracking import Tracker, TrackerSettings

CLASSES = load_class_table("cityscapes")
STAGES = ("preprocess", "network", "decode", "track")


def median_ms(work: Callable[[], Any], repeats: int) -> float:
    """Median milliseconds of a call, after two that are not counted."""
    times = []
    for _ in range(repeats + 2):
        start = perf_counter()
        work()
        times.append(1e3 * (perf_counter() - start))
    return float(np.median(times[2:]))


def hle_scene(instances: int, height: int = 128, width: int = 256) -> dict[str, Tensor]:
    """Outputs of an HLE network for a street with this many separate, noisy instances on a grid."""
    random = torch.Generator().manual_seed(0)
    means = F.normalize(torch.randn(19, 12, generator=random), dim=1)
    classes = torch.full((height, width), 2)
    classes[: height // 4], classes[height // 2:] = 10, 0
    embedding, seed = means[classes], torch.rand(height, width, generator=random) * 0.05
    columns = int(np.ceil(np.sqrt(2 * instances)))
    pitch = width // columns
    for n in range(instances):
        y, x, size = n // columns * pitch, n % columns * pitch, max(2, pitch - 2)
        own = F.normalize(means[11 + n % 8] + 0.15 * torch.randn(12, generator=random), dim=0)
        embedding[y:y + size, x:x + size] = own
        seed[y:y + size, x:x + size] += 0.6
        seed[min(y + size // 2, height - 1), x + size // 2] = 0.95
    embedding = F.normalize(embedding + 0.03 * torch.randn(height, width, 12, generator=random), dim=2)
    return {"embedding": embedding.permute(2, 0, 1)[None].contiguous(), "seed": seed[None, None],
            "log_sigma": torch.full((1, 1, height, width), -1.8), "class_mean": means,
            "class_log_sigma": torch.full((19,), -1.3),
            "shared_spatial_log_sigma": torch.tensor(np.log(0.6 * pitch / CELLS_PER_UNIT)).float()}


def crowd(count: int, shift: float, seed: int) -> PanopticFrame:
    """A frame of things with random embeddings, all moved by `shift` pixels."""
    random = np.random.default_rng(seed)
    corner = random.uniform(0, (900, 400), (count, 2)) + shift
    box = np.concatenate([corner, corner + random.uniform(10, 80, (count, 2))], 1).astype(np.int32)
    embedding = random.normal(size=(count, 12)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    rows = Segments(np.full(count, 13, np.int32), np.ones(count, bool), np.ones(count, np.float32),
                    np.full(count, 100, np.int32), box, embedding, *(np.zeros(count, np.int32) for _ in range(2)))
    segment_map = np.zeros((512, 1024), np.uint16)
    for number, (x0, y0, x1, y1) in enumerate(box.tolist(), 1):
        segment_map[y0:y1, x0:x1] = number
    return PanopticFrame(CameraImage(np.zeros((512, 1024, 3), np.uint8), "rgb8", int(1e8 * shift)), segment_map, rows,
                         CLASSES)


def measure(quick: bool, model: str) -> dict[str, float]:
    """Milliseconds by name."""
    repeats = 10 if quick else 50
    cv2.setNumThreads(1)
    result: dict[str, float] = {}
    perception = Perception(model)
    drive = CityDrive(3, CityCamera.of_size(512, 1024))
    images = [CameraImage(drive.render(k).image, "rgb8", drive.stamp_ns(k)) for k in range(4)]
    stages: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "image to tracked segments")}
    semantic_decode: list[float] = []
    ordered = itertools.cycle(images)
    for _ in range(repeats + 2):
        start = perf_counter()
        frame = perception(dataclasses.replace(next(ordered), stamp_ns=len(stages["network"]) * 10**8))
        stages["image to tracked segments"].append(1e3 * (perf_counter() - start))
        for stage in STAGES:
            stages[stage].append(frame.timings_ms[stage])
        # Of the same image, without a stamp: it leaves the tracks alone.
        perception.with_semantics = True
        semantic_decode.append(perception(dataclasses.replace(frame.image, stamp_ns=None)).timings_ms["decode"])
        perception.with_semantics = False
    result.update({stage: float(np.median(times[2:])) for stage, times in stages.items()})
    result["decode with the semantic map"] = float(np.median(semantic_decode[2:]))
    result["overlay"] = median_ms(lambda: frame.overlay_bgr(), repeats)

    is_thing = torch.as_tensor(perception.model.classes.thing_mask)
    with torch.inference_mode():
        for instances in (10, 50, 200):
            scene = hle_scene(instances)
            [found] = hle.decode(scene, is_thing, hle.Thresholds(), (512, 1024)).segments
            assert int(found.is_thing.sum()) == instances
            result[f"decode of {instances} instances"] = median_ms(
                lambda: hle.decode(scene, is_thing, hle.Thresholds(), (512, 1024)), repeats)  # noqa: B023

    tracker, settings = Tracker(), TrackerSettings(max_lost=60)
    for k in range(3):
        tracker.update(crowd(100, 0.01 * k, seed=k), settings)
    crowds = iter([crowd(100, 0.02 + 0.01 * k, seed=0) for k in range(1, repeats + 3)])
    result["tracking of 100 segments with 300 tracks"] = median_ms(
        lambda: tracker.update(next(crowds), settings), repeats)
    return result


def table(result: dict[str, float]) -> str:
    """Latencies, and how decode grows with the instances."""
    return latency_table(result, "10 instances", "200 instances")


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, model="city")
