"""Workers as processes of this machine, and the interface that those of Ray have too."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, Protocol

from tqdm import tqdm

from panoptic_ros.fleet.worker import FleetWorker

_LAST_SECONDS = 5.0  # to leave in order, for a worker that has nothing to do


class Event(NamedTuple):
    """What a worker has answered, or, where `answer` is None, how it ended."""

    worker: int
    answer: dict[str, Any] | None
    reason: str = ""


class Workers(Protocol):
    """A number of `FleetWorker`s, each somewhere of its own, known by their index. `count`: how many there can be."""

    count: int

    def start(self, worker: int) -> None:
        """Make a worker, in place of one that ended."""

    def submit(self, worker: int, method: str, *arguments: Any) -> None:
        """Let a worker that is idle do something; `wait` gives the answer."""

    def wait(self, seconds: float) -> list[Event]:
        """What has happened, as soon as anything has, or nothing after so many seconds."""

    def kill(self, worker: int) -> None:
        """End a worker; no event comes of it any more."""

    def close(self) -> None:
        """End all."""


class ProcessWorkers:
    """Workers as processes; each has its share of the processors, and of the GPUs where there are some."""

    def __init__(self, count: int, make: Callable[[], FleetWorker], gpus: int = 0) -> None:
        """make: must pickle. gpus: how many there are."""
        self.count, self._make = count, make
        self._context = multiprocessing.get_context("spawn")  # not fork, which copies locks that threads may hold
        cores = sorted(os.sched_getaffinity(0))
        share = max(1, len(cores) // count)
        self._cores = [[cores[k % len(cores)] for k in range(i * share, (i + 1) * share)] for i in range(count)]
        asked = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = asked.split(",") if asked else [str(k) for k in range(gpus)]
        self._gpus = [names[i % len(names)] if gpus else None for i in range(count)]
        self._processes: dict[int, tuple[Any, Connection[Any, Any]]] = {}
        self._asked: set[int] = set()  # those that owe an answer

    def start(self, worker: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, name=f"fleet-worker-{worker}", daemon=True, args=(
            theirs, self._make, self._gpus[worker]))
        ours_before = os.sched_getaffinity(0)
        try:
            # Inherited, so that OpenMP, torch, OpenVINO and OpenCV find so many processors when they are loaded.
            os.sched_setaffinity(0, self._cores[worker])
            process.start()
        finally:
            os.sched_setaffinity(0, ours_before)
        theirs.close()
        self._processes[worker] = process, ours

    def submit(self, worker: int, method: str, *arguments: Any) -> None:
        with suppress(OSError):  # where it has ended, `wait` will say so
            self._processes[worker][1].send((method, arguments))
        self._asked.add(worker)

    def wait(self, seconds: float) -> list[Event]:
        by_connection = {connection: worker for worker, (_, connection) in self._processes.items()}
        events = []
        for connection in wait(list(by_connection), seconds):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                events.append(Event(worker, self._processes[worker][1].recv()))
                self._asked.discard(worker)
            except (EOFError, OSError):
                process, _ = self._processes[worker]
                process.join(10)
                events.append(Event(worker, None, _ending(process.exitcode)))
                self.kill(worker)
        return events

    def kill(self, worker: int) -> None:
        process, connection = self._processes.pop(worker)
        self._asked.discard(worker)
        process.kill()
        process.join()
        connection.close()

    def close(self) -> None:
        for _, connection in self._processes.values():
            with suppress(OSError):
                connection.send(None)
        for worker, (process, _) in list(self._processes.items()):
            process.join(0.0 if worker in self._asked else _LAST_SECONDS)
            self.kill(worker)


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"its worker was ended by {name}" + " (out of memory?)" * (name == "SIGKILL")
    return f"its worker ended with status {exit_code}"


def _serve(connection: Connection[Any, Any], make: Callable[[], FleetWorker], gpu: str | None) -> None:
    """A worker's process: answers what is asked through the connection."""
    # Ctrl-C goes to all processes of a terminal; the one that started the workers decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    parent = multiprocessing.parent_process()
    assert parent is not None
    tqdm.set_lock(threading.RLock())  # its own, for several processes, would be left behind by one that is killed
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    worker = make()
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        if asked is None:
            return
        method, arguments = asked
        connection.send(getattr(worker, method)(*arguments))


def _end_with(sentinel: int) -> None:
    # A worker would notice only after its recording that the process which wants it was killed.
    wait([sentinel])
    os._exit(1)
