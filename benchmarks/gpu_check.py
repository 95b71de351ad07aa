"""Check a machine with a CUDA device, in at most eight minutes: scripts/gpu_check [FILE], or
python -m benchmarks.gpu_check --json FILE [--seconds N]

The CUDA tests; whether shipped models find on the device what they find on the CPU; milliseconds of each model's
network at 512 x 1024 and 1024 x 2048, for one image and for eight, with and without CUDA graph, and of the decode
apart; a training step. What there was no time for is named. Without a device the shipped models' engines are compared
on the CPU, at one small size, and the file says that nothing was checked on a GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.pipeline import hle_scene
from benchmarks.training_throughput import measure as measure_training
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.engines import engine_report
from panoptic_ros.engines.torch_engine import TorchEngine
from panoptic_ros.methods import METHODS, hle
from panoptic_ros.paths import shared_folder
from panoptic_ros.perception import Perception
from panoptic_ros.synthetic_city import CityCamera, CityDrive

SECONDS = 480
SIZES, BATCHES = ((512, 1024), (1024, 2048)), (1, 8)
TESTS = ("test/engines", "test/perception", "test/training/test_devices.py")
# Of the pixels of an image: what engines may see differently, where two segments meet.
AGREEING_PIXELS = 0.995


class Report:
    """The JSON: sections by name; one that fails, or for which no time is left, says so and the others go on."""

    def __init__(self, file: Path, seconds: float) -> None:
        self.content: dict[str, Any] = {}
        self._file, self._end = file, monotonic() + seconds
        file.parent.mkdir(parents=True, exist_ok=True)

    def seconds_left(self) -> float:
        return self._end - monotonic()

    def add(self, name: str, work: Callable[[], Any], needs_seconds: float) -> None:
        """Do it, if these seconds are left, and write the file, so that whatever comes next leaves it there."""
        start = monotonic()
        if self.seconds_left() < needs_seconds:
            self.content[name] = {"skipped": f"no time was left: {needs_seconds:.0f} s are needed"}
        else:
            try:
                self.content[name] = work()
            except Exception as error:
                self.content[name] = {"failed": f"{type(error).__name__}: {error}"}
        print(f"{name}: {json.dumps(self.content[name])[:200]} ({monotonic() - start:.0f} s)", flush=True)
        self._file.write_text(json.dumps(self.content, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """What runs here; `cuda` is None, with the reason, where there is no device."""
    found: dict[str, Any] = {"python": platform.python_version(), "processor": platform.machine(),
                             "packages": {name: _version(name) for name in (
                                 "torch", "openvino", "onnxruntime", "onnxruntime-gpu", "tensorrt", "transformers")},
                             "engines": engine_report(), "cuda": None}
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        found["cuda"] = {"device": device.name, "capability": f"{device.major}.{device.minor}",
                         "memory_gib": round(device.total_memory / 2**30), "version": torch.version.cuda}
    else:
        found["no_cuda"] = "torch finds no CUDA device: nothing here was checked on a GPU"
    return found


def run_tests(seconds: float) -> dict[str, Any]:
    """The tests that use a CUDA device, in a process of their own; without a device they are skipped."""
    result = subprocess.run([sys.executable, "-m", "pytest", "-q", "-k", "cuda or tensorrt", *TESTS],
                            capture_output=True, text=True, timeout=seconds, check=False)
    lines = result.stdout.strip().splitlines()
    return {"status": result.returncode, "summary": lines[-1] if lines else result.stderr[-500:],
            "failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))]}


def agreement(device: str) -> dict[str, Any]:
    """Model -> precision -> share of the pixels that are of the same class as on the CPU in single precision."""
    drive = CityDrive(3, CityCamera.of_size(256, 512))
    result: dict[str, Any] = {}
    image = CameraImage(drive.render(0).image, "rgb8")
    for folder in sorted((shared_folder("config") / "models").glob("*/model.yaml")):
        name = folder.parent.name
        expected = _classes(Perception(name, "torch", "cpu", "single"), image)
        ways = [("torch", device, precision) for precision in ("single", "half")] if device == "cuda" else \
            [("openvino", "cpu", "single")]
        shares = {f"{engine} {precision}": float((_classes(Perception(name, engine, where, precision), image)
                                                  == expected).mean()) for engine, where, precision in ways}
        result[name] = {**shares, "agrees": min(shares.values()) >= AGREEING_PIXELS}
    return result


def _classes(perception: Perception, image: CameraImage) -> np.ndarray:
    """Class of each pixel, (H, W); -1 is void."""
    frame = perception(image)
    return np.append(-1, frame.segments.class_id)[frame.segment_map]


def networks() -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """The shipped models', then those of the methods as their papers have them, with random weights."""
    for file in sorted((shared_folder("config") / "models").glob("*/model.yaml")):
        yield f"model {file.parent.name}", lambda name=file.parent.name: Perception(  # type: ignore[misc]
            name, "torch", "cpu").model.network
    is_thing = load_class_table("cityscapes").is_thing
    for name, method in METHODS.items():
        if name != "universal":  # it has no network without a configuration from elsewhere
            yield f"method {name}", lambda method=method: method.network(  # type: ignore[misc]
                method.hyperparameters(), is_thing).eval()


