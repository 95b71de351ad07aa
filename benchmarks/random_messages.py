"""Robustness of the live node: python -m benchmarks.random_messages [--quick] [--messages 10000] [--seed 1]

Images of random fields and sizes, half of them Image and half CompressedImage. Every one must have a result or be
counted as dropped with a reason, and the node must go on.
"""

from __future__ import annotations

import array
import random
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CompressedImage, Image

from benchmarks.command import run_benchmark
from benchmarks.soak import small_model
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.messages import camera_image_message
from panoptic_ros.msg import PanopticSegmentArray
from panoptic_ros.ros.node_process import NODE, NodeProcess, Participant, private_network
from panoptic_ros.ros.outputs import TYPES

_ENCODINGS = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "mono16", "8UC3", "bayer_rggb8", "bayer_gbrg16", "yuv422",
             "nv12", "nv21", "rgb16", "32FC1", "", "x" * 500, "rgb8\0", "ü")
_FORMATS = ("jpeg", "png", "h264", "", "16UC1; compressedDepth png", "bgr8; jpeg compressed bgr8", "tiff", "\0")


def random_image(rng: random.Random) -> Image:
    """An image of which any field may be nonsense."""
    encoding = rng.choice(_ENCODINGS)
    height, width = rng.choice([(rng.randint(0, 70), rng.randint(0, 70)), (1 << 31, 1 << 31), (1, 1 << 32 - 1),
                                (64, 128), (16, 32), (1, 1)])
    width = min(width, (1 << 32) - 1)
    step = rng.choice([0, width * 3, width, rng.randint(0, 300), (1 << 32) - 1]) & 0xFFFFFFFF
    length = rng.choice([0, 1, height * width * 3, height * step, rng.randint(0, 30000)])
    message = Image(height=height, width=width, encoding=encoding.replace("\0", ""), step=step,
                    is_bigendian=rng.randint(0, 255), data=array.array("B", rng.randbytes(min(length, 200_000))))
    return _with_random_header(message, rng)


def random_compressed(rng: random.Random, jpeg: bytes) -> CompressedImage:
    """A compressed image that is whole, cut, changed, or noise."""
    content = bytearray(rng.choice([jpeg, jpeg[:rng.randint(0, len(jpeg))], rng.randbytes(rng.randint(0, 2000)),
                                    b"\0\0\0\1\x67" + rng.randbytes(50), b"\x89PNG\r\n\x1a\n" + rng.randbytes(60)]))
    for _ in range(rng.choice([0, 0, 1, 5])):
        if content:
            content[rng.randrange(len(content))] = rng.randint(0, 255)
    message = CompressedImage(format=rng.choice(_FORMATS).replace("\0", ""), data=array.array("B", bytes(content)))
    return _with_random_header(message, rng)


def _with_random_header(message: Any, rng: random.Random) -> Any:
    message.header.stamp.sec = rng.choice([0, 5, rng.randint(-(1 << 31), (1 << 31) - 1)])
    message.header.stamp.nanosec = rng.choice([0, 999_999_999, 1_000_000_000, (1 << 32) - 1, rng.randint(0, 10 ** 9)])
    message.header.frame_id = rng.choice(["", "cam", "ü" * 200])
    return message


# Messages that are under way at once.
_BATCH = 50


