"""Worker threads that process the newest images; the executor's callbacks only leave images for them."""

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
from panoptic_ros.perception import Perception, PreparedImage
from panoptic_ros.ros.conversions import camera_image
from panoptic_ros.ros.free_memory import release_free_memory
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


@dataclass(frozen=True)
class Ready:
    """An image, prepared for the network or not; when its message came, when this was done, milliseconds by stage."""

    given: CameraImage | PreparedImage
    arrived: float
    since: float
    latency_ms: dict[str, float]


class Worker:
    """Takes images from the mailbox, runs the perception, publishes; from construction to `stop`.

    with_pipelining: whether a second thread converts and preprocesses the next image while one is in the network. It
    leaves it in a mailbox too: where a newer one comes before the network is free, that takes its place, so that
    results stay as fresh as without, and in order.

    sizes: (height, width) of the last images -> how many there were at once.
    camera_infos: the newest calibration of each camera that has sent one.
    failure: why it gave up after `max_failures` consecutive failures, empty while it runs.
    """

    def __init__(self, perception: Perception, outputs: Mapping[str, CameraOutputs],
                 statistics: Mapping[str, StreamStatistics], overlay: OverlaySettings, max_failures: int,
                 logger: Any, tracks_file: TracksFile | None = None, with_pipelining: bool = False) -> None:
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
        self._ready: Mailbox[Ready] = Mailbox()
        self._threads = [Thread(target=self._prepare_ahead, name="preprocessing", daemon=True),
                         Thread(target=self._run_prepared, name="perception", daemon=True)] if with_pipelining else \
            [Thread(target=self._run, name="perception", daemon=True)]
        for thread in self._threads:
            thread.start()

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
            self.perception = perception  # by this the other one goes, and with it its engine
            release_free_memory()

        self._requests.put(replace)

    def stop(self) -> None:
        """Finish the frame that is being processed and what was asked for, then end.

        Images that wait are counted as dropped.
        """
        for mailbox in (self._mailbox, self._ready):
            for camera in mailbox.close():
                self._statistics[camera].drop(STOPPED)
        for thread in self._threads:
            thread.join()
        self._do_requests()

    def _run(self) -> None:
        while not self.failure and (arrivals := self._mailbox.take()):
            if ready := self._prepare(arrivals, ahead=False):
                self._finish(ready)

    def _prepare_ahead(self) -> None:
        while not self.failure and (arrivals := self._mailbox.take()):
            ready = self._prepare(arrivals, ahead=True)
            # All of them where the mailbox was closed meanwhile.
            for camera in self._ready.put(ready) if ready else []:
                self._statistics[camera].drop(STOPPED if self.failure or self._ready.closed else REPLACED)

    def _run_prepared(self) -> None:
        while not self.failure and (ready := self._ready.take()):
            self._finish(ready)

    def _do_requests(self) -> None:
        while True:
            try:
                self._requests.get_nowait()()
            except Empty:
                return

    def _prepare(self, arrivals: Mapping[str, Arrival], ahead: bool) -> dict[str, Ready]:
        """The images among these that can be used, by camera; the others are counted. ahead: preprocess them too."""
        ready: dict[str, Ready] = {}
        unfinished = set(arrivals)
        try:
            for camera, arrival in arrivals.items():
                start = perf_counter()
                if (image := self._usable(camera, arrival)) is not None:
                    converted = perf_counter()
                    latency_ms = {"wait": 1e3 * (start - arrival.time), "convert": 1e3 * (converted - start)}
                    given = self.perception.prepare(image) if ahead else image
                    ready[camera] = Ready(given, arrival.time, perf_counter(), latency_ms)
                unfinished.remove(camera)
        except Exception as error:
            self._fail(error, unfinished)
        return ready

    def _finish(self, ready: Mapping[str, Ready]) -> None:
        """Publish the results for these images."""
        self._do_requests()
        unfinished = set(ready)
        start = perf_counter()
        try:
            prepared = [one.given for one in ready.values() if isinstance(one.given, PreparedImage)]
            images = [one.given for one in ready.values() if isinstance(one.given, CameraImage)]
            self.sizes = Counter((image.height, image.width) for image in (*images, *(one.image for one in prepared)))
            self.perception.with_semantics = any(self._outputs[camera].is_wanted(SEMANTIC) for camera in ready)
            for frame in self.perception.finish(prepared) if prepared else self.perception(images):
                camera = frame.image.camera
                one = ready[camera]
                latency_ms = {**one.latency_ms, "queue": 1e3 * (start - one.since), **frame.timings_ms}
                self._outputs[camera].publish(frame, self.perception.model, self.overlay, latency_ms)
                self._statistics[camera].finish({**latency_ms, "total": 1e3 * (perf_counter() - one.arrived)})
                unfinished.remove(camera)
            self._failures_in_row = 0
            if self._tracks_file:
                self._tracks_file.keep(self.perception)
        except Exception as error:
            self._fail(error, unfinished)

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
