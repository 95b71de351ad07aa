"""Replays a recording through the real node: images out over DDS at their own pace, results back, matched by header."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from tempfile import TemporaryFile, gettempdir
from threading import Event, Lock
from time import monotonic, perf_counter
from typing import Any, Literal

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from tqdm import tqdm

from panoptic_ros.bags.recording import BrokenFrame, Recording
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import (
    CAMERA_INFO,
    IMAGE,
    camera_image_message,
    camera_info_message,
    camera_info_topic,
    serialized_header,
    stamp_in_ns,
)
from panoptic_ros.replay.accounting import ReplaySink
from panoptic_ros.replay.result import result_topics
from panoptic_ros.ros.node_process import NODE, NodeProcess, Participant, private_network
from panoptic_ros.ros.outputs import DIAGNOSTICS, TYPES, message_class

# Longest pause between two images that is kept, seconds; a gap in the stamps may be of hours.
LONGEST_PAUSE = 10.0
# Seconds after which a result that the node says it has sent is given up.
PATIENCE = 10.0

LOST_ON_THE_WAY_IN = "image lost between replay and node"
LOST_ON_THE_WAY_OUT = "result lost between node and replay"

_Key = tuple[str, int, str]
# What is added to the frame_id of an image whose header another had before it, so that its results are known: its
# number, and as many bytes as no field behind it is moved by to another alignment.
_TAG = re.compile(r"\x1f[0-9a-f]{7}$")
_TAG_LENGTH = 8


def replay_live(recording: Recording, result: ReplaySink, stop: Event, *, model: str, engine: str, device: str,
                precision: str, rate: float, with_depth: bool = False, with_semantics: bool = False) -> dict[str, Any]:
    """Send every image of the recording through a node of its own; returns the summary of `result`.

    with_depth: whether the model predicts depth, so that an image's results are complete with it alone.
    with_semantics: whether to ask the node for the likeliest class of every pixel.
    rate: speed, 1 = as recorded. Latencies of the stages are the node's own; `end_to_end` is from publishing an image
    to having all of its results. Results are written after the drive, so that this takes nothing from the node.
    When `stop` is set, the files are completed with what there is. Raises InputError when the node cannot be
    configured or ends by itself, after completing the files.
    """
    first = next((item for item in recording.frames() if isinstance(item, CameraImage)), None)
    cameras = [stream.camera for stream in recording.streams] if len(recording.streams) > 1 else [""]
    parameters = {"autostart": False, "model": model, "engine": engine, "device": device, "precision": precision,
                  "cameras": cameras, "warm_up_size": [first.height, first.width] if first else [0, 0],
                  "diagnostics_period": 0.2}
    environment = private_network()
    drive = _Drive(recording, result_topics(with_depth, with_semantics))
    failure = None
    with NodeProcess(parameters, environment) as process, Participant(process, environment) as participant:
        try:
            for transition in ("configure", "activate"):
                if not participant.transition(transition):
                    raise InputError(f"the node refused to {transition}; its last lines:\n{process.log()}")
            drive.run(process, participant, stop, rate)
        except InputError as error:
            failure = error
    summary = drive.write(result, {"mode": "live", "rate": rate}, stop.is_set() or failure is not None)
    if failure:
        raise failure
    return summary


@dataclass
class _Sent:
    """An image that was published, and what has come back for it.

    index: of the item in the recording. awaited: how many results there will be. sent, received: time of publishing
    and of the last result; perf_counter, seconds. results: topic -> where the spool has the message.
    """

    index: int
    awaited: int
    sent: float
    received: float = 0.0
    results: dict[str, tuple[int, int]] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)

    def is_complete(self) -> bool:
        return len(self.results) == self.awaited


class _Drive:
    """One replay: what was sent, what came back, what the node says of itself.

    topics: of the results that each image has, below the camera's, with their types.
    """

    def __init__(self, recording: Recording, topics: Mapping[str, str]) -> None:
        self._recording, self._topics = recording, topics
        self._single = len(recording.streams) == 1
        self._lock = Lock()
        self._spool = TemporaryFile()  # noqa: SIM115 - lives as long as the drive
        self._spool_error: OSError | None = None
        self._sent: dict[_Key, _Sent] = {}
        self._sent_count = 0
        self._last_sent = 0.0
        self._reports: dict[str, dict[str, str]] = {}
        self._report_time = 0.0

    def run(self, process: NodeProcess, participant: Participant, stop: Event, rate: float) -> None:
        """Publish the images when their time has come, and wait for the last results."""
        many = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=100, reliability=ReliabilityPolicy.RELIABLE)
        publishers, infos = {}, {}
        participant.subscribe(DiagnosticArray, "/diagnostics", self._note_report, many)
        for stream in self._recording.streams:
            name = "" if self._single else f"/{stream.camera}"
            publishers[stream.camera] = participant.node.create_publisher(message_class(IMAGE), f"{name}/image", 10)
            infos[stream.camera] = participant.node.create_publisher(
                message_class(CAMERA_INFO), camera_info_topic(f"{name}/image"), 10)
            for topic, kind in self._topics.items():
                participant.subscribe(message_class(kind), f"{NODE}{name}/{topic}",
                                      partial(self._note_result, stream.camera, topic), many, raw=True)
            participant.subscribe(message_class(DIAGNOSTICS), f"{NODE}{name}/timings",
                                  partial(self._note_timings, stream.camera), many)
        participant.wait_for(lambda: all(p.get_subscription_count() for p in (*publishers.values(), *infos.values()))
                             and self._is_heard(), "the node's topics")
        schedule = _Schedule(self._recording, rate)
        calibrated: set[str] = set()
        for index, item in enumerate(tqdm(self._recording.frames(), total=self._recording.frame_count, unit="frame",
                                          disable=None, desc="live")):
            if isinstance(item, BrokenFrame):
                continue
            if item.focal_length is not None and item.camera not in calibrated:
                # Before the first image: the node may take messages of two topics in any order, or lose one.
                participant.wait_for(partial(self._is_calibrated, item, infos[item.camera], stop), "the calibration")
                calibrated.add(item.camera)
            message = camera_image_message(item, TYPES)
            if stop.wait(schedule.seconds_until(item)):
                break
            self._check_spool()
            if not process.is_running() or self._has_given_up():
                raise InputError(f"the node gave up in the middle of the drive; its last lines:\n{process.log()}")
            with self._lock:
                self._last_sent = monotonic()
                self._sent_count += 1
                if (item.camera, item.stamp_ns or 0, item.frame_id) in self._sent:
                    message.header.frame_id += f"\x1f{index:07x}"
                self._sent[item.camera, item.stamp_ns or 0, message.header.frame_id] = _Sent(
                    index, len(self._topics), perf_counter())
            publishers[item.camera].publish(message)
        participant.wait_for(lambda: self._is_over() or self._has_given_up() or self._spool_error,
                             "the last results", 6 * PATIENCE)
        self._check_spool()
        if self._has_given_up():
            raise InputError(f"the node gave up at the end of the drive; its last lines:\n{process.log()}")

    def write(self, result: ReplaySink, facts: Mapping[str, Any], interrupted: bool) -> dict[str, Any]:
        """Read the recording once more and write each image with its results, then what became of the others."""
        sent = {one.index: one for one in self._sent.values()}
        complete = [one for one in sent.values() if one.is_complete()]
        seconds = max(one.received for one in complete) - min(one.sent for one in complete) if complete else 0.0
        last = max(sent, default=-1)
        for index, item in enumerate(tqdm(self._recording.frames(), total=self._recording.frame_count, unit="frame",
                                          disable=None, desc="writing")):
            if interrupted and index > last:
                break
            if isinstance(item, BrokenFrame):
                result.drop(item)
            elif (one := sent.get(index)) and one.is_complete():
                result.add_received(item, {topic: self._spooled(*place) for topic, place in one.results.items()},
                                    {**one.latency_ms, "end_to_end": 1e3 * (one.received - one.sent)})
        for camera, lost in self._lost().items():
            for reason, count in lost.items():
                result.drop(BrokenFrame(camera, reason, f"{count} images, says the node's /diagnostics", count))
        node = self._reports.get(NODE, {})
        return result.finish(seconds, {**facts, **{name: node.get(name, "") for name in
                                                   ("engine", "device", "precision")}}, interrupted)

    def _lost(self) -> dict[str, dict[str, int]]:
        """Camera -> reason -> how many of the images that were sent have no result for it."""
        lost: dict[str, dict[str, int]] = {}
        for stream in self._recording.streams:
            mine = [one for key, one in self._sent.items() if key[0] == stream.camera]
            report = self._reports.get(self._status_name(stream.camera), {})
            received, processed = int(report.get("received", 0)), int(report.get("processed", 0))
            reasons = {key.removeprefix("dropped: "): int(count) for key, count in report.items()
                       if key.startswith("dropped: ")}
            reasons[LOST_ON_THE_WAY_IN] = len(mine) - received
            reasons["not finished by the node"] = received - processed - sum(
                count for reason, count in reasons.items() if reason != LOST_ON_THE_WAY_IN)
            reasons[LOST_ON_THE_WAY_OUT] = processed - sum(one.is_complete() for one in mine)
            lost[stream.camera] = {reason: count for reason, count in reasons.items() if count > 0}
        return lost

    def _check_spool(self) -> None:
        """Raises InputError where results could not be kept until the end of the drive."""
        if self._spool_error:
            raise InputError(f"results cannot be kept in {gettempdir()}: {self._spool_error.strerror}; make room "
                             "there, or set TMPDIR to a folder with room")

    def _has_given_up(self) -> bool:
        with self._lock:
            return self._reports.get(NODE, {}).get("state", "active") != "active"

    def _is_heard(self) -> bool:
        """Whether the node knows all of our publishers and subscriptions, not only we its."""
        with self._lock:
            wanted = ["publishers", *(f"subscribers: {topic}" for topic in (*self._topics, "timings"))]
            return all(int(self._reports.get(self._status_name(stream.camera), {}).get(name, 0))
                       for stream in self._recording.streams for name in wanted)

    def _is_over(self) -> bool:
        """Whether nothing more will come: the node has had a second since the last image, and nothing is under way."""
        with self._lock:
            if self._report_time < self._last_sent + 1.0:
                return False
            processed = 0
            for stream in self._recording.streams:
                report = self._reports[self._status_name(stream.camera)]
                done = sum(int(value) for key, value in report.items() if key.startswith("dropped: "))
                processed += int(report["processed"])
                if int(report["received"]) > int(report["processed"]) + done:
                    return False
            complete = sum(one.is_complete() for one in self._sent.values())
            return complete >= processed or monotonic() > self._last_sent + PATIENCE

    def _is_calibrated(self, image: CameraImage, publisher: Any, stop: Event) -> bool:
        """Publish the calibration of an image, unless the node has one of its camera."""
        with self._lock:
            if self._reports[self._status_name(image.camera)]["focal_length"]:
                return True
        publisher.publish(camera_info_message(image, TYPES))
        return stop.wait(0.05)

    def _status_name(self, camera: str) -> str:
        return f"{NODE}/camera" if self._single else f"{NODE}/{camera}"

    def _note_result(self, camera: str, topic: str, cdr: bytes) -> None:
        now = perf_counter()
        stamp_ns, frame_id = serialized_header(cdr)
        packed = zlib.compress(_without_tag(cdr, frame_id), 1)
        with self._lock:
            one = self._sent.get((camera, stamp_ns, frame_id))
            if one and topic not in one.results:
                try:
                    start = self._spool.seek(0, 2)
                    self._spool.write(packed)
                    self._spool.flush()
                except OSError as error:  # it would end the thread that calls this, and with it all reports
                    self._spool_error = error
                    return
                one.results[topic] = (start, len(packed))
                one.received = now

    def _note_timings(self, camera: str, timings: Any) -> None:
        with self._lock:
            if one := self._sent.get((camera, stamp_in_ns(timings.header), timings.header.frame_id)):
                one.latency_ms = {row.key: float(row.value) for row in timings.status[0].values}

    def _note_report(self, diagnostics: Any) -> None:
        with self._lock:
            self._report_time = monotonic()
            for status in diagnostics.status:
                self._reports[status.name] = {row.key: row.value for row in status.values}

    def _spooled(self, start: int, length: int) -> bytes:
        self._spool.seek(start)
        return zlib.decompress(self._spool.read(length))


def _without_tag(cdr: bytes, frame_id: str) -> bytes:
    """A serialized message with the frame_id that its image had in the recording."""
    if not _TAG.search(frame_id):
        return cdr
    order: Literal["little", "big"] = "little" if cdr[1] & 1 else "big"
    length = int.from_bytes(cdr[12:16], order)
    return (cdr[:12] + (length - _TAG_LENGTH).to_bytes(4, order) + cdr[16:16 + length - 1 - _TAG_LENGTH] + b"\0"
            + cdr[16 + length:])


class _Schedule:
    """When images are due: at the intervals of their stamps, divided by the rate."""

    def __init__(self, recording: Recording, rate: float) -> None:
        self._rate = rate
        self._interval = 1 / max(stream.frame_rate for stream in recording.streams)
        self._is_first = True
        self._last_stamp_ns: int | None = None
        self._due = 0.0

    def seconds_until(self, image: CameraImage) -> float:
        """How long to wait before the next image, 0 when it is late."""
        if self._is_first:
            self._due = perf_counter()
        else:
            # Where stamps go back or are missing, the time of the drive goes on.
            step = self._interval
            if image.stamp_ns is not None and self._last_stamp_ns is not None and image.stamp_ns >= self._last_stamp_ns:
                step = min((image.stamp_ns - self._last_stamp_ns) * 1e-9, LONGEST_PAUSE)
            self._due += step / self._rate
        self._is_first, self._last_stamp_ns = False, image.stamp_ns
        return max(0.0, self._due - perf_counter())
