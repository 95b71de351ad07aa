"""Worker thread that processes the newest images; the executor's callbacks only leave images for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Thread
from time import perf_counter
from traceback import format_exception
from typing import Any

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import focal_length
from panoptic_ros.perception import Perception
from panoptic_ros.ros.conversions import camera_image
from panoptic_ros.ros.mailbox import Mailbox
from panoptic_ros.ros.outputs import SEMANTIC, CameraOutputs, OverlaySettings
from panoptic_ros.ros.statistics import StreamStatistics
from panoptic_ros.ros.tracks_file import TracksFile

# Drop reasons, as /diagnostics counts them.
REPLACED = "replaced by a newer image"
INVALID = "invalid image"
NO_SUBSCRIBERS = "no subscribers"
FAILED = "processing failed"
STOPPED = "node deactivated"

# Warnings of one kind are not repeated sooner, seconds.
QUIET = 5.0


@dataclass(frozen=True)
class Arrival:
    """An image message and when it came (perf_counter, seconds)."""

    message: Any
    time: float


class Worker:
    """Takes images from the mailbox, runs the perception, publishes; one thread, from construction to `stop`.

    sizes: (height, width) of the last images -> how many there were at once.
    camera_infos: the newest calibration of each camera that has sent one.
    failure: why it gave up after `max_failures` consecutive failures, empty while it runs.
    """

    def __init__(self, perception: Perception, outputs: Mapping[str, CameraOutputs],
                 statistics: Mapping[str, StreamStatistics], overlay: OverlaySettings, max_failures: int,
                 logger: Any, tracks_file: TracksFile | None = None) -> None:
        self.perception = perception
        self.overlay = overlay
        self.max_failures = max_failures
        self.failure = ""
        self._outputs, self._statistics, self._logger, self._tracks_file = outputs, statistics, logger, tracks_file
        self._failures_in_row = 0
        self._told: set[tuple[str, str]] = set()
        self.camera_infos: dict[str, Any] = {}
        self.sizes: Counter[tuple[int, int]] = Counter()
        self._requests: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._mailbox: Mailbox[Arrival] = Mailbox()
        self._thread = Thread(target=self._run, name="perception", daemon=True)
        self._thread.start()

    def receive(self, messages: Mapping[str, Any]) -> None:
        """Images of some cameras that are to be processed together; called by the executor."""
        now = perf_counter()
        for camera in messages:
            self._statistics[camera].receive()
        replaced = self._mailbox.put({camera: Arrival(message, now) for camera, message in messages.items()})
        for camera in replaced:
            self._statistics[camera].drop(STOPPED if self.failure else REPLACED)

    def calibrate(self, camera: str, camera_info: Any) -> None:
        """The calibration of a camera, for its images from now on; called by the executor."""
        self.camera_infos[camera] = camera_info

    def reset_tracks(self) -> None:
        """Forget the tracks before anything that comes from now on is processed."""
        self._requests.put(lambda: self.perception.reset_tracks())

    def replace_perception(self, perception: Perception) -> None:
        """Go on with another model from the next frame on; tracks are reset, their ids go on."""

        def replace() -> None:
            perception.continue_tracks_of(self.perception)
            self.perception = perception

        self._requests.put(replace)

    def stop(self) -> None:
        """Finish the frame that is being processed and what was asked for, then end.

        Images that wait are counted as dropped.
        """
        for camera in self._mailbox.close():
            self._statistics[camera].drop(STOPPED)
        self._thread.join()
        self._do_requests()

    def _run(self) -> None:
        while not self.failure and (arrivals := self._mailbox.take()):
            self._do_requests()
            unfinished = set(arrivals)
            try:
                self._process(arrivals, unfinished)
                self._failures_in_row = 0
                if self._tracks_file:
                    self._tracks_file.keep(self.perception)
            except Exception as error:
                self._fail(error, unfinished)

    def _do_requests(self) -> None:
        while True:
            try:
                self._requests.get_nowait()()
            except Empty:
                return

    def _process(self, arrivals: Mapping[str, Arrival], unfinished: set[str]) -> None:
        """Results for these images; takes each camera out of `unfinished` as soon as its image is accounted for."""
        start = perf_counter()
        images = []
        for camera, arrival in arrivals.items():
            if (image := self._usable(camera, arrival)) is None:
                unfinished.remove(camera)
            else:
                images.append(image)
        if not images:
            return
        self.sizes = Counter((image.height, image.width) for image in images)
        self.perception.with_semantics = any(self._outputs[image.camera].is_wanted(SEMANTIC) for image in images)
        converted = perf_counter()
        for frame in self.perception(images):
            camera = frame.image.camera
            arrived = arrivals[camera].time
            latency_ms = {"wait": 1e3 * (start - arrived), "convert": 1e3 * (converted - start), **frame.timings_ms}
            self._outputs[camera].publish(frame, self.perception.model, self.overlay, latency_ms)
            self._statistics[camera].finish({**latency_ms, "total": 1e3 * (perf_counter() - arrived)})
            unfinished.remove(camera)

    def _usable(self, camera: str, arrival: Arrival) -> CameraImage | None:
        """The image, if there is one in the message and somebody wants its results; else it is counted as dropped."""
        statistics = self._statistics[camera]
        if not self._outputs[camera].subscribers():
            statistics.drop(NO_SUBSCRIBERS)
            return None
        try:
            image = camera_image(arrival.message, camera)
        except InputError as error:
            statistics.drop(INVALID, str(error))
            self._tell_once((camera, getattr(error, "reason", INVALID)), f"Image dropped: {error}")
            return None
        if problem := statistics.stamp(image.stamp_ns):
            if "jumped" in problem:
                self._logger.warning(problem, throttle_duration_sec=QUIET)
            else:
                self._tell_once((camera, problem), problem)
        if (info := self.camera_infos.get(camera)) is not None:
            image = replace(image, focal_length=focal_length(info, image.width))
        return image

    def _tell_once(self, kind: tuple[str, str], text: str) -> None:
        """What is wrong with every image of a camera is told of the first; /diagnostics counts the others.

        kind: the camera, and what is wrong.
        """
        if kind not in self._told:
            self._told.add(kind)
            self._logger.warning(f"{text}; more of these are counted in /diagnostics")

    def _fail(self, error: Exception, unfinished: set[str]) -> None:
        self._failures_in_row += 1
        problem = f"{type(error).__name__}: {error}"
        for camera in unfinished:
            self._statistics[camera].drop(FAILED, problem)
        self._logger.error(f"Processing failed, {self._failures_in_row} consecutive failures:\n"
                           + "".join(format_exception(error)), throttle_duration_sec=QUIET)
        if self._failures_in_row >= self.max_failures:
            self.failure = f"gave up after {self._failures_in_row} consecutive failures, the last was {problem}"
