"""Endurance of the live node: python -m benchmarks.soak [--quick] [--minutes 5] [--plot soak.svg]

Two cameras of small images, subscribers that come and go, parameters that change, models that are swapped; watched are
memory, threads, file handles and track ids. 100,000 images take some hours: --minutes 240.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from scipy.stats import theilslopes
from sensor_msgs.msg import Image

from benchmarks.command import run_benchmark
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import camera_image_message, stamp_in_ns
from panoptic_ros.model import load_model, save_model
from panoptic_ros.msg import PanopticSegmentArray
from panoptic_ros.ros.node_process import NODE, NodeProcess, Participant, private_network
from panoptic_ros.ros.outputs import TYPES
from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.drive import CityDrive

CAMERAS = ("left", "right")
SIZE = (64, 128)
# Of the beginning so much is not counted: caches fill, libraries are loaded.
_WARM_UP = 0.2
# Images between two changes of each kind, and seconds between two looks at the process.
_SUBSCRIBERS_EVERY, _PARAMETERS_EVERY, _MODEL_EVERY, _LOOK_EVERY = 50, 75, 100, 1.0
_STEP_NS = 100_000_000
# Longest time for which a track may be lost and found again, see `tracking.max_lost`.
_MAX_LOST_NS = 3_000_000_000


@dataclass(frozen=True)
class Look:
    """The node's process at one moment. seconds: since the start.

    memory_mib: anonymous and resident, which is what is allocated; pages of libraries come and go as the kernel likes.
    """

    seconds: float
    images: int
    memory_mib: float
    threads: int
    files: int


def measure(quick: bool, model: str, minutes: float, plot: str) -> dict[str, Any]:
    """The figures after warming up, and what went wrong. Growth of memory is the median slope over the images."""
    with TemporaryDirectory() as folder:
        models = [small_model(model, Path(folder) / name) for name in ("first", "second")]
        environment = private_network()
        parameters = {"model": models[0], "cameras": list(CAMERAS), "warm_up_size": list(SIZE)}
        with NodeProcess(parameters, environment) as process, Participant(process, environment) as participant:
            soak = _Soak(process, participant, models)
            soak.run(20.0 if quick else 60 * minutes)
    if plot:
        Path(plot).write_text(_svg(soak.looks))
    return soak.result()


def table(result: dict[str, Any]) -> str:
    """The figures for a terminal."""
    return "\n".join(f"{name.replace('_', ' '):<24} {value}" for name, value in result.items())


class _Soak:
    def __init__(self, process: NodeProcess, participant: Participant, models: list[str]) -> None:
        self._process, self._participant, self._models = process, participant, models
        self.looks: list[Look] = []
        # Just before one of the two models leaves: what is compared with each other is the same model at rest.
        self.at_rest: list[Look] = []
        self._sent = 0
        self._results = dict.fromkeys(CAMERAS, 0)
        self._last_seen: dict[tuple[str, int], int] = {}
        self._repeated_ids: set[int] = set()
        self._report: dict[str, dict[str, str]] = {}
        self._extra: list[Any] = []
        self._changes = dict.fromkeys(("subscribers", "parameters", "models"), 0)
        participant.subscribe(DiagnosticArray, "/diagnostics", self._note_report, 100)
        self._publishers = {}
        for camera in CAMERAS:
            self._publishers[camera] = participant.node.create_publisher(Image, f"/{camera}/image", 1)
            participant.subscribe(PanopticSegmentArray, f"{NODE}/{camera}/panoptic/segments",
                                  partial(self._note_segments, camera), 100)
        participant.wait_for(lambda: all(p.get_subscription_count() for p in self._publishers.values())
                             and all("subscribers: panoptic/segments" in self._report.get(f"{NODE}/{camera}", {})
                                     for camera in CAMERAS), "the node's topics", 120)

    def run(self, seconds: float) -> None:
        drive = CityDrive(3, CityCamera.of_size(*SIZE))
        pixels = [np.ascontiguousarray(drive.render(k).image[..., ::-1]) for k in range(40)]
        start = next_look = time.monotonic()
        while (now := time.monotonic()) < start + seconds:
            wanted = {camera: count + 1 for camera, count in self._results.items()}
            for camera, publisher in self._publishers.items():
                image = CameraImage(pixels[self._sent % len(pixels)], "bgr8", (1 + self._sent) * _STEP_NS, camera)
                publisher.publish(camera_image_message(image, TYPES))
            self._sent += 1
            # One image in a hundred may be lost on a busy machine; it is not waited for.
            try:
                self._participant.wait_for(lambda wanted=wanted: all(  # type: ignore[misc]
                    self._results[camera] >= count for camera, count in wanted.items()), "results", 5.0)
            except InputError:
                if not self._process.is_running():
                    raise
            self._change(now - start)
            if now >= next_look:
                next_look = now + _LOOK_EVERY
                self.looks.append(self._look(now - start))
        time.sleep(2.5)  # the node's diagnostics come once per second

    def result(self) -> dict[str, Any]:
        steady = [look for look in self.looks if look.seconds >= _WARM_UP * self.looks[-1].seconds]
        part = max(1, len(steady) // 10)
        first, last = steady[:part], steady[-part:]
        memory = [look.memory_mib for look in steady]
        # A trend, not two moments.
        rest = [look for look in self.at_rest if look.seconds >= steady[0].seconds]
        rest = rest if len(rest) > 2 else steady
        slope, _, lowest, highest = theilslopes([look.memory_mib for look in rest], [look.images for look in rest])
        share = (rest[-1].images - rest[0].images) / float(np.median([look.memory_mib for look in rest]))
        reports = [self._report[f"{NODE}/{camera}"] for camera in CAMERAS]
        drops = sum(int(value) for report in reports for key, value in report.items() if key.startswith("dropped: "))
        received = sum(int(report["received"]) for report in reports)
        return {"images": self._sent * len(CAMERAS), "received": received,
                "results": sum(int(report["processed"]) for report in reports), "dropped": drops,
                "memory_mib": f"{min(memory):.1f} to {max(memory):.1f}, median {np.median(memory):.1f}",
                "memory_growth": f"{slope * share:.2%} (95 %: {lowest * share:.2%} to {highest * share:.2%})",
                "threads": f"{max(look.threads for look in first)} -> {max(look.threads for look in last)}",
                "file_handles": f"{max(look.files for look in first)} -> {max(look.files for look in last)}",
                "ids_given_twice": len(self._repeated_ids), **{f"changes_of_{k}": n for k, n in self._changes.items()}}

    def _change(self, seconds: float) -> None:
        if self._sent % _SUBSCRIBERS_EVERY == 0:
            self._changes["subscribers"] += 1
            while self._extra:
                self._participant.node.destroy_subscription(self._extra.pop())
            if self._changes["subscribers"] % 2:
                self._extra = [self._participant.subscribe(Image, f"{NODE}/{camera}/{topic}", lambda _: None, 1)
                               for camera in CAMERAS for topic in ("overlay/image", "panoptic/image", "semantic/image")]
        if self._sent % _PARAMETERS_EVERY == 0:
            self._changes["parameters"] += 1
            self._set("overlay.thing_opacity", 0.3 + 0.4 * (self._changes["parameters"] % 2))
        if self._sent % _MODEL_EVERY == 0:
            if self._changes["models"] % 2 == 0:
                self.at_rest.append(self._look(seconds))
            self._changes["models"] += 1
            self._set("model", self._models[self._changes["models"] % 2])

    def _set(self, name: str, value: Any) -> None:
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        (answer,) = self._participant.call(SetParameters, "set_parameters", request).results
        if not answer.successful:
            raise InputError(f"{name} was refused: {answer.reason}")

    def _look(self, seconds: float) -> Look:
        place = Path(f"/proc/{self._process.pid}")
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        return Look(seconds, self._sent * len(CAMERAS), int(status["RssAnon"].split()[0]) / 1024,
                    len(list((place / "task").iterdir())), len(list((place / "fd").iterdir())))

    def _note_segments(self, camera: str, message: PanopticSegmentArray) -> None:
        self._results[camera] += 1
        now = stamp_in_ns(message.header)
        for number in {segment.track_id for segment in message.segments if segment.track_id}:
            other = any((one, number) in self._last_seen for one in CAMERAS if one != camera)
            if other or now - self._last_seen.get((camera, number), now) > _MAX_LOST_NS + _STEP_NS:
                self._repeated_ids.add(number)
            self._last_seen[camera, number] = now

    def _note_report(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._report[status.name] = {row.key: row.value for row in status.values}


def small_model(model: str, folder: Path) -> str:
    """The model for small images, so that many of them are seen in a short time."""
    save_model(replace(load_model(model), input_size=SIZE), folder)
    return str(folder)


def _svg(looks: list[Look]) -> str:
    """Memory, threads and file handles over the images, each on a scale from 0 to 1.2 times its largest."""
    width, height = 960, 200
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {3 * height}" font-family="sans-serif">',
             f'<rect width="{width}" height="{3 * height}" fill="white"/>']
    last = max(looks[-1].images, 1)
    rows: dict[str, list[float]] = {"memory, MiB": [look.memory_mib for look in looks],
                                    "threads": [look.threads for look in looks],
                                    "file handles": [look.files for look in looks]}
    for row, (name, values) in enumerate(rows.items()):
        scale = 1.2 * max(values)
        points = " ".join(f"{60 + (width - 80) * look.images / last:.1f},"
                          f"{(row + 1) * height - 20 - (height - 40) * value / scale:.1f}"
                          for look, value in zip(looks, values, strict=True))
        parts += [f'<polyline points="{points}" fill="none" stroke="#06c" stroke-width="2"/>',
                  f'<text x="60" y="{row * height + 18}" font-size="14">{name}: {values[0]:.0f} to {values[-1]:.0f} '
                  f"over {last} images</text>"]
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, model="city", minutes=5.0, plot="")
