"""Overhead of the ROS node, and throughput under overload: python -m benchmarks.node_throughput [--quick]"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from tqdm import tqdm

from benchmarks.command import run_benchmark
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.messages import camera_image_message, stamp_in_ns
from panoptic_ros.msg import PanopticSegmentArray
from panoptic_ros.perception import Perception
from panoptic_ros.ros.node_process import NODE, NodeProcess, Participant, private_network
from panoptic_ros.ros.outputs import TYPES
from panoptic_ros.ros.worker import REPLACED
from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.drive import CityDrive

PIPELINE = ("preprocess", "network", "decode", "track")
ADDED = ("wait", "convert", "publish")


def measure(quick: bool, model: str) -> dict[str, Any]:
    """Medians over images that are sent one after the other; then a time of 30 images per second."""
    return {f"{height} x {width}": _measure_size(model, height, width, 20 if quick else 100, 5.0 if quick else 20.0)
            for height, width in ((512, 1024), (1024, 2048))}


def table(result: dict[str, Any]) -> str:
    """The figures for a terminal."""
    lines = []
    for size, row in result.items():
        lines += [f"{size}, milliseconds: " + ", ".join(f"{stage} {ms}" for stage, ms in row["median_ms"].items()),
                  f"  the node adds {row['node_adds_ratio']:.1%} to the pipeline; from publishing to the result: "
                  f"{row['round_trip_ratio']:.3f} times the perception alone",
                  "  flooded: " + ", ".join(f"{name} {value}" for name, value in row["flooded"].items())]
    return "\n".join(lines)


def _measure_size(model: str, height: int, width: int, frames: int, seconds: float) -> dict[str, Any]:
    images = _images(height, width, min(frames, 20))
    alone = Perception(model)
    alone.warm_up(height, width)
    environment = private_network()
    parameters = {"model": model, "warm_up_size": [height, width]}
    with NodeProcess(parameters, environment) as process, Participant(process, environment) as participant:
        node = _Node(participant)
        median_ms = node.one_by_one(images, frames, alone)
        flooded = node.flood(images, seconds, 30.0)
    return {"median_ms": {stage: round(value, 2) for stage, value in median_ms.items()},
            "node_adds_ratio": sum(median_ms[stage] for stage in ADDED) / sum(median_ms[stage] for stage in PIPELINE),
            "round_trip_ratio": median_ms["round_trip"] / median_ms["perception_alone"], "flooded": flooded}


def _images(height: int, width: int, count: int) -> list[CameraImage]:
    drive = CityDrive(3, CityCamera.of_size(height, width))
    return [CameraImage(np.ascontiguousarray(drive.render(k).image[..., ::-1]), "bgr8", k * 100_000_000)
            for k in tqdm(range(count), desc="city", disable=None)]


def _stamped(images: list[CameraImage], k: int) -> CameraImage:
    """The k-th image of the sequence, repeated without end, with stamps that go on."""
    return replace(images[k % len(images)], stamp_ns=k * 100_000_000)


class _Node:
    """A node that is active, with all that is needed to send it images and to note what comes back."""

    def __init__(self, participant: Participant) -> None:
        self._participant = participant
        self._report: dict[str, str] = {}
        self._segments: dict[int, float] = {}
        self._timings: list[dict[str, float]] = []
        many = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE)
        participant.subscribe(DiagnosticArray, "/diagnostics", self._note_report, many)
        participant.subscribe(PanopticSegmentArray, f"{NODE}/panoptic/segments", self._note_segments, many)
        participant.subscribe(DiagnosticArray, f"{NODE}/timings", self._note_timings, many)
        newest = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._publisher = participant.node.create_publisher(Image, "/image", newest)
        participant.wait_for(lambda: self._publisher.get_subscription_count()
                             and "subscribers: timings" in self._report and "subscribers: panoptic/segments"
                             in self._report and self._report["publishers"] == "1", "the node's topics", 120)

    def one_by_one(self, images: list[CameraImage], frames: int, alone: Perception) -> dict[str, float]:
        """Median milliseconds of stages and round trip, and, in turn with them, of the perception in this process."""
        trips, lone = [], []
        for k in tqdm(range(frames), desc="one by one", disable=None):
            start = time.perf_counter()
            alone(_stamped(images, k))
            lone.append(1e3 * (time.perf_counter() - start))
            message = camera_image_message(_stamped(images, k), TYPES)
            start = time.perf_counter()
            self._publisher.publish(message)
            self._participant.wait_for(partial(self._has_answered, k), "a result")
            trips.append(1e3 * (self._segments[k * 100_000_000] - start))
        stages = {stage: float(np.median([row[stage] for row in self._timings])) for stage in (*PIPELINE, *ADDED)}
        return {**stages, "round_trip": float(np.median(trips)), "perception_alone": float(np.median(lone))}

    def flood(self, images: list[CameraImage], seconds: float, rate: float) -> dict[str, float]:
        """Images at this rate, more than can be processed: results per second, latency, and where images went."""
        sent: dict[int, float] = {}
        messages = [camera_image_message(image, TYPES) for image in images]
        self._participant.wait_for(lambda: self._report["processed"] == str(len(self._segments)), "fresh diagnostics")
        before = {key: int(self._report[key]) for key in ("received", "processed")}
        self._segments.clear()
        start = time.perf_counter()
        for k in tqdm(range(int(seconds * rate)), desc="node, flooded", disable=None):
            message = messages[k % len(messages)]
            message.header.stamp.sec = 1_000_000 + k
            time.sleep(max(0.0, start + k / rate - time.perf_counter()))
            sent[stamp_in_ns(message.header)] = time.perf_counter()
            self._publisher.publish(message)
        elapsed = time.perf_counter() - start
        time.sleep(2.5)  # the node's diagnostics come once per second
        latency = [1e3 * (received - sent[stamp]) for stamp, received in self._segments.items()]
        p50, p99 = np.percentile(latency, (50, 99)).tolist()
        return {"sent": len(sent), "received": int(self._report["received"]) - before["received"],
                "processed": int(self._report["processed"]) - before["processed"],
                "replaced": int(self._report.get(f"dropped: {REPLACED}", 0)),
                "results_per_second": round(len(latency) / elapsed, 2), "latency_ms_p50": round(p50, 1),
                "latency_ms_p99": round(p99, 1)}

    def _has_answered(self, k: int) -> bool:
        return k * 100_000_000 in self._segments and len(self._timings) > k

    def _note_report(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{NODE}/camera":
                self._report = {row.key: row.value for row in status.values}

    def _note_segments(self, message: PanopticSegmentArray) -> None:
        self._segments[stamp_in_ns(message.header)] = time.perf_counter()

    def _note_timings(self, message: DiagnosticArray) -> None:
        self._timings.append({row.key: float(row.value) for row in message.status[0].values})


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, model="city")