def network_speed(make: Callable[[], nn.Module], device: torch.device, quick: bool) -> dict[str, Any]:
    """Milliseconds of a batch by its shape, precision and way of launching; None where memory does not hold it."""
    network = make()
    result: dict[str, Any] = {}
    for precision in ("half",) if device.type == "cuda" else ("single",):
        for with_graphs in (True, False) if device.type == "cuda" else (False,):
            engine = TorchEngine(network, device, precision, with_graphs)
            for height, width in ((128, 256),) if quick else SIZES:
                for batch in (1,) if quick else BATCHES:
                    key = f"{height} x {width}, batch {batch}, {precision}" + (", graph" if with_graphs else "")
                    try:
                        image = torch.zeros(batch, 3, height, width, device=device)
                        result[key] = round(_median_ms(lambda: engine(image), device), 3)  # noqa: B023
                    except torch.cuda.OutOfMemoryError:
                        result[key] = None
    return result


def decode_speed(device: torch.device) -> dict[str, float]:
    """Milliseconds of HLE's decode at 512 x 1024 by the number of instances."""
    is_thing = torch.as_tensor(load_class_table("cityscapes").thing_mask).to(device)
    result: dict[str, float] = {}
    with torch.inference_mode():
        for count in (10, 50, 200):
            scene = {name: value.to(device) for name, value in hle_scene(count).items()}
            result[f"{count} instances"] = round(_median_ms(
                lambda: hle.decode(scene, is_thing, hle.Thresholds(), (512, 1024)), device), 3)  # noqa: B023
    return result


def pipeline_speed(size: tuple[int, int], device: str) -> dict[str, float]:
    """Median milliseconds by stage, from image to tracked segments, of the shipped model."""
    perception, drive = Perception("city", "torch", device), CityDrive(3, CityCamera.of_size(*size))
    pixels = drive.render(0).image
    stages: dict[str, list[float]] = {}
    for k in range(25):
        start = perf_counter()
        frame = perception(CameraImage(pixels, "rgb8", k * 10**8))
        for stage, value in {**frame.timings_ms, "total": 1e3 * (perf_counter() - start)}.items():
            stages.setdefault(stage, []).append(value)
    return {stage: round(float(np.median(values[5:])), 3) for stage, values in stages.items()}


def _median_ms(work: Callable[[], Any], device: torch.device) -> float:
    times = []
    for _ in range(5 if device.type == "cpu" else 23):
        start = perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(1e3 * (perf_counter() - start))
    return float(np.median(times[3:]))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check(file: Path, seconds: float) -> dict[str, Any]:
    """All sections, the most important first; returns what the file holds."""
    report, has_cuda = Report(file, seconds), torch.cuda.is_available()
    device = torch.device("cuda" if has_cuda else "cpu")
    report.add("machine", machine, 0)
    report.add("agreement", lambda: agreement(device.type), 30)
    report.add("decode", lambda: decode_speed(device), 10)
    for size in SIZES if has_cuda else ((256, 512),):
        report.add(f"pipeline {size[0]} x {size[1]}", lambda: pipeline_speed(size, device.type), 20)  # noqa: B023
    for name, make in networks():
        if has_cuda or name.startswith("model"):
            report.add(f"network of {name}", lambda: network_speed(make, device, not has_cuda), 30)  # noqa: B023
    report.add("training", lambda: measure_training(True, 0), 60)
    report.add("tests", lambda: run_tests(max(1.0, report.seconds_left() - 5)), 30)
    return report.content


def main() -> int:
    """Returns 1 where a section or a test failed, or a model does not agree with the CPU, else 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("out/gpu_check.json"), metavar="FILE", help="the file")
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="N", help="that it may take")
    arguments = parser.parse_args()
    content = check(arguments.json, arguments.seconds)
    print(f"wrote {arguments.json}" + ("" if content["machine"]["cuda"] else f"; {content['machine']['no_cuda']}"))
    agrees = all(row["agrees"] for row in content["agreement"].values() if isinstance(row, dict) and "agrees" in row)
    return int(not agrees or any(section.get("failed") for section in content.values()))


if __name__ == "__main__":
    sys.exit(main())
