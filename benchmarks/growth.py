"""How time grows with image size, instances and cameras: python -m benchmarks.growth [--quick] [--json FILE]

The stages of --model over sizes from 256 x 512 to 1024 x 2048 and over 1 to 4 cameras in one batch; HLE's decode and
the tracker over 0 to 200 instances. For each line the exponent of a power law is told, 1 for what is linear. Plots are
written to out/growth.

What is expected not to be linear, and why:

- preprocess, network and decode over the size: a little above 1, since what fits into the CPU's caches at 256 x 512
  does not at 1024 x 2048; at small sizes a little below, for the fixed cost of each layer and step.
- decode over the instances: nearly flat. Each tile of the map is compared with the seeds in its reach alone; what grows
  are the pixels between segments, which alone are interpolated.
- tracking over the instances: above 1, for the matrix of segments by tracks is quadratic, while what is done for each
  track and segment is linear.
- cameras: linear where all cores are busy with one image; below on a GPU, and where one image leaves cores free.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command import run_benchmark
from benchmarks.pipeline import crowd, hle_scene, median_ms
from benchmarks.plots import line_plot
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.methods import hle
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception
from panoptic_ros.synthetic_city import CityCamera, CityDrive
from panoptic_ros.tracking import Tracker, TrackerSettings

OUT = Path(__file__).parents[1] / "out" / "growth"
HEIGHTS, INSTANCES, CAMERAS = (256, 384, 512, 768, 1024), (0, 10, 25, 50, 100, 200), (1, 2, 3, 4)
STAGES = ("preprocess", "network", "decode", "track")


def measure(quick: bool, model: str) -> dict[str, Any]:
    """For each of the three: its values, milliseconds by line, and the exponents."""
    repeats = 2 if quick else 15
    described = dataclasses.replace(load_model(model), int8=None)
    by_size, by_camera = [], []
    for height in HEIGHTS[:2] if quick else HEIGHTS:
        perception = Perception(dataclasses.replace(described, input_size=(height, 2 * height)))
        by_size.append(_stages(perception, height, 1, repeats))
    perception = Perception(described)
    for count in CAMERAS[:2] if quick else CAMERAS:
        by_camera.append(_stages(perception, described.input_size[0], count, repeats))
    result = {"image size": _lines([2 * height**2 / 1e6 for height in HEIGHTS], by_size),
              "instances": _lines(INSTANCES, _over_instances(repeats)), "cameras": _lines(CAMERAS, by_camera)}
    OUT.mkdir(parents=True, exist_ok=True)
    for name, label in (("image size", "megapixels"), ("instances", "instances"), ("cameras", "cameras")):
        line_plot(OUT / f"{name.replace(' ', '_')}.svg", f"Milliseconds over {name}", result[name]["values"],
                  result[name]["milliseconds"], label, "ms")
    return {"model": perception.model.model_id, "engine": perception.engine.name, "growth": result}


def _stages(perception: Perception, height: int, cameras: int, repeats: int) -> dict[str, float]:
    """Median milliseconds of each stage of a batch with an image of each camera."""
    pixels = CityDrive(3, CityCamera.of_size(height, 2 * height)).render(0).image
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for k in range(repeats + 2):
        frames = perception([CameraImage(pixels, "rgb8", k * 10**8, f"camera_{c}") for c in range(cameras)])
        for stage in STAGES:  # the first three are the batch's, tracking is each camera's own
            own = [frame.timings_ms[stage] for frame in frames]
            times[stage].append(sum(own) if stage == "track" else own[0])
    return {stage: float(np.median(values[2:])) for stage, values in times.items()}


def _over_instances(repeats: int) -> list[dict[str, float]]:
    is_thing = torch.as_tensor(load_class_table("cityscapes").thing_mask)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as `Perception` decodes beside OpenVINO
    rows = []
    with torch.inference_mode():
        for count in INSTANCES:
            scene = hle_scene(max(count, 1))
            if not count:
                scene["seed"] = torch.zeros_like(scene["seed"])
            tracker, settings, frames = Tracker(), TrackerSettings(), iter(range(1, repeats + 3))
            rows.append({"HLE's decode": median_ms(
                lambda: hle.decode(scene, is_thing, hle.Thresholds(), (512, 1024)), repeats),  # noqa: B023
                "tracking": median_ms(
                    lambda: tracker.update(crowd(count, 0.01 * next(frames), 0), settings), repeats)})  # noqa: B023
    torch.set_num_threads(threads)
    return rows


def _lines(values: Sequence[float], rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    lines = {name: [row[name] for row in rows] for name in rows[0]}
    return {"values": list(values)[:len(rows)], "milliseconds": lines,
            "exponent": {name: round(exponent(values[:len(rows)], line), 2) for name, line in lines.items()}}


def exponent(values: Sequence[float], milliseconds: Sequence[float]) -> float:
    """Of the power law nearest to a line, over the values above 0, by least squares of the logarithms."""
    pairs = [(x, y) for x, y in zip(values, milliseconds, strict=True) if x > 0 and y > 0]
    x, y = np.log(np.array(pairs)).T
    return float(np.polyfit(x, y, 1)[0])


def table(result: dict[str, Any]) -> str:
    """A block for each of the three."""
    lines = [f"{result['model']} on {result['engine']}"]
    for name, growth in result["growth"].items():
        lines += ["", f"{name:16}" + "".join(f"{value:10.3g}" for value in growth["values"]) + f"{'exponent':>12}"]
        for line, values in growth["milliseconds"].items():
            lines.append(f"{line:16}" + "".join(f"{value:10.2f}" for value in values)
                         + f"{growth['exponent'][line]:12.2f}")
    return "\n".join([*lines, "", f"plots: {OUT}"])


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, model="city")
