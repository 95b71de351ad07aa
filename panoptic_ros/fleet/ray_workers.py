"""Workers as actors of a Ray cluster (the extra `fleet`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import cv2

from panoptic_ros.errors import InputError
from panoptic_ros.fleet.worker import FleetWorker
from panoptic_ros.fleet.workers import Event

_LOCAL_TRIES = 3


class RayWorkers:
    """See `Workers`. Actors that the cluster has no room for wait until it has, without an event."""

    def __init__(self, address: str, count: int, make: Callable[[], FleetWorker], cpus: float, gpus: float) -> None:
        """address: `local` starts a cluster on this machine, `auto` joins the one that it belongs to, `ray://HOST:10001`
        one elsewhere. count: 0 = as many as the cluster has room for now. cpus, gpus: of each worker.

        Raises InputError where Ray is missing, or there is no such cluster.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise InputError("--ray needs Ray: pip install 'panoptic-ros[fleet]'; without --ray, processes of this "
                             "machine do the work") from error
        self._ray = ray
        _connect(ray, address)
        room = ray.cluster_resources()
        fits = int(min([room.get("CPU", 0) / cpus if cpus else room.get("GPU", 0) / gpus,
                        *([room.get("GPU", 0) / gpus] if gpus else [])]))
        if not fits:
            ray.shutdown()
            raise InputError(f"the Ray cluster has {room.get('CPU', 0):g} CPUs and {room.get('GPU', 0):g} GPUs: not "
                             f"enough for a worker with {cpus:g} and {gpus:g} (--cpus-per-worker, --gpus-per-worker)")
        self.count = count or fits
        self._make, self._threads = make, max(1, int(cpus))
        self._actor_class: Any = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0)(_Actor)
        self._actors: dict[int, Any] = {}
        self._waiting: dict[Any, int] = {}  # reference to an answer -> worker

    def start(self, worker: int) -> None:
        self._actors[worker] = self._actor_class.remote(self._make, self._threads)

    def submit(self, worker: int, method: str, *arguments: Any) -> None:
        self._waiting[self._actors[worker].call.remote(method, *arguments)] = worker

    def wait(self, seconds: float) -> list[Event]:
        done, _ = self._ray.wait(list(self._waiting), timeout=seconds) if self._waiting else ([], [])
        events = []
        for reference in done:
            worker = self._waiting.pop(reference)
            try:
                events.append(Event(worker, self._ray.get(reference)))
            except self._ray.exceptions.RayError as error:
                self.kill(worker)
                reason = next((line for line in str(error).splitlines() if line.strip()), "")
                events.append(Event(worker, None, f"its worker died: {reason.strip()}"))
        return events

    def kill(self, worker: int) -> None:
        self._waiting = {reference: other for reference, other in self._waiting.items() if other != worker}
        self._ray.kill(self._actors.pop(worker))

    def close(self) -> None:
        for worker in list(self._actors):
            self.kill(worker)
        self._ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    local: dict[str, Any] = {"num_cpus": len(os.sched_getaffinity(0)), "include_dashboard": False}
    # Ray ends a cluster whose own processes have not started after 30 s, which nothing can lengthen. On a busy machine
    # they have at the next try, when their files are in memory.
    for tries_left in reversed(range(_LOCAL_TRIES if address == "local" else 1)):
        try:
            ray.init(address=address, log_to_driver=False, **(local if address == "local" else {}))
            return
        except Exception as error:  # Ray raises just that
            ray.shutdown()
            reason = str(error).strip().splitlines()[0]
            if not tries_left:
                raise InputError(f"no Ray cluster at {address}: {reason}") from error
            print(f"again: no Ray cluster yet: {reason}", file=sys.stderr)


class _Actor:
    """A `FleetWorker` inside an actor, with so many threads as it was given processors."""

    def __init__(self, make: Callable[[], FleetWorker], threads: int) -> None:
        limit_threads(threads)
        self._worker = make()

    def call(self, method: str, *arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self._worker, method)(*arguments)
        return answer


def limit_threads(threads: int) -> None:
    """Of OpenCV and OpenVINO in this process; Ray tells OpenMP, and so torch.

    With threads for all processors of a machine its workers wait for each other.
    """
    cv2.setNumThreads(threads)
    if find_spec("openvino"):
        from panoptic_ros.engines.openvino_core import openvino_core

        # Not pinned, else all workers of a machine would be on its first processors.
        openvino_core().set_property("CPU", {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False})