def measure(quick: bool, model: str, messages: int, seed: int) -> dict[str, Any]:
    """What became of the messages, and whether the node still runs."""
    count = 200 if quick else messages
    dropped: Counter[str] = Counter()
    totals = dict.fromkeys(("sent", "received", "processed", "results"), 0)
    failures = 0
    with TemporaryDirectory() as folder:
        small = small_model(model, Path(folder) / "model")
        for transport in ("raw", "compressed"):
            one = _Flood(small, transport, seed)
            failures += one.run(count // 2)
            dropped += one.dropped
            for name in totals:
                totals[name] += one.totals[name]
    return {**totals, "dropped": dict(dropped), "not_accounted_for":
            totals["sent"] - totals["processed"] - sum(dropped.values()), "crashes_and_tracebacks": failures}


def table(result: dict[str, Any]) -> str:
    """The figures for a terminal."""
    rows = {**{name: value for name, value in result.items() if name != "dropped"},
            **{f"dropped: {reason}": count for reason, count in sorted(result["dropped"].items())}}
    return "\n".join(f"{name.replace('_', ' '):<40} {value}" for name, value in rows.items())


class _Flood:
    """Random messages of one transport through a node of its own."""

    def __init__(self, model: str, transport: str, seed: int) -> None:
        self._model, self._transport, self._rng = model, transport, random.Random(seed)
        self._report: dict[str, str] = {}
        self._results = 0
        self.totals = dict.fromkeys(("sent", "received", "processed", "results"), 0)
        self.dropped: Counter[str] = Counter()

    def run(self, count: int) -> int:
        """Send them; returns 1 where the node ended or a callback of it failed, else 0."""
        topic, kind = ("/image", Image) if self._transport == "raw" else ("/image/compressed", CompressedImage)
        pixels = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
        jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
        good = camera_image_message(CameraImage(pixels, "bgr8", 0, "cam"), TYPES) if self._transport == "raw" else \
            CompressedImage(format="jpeg", data=array.array("B", jpeg))
        # Reliable and deep, so that nothing is lost on the way; what is then too much is counted by the node.
        override = f"qos_overrides.{topic}.subscription"
        parameters = {"model": self._model, "transport": self._transport, "diagnostics_period": 0.1,
                      f"{override}.reliability": "reliable", f"{override}.depth": 2 * _BATCH}
        environment = private_network()
        with NodeProcess(parameters, environment) as process, Participant(process, environment) as node:
            node.subscribe(DiagnosticArray, "/diagnostics", self._note_report, 100)
            node.subscribe(PanopticSegmentArray, f"{NODE}/panoptic/segments", self._note_result, 100)
            images = node.node.create_publisher(kind, topic, 2 * _BATCH)
            node.wait_for(lambda: images.get_subscription_count() and self._number("publishers")
                          and self._number("subscribers: panoptic/segments"), "the node's topics", 120.0)
            sent, has_traceback = 0, False

            def is_answered() -> bool:
                nonlocal sent
                images.publish(good)
                sent += 1
                time.sleep(0.2)
                return self._results > 0

            # The network is built for the first image: random ones would only wait, each replaced by the next.
            node.wait_for(is_answered, "a result of a good image", 120.0)
            while sent < count:
                for _ in range(min(_BATCH, count - sent)):
                    images.publish(random_image(self._rng) if self._transport == "raw"
                                   else random_compressed(self._rng, jpeg))
                    sent += 1
                    time.sleep(0.005)  # so that most of them are looked at and not replaced by the next
                node.wait_for(lambda sent=sent: self._done() >= sent,  # type: ignore[misc]
                              "each image to have a result or a reason", 120.0)
                has_traceback |= "Traceback" in process.log()  # which has the last lines alone
            node.wait_for(lambda: self._results >= self._number("processed"), "the results")
            self.totals = {"sent": sent, "received": self._number("received"),
                           "processed": self._number("processed"), "results": self._results}
            self.dropped = self._drops()
            return int(not process.is_running() or has_traceback)

    def _number(self, name: str) -> int:
        return int(self._report.get(name, 0))

    def _drops(self) -> Counter[str]:
        return Counter({name.removeprefix("dropped: "): int(value) for name, value in self._report.items()
                        if name.startswith("dropped: ")})

    def _done(self) -> int:
        return self._number("processed") + sum(self._drops().values())

    def _note_report(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{NODE}/camera":
                self._report = {row.key: row.value for row in status.values}

    def _note_result(self, _: PanopticSegmentArray) -> None:
        self._results += 1


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, model="city", messages=10_000, seed=1)
