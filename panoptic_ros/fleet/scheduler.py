"""Hands work to workers: deadlines, retries for faults of the system, new workers in place of those that ended."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any

from panoptic_ros.errors import InputError
from panoptic_ros.fleet.worker import SYSTEM, TIMEOUT, Answer
from panoptic_ros.fleet.workers import Workers

_POLL_S = 0.5  # how soon an interrupt is noticed
_FAILED_STARTS = 3  # in a row, after which no worker is expected to start any more
_PATIENCE_S = 60.0  # without a worker, after which it is told that none has started yet


class InterruptedRunError(Exception):
    """`stop` was set."""


class Scheduler:
    """Keeps the workers of a run from one call of `run` to the next."""

    def __init__(self, workers: Workers, stop: Event, timeout: float = 0.0, retries: int = 1) -> None:
        """timeout: seconds for one recording, 0 = any. retries: of a recording, after faults of the system."""
        self._workers, self._stop, self._timeout, self._retries = workers, stop, timeout, retries
        self._loading: set[int] = set()
        self._idle: set[int] = set()
        self._busy: dict[int, tuple[dict[str, Any], float]] = {}  # worker -> item, when it began
        self._failed_starts = 0

    def run(self, method: str, items: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Answer]]:
        """Call a method of `FleetWorker` with each item; yields item and answer as they come.

        The method also finds in the item: `last`, whether this is its last try. Where a worker ended or the time was
        up, the answer is the scheduler's own: `fault` and `reason` alone.
        Raises InterruptedRunError where `stop` was set, InputError where no worker can start.
        """
        queue, tries = deque(items), dict.fromkeys(range(len(items)), 0)
        number = {id(item): k for k, item in enumerate(items)}
        begin, told = time.monotonic(), False
        while queue or self._busy:
            if self._stop.is_set():
                raise InterruptedRunError
            self._start_workers(len(queue) + len(self._busy))
            while queue and self._idle:
                item, worker = queue.popleft(), min(self._idle)
                self._idle.remove(worker)
                k = number[id(item)]
                self._workers.submit(worker, method, {**item, "last": tries[k] >= self._retries})
                self._busy[worker] = item, time.monotonic()
            if not told and not self._idle and not self._busy and time.monotonic() - begin > _PATIENCE_S:
                told = True
                print("still waiting for a first worker: the machine is busy, or a cluster has no room now",
                      file=sys.stderr)
            for item, answer in self._answers():
                k = number[id(item)]
                if answer.get("fault") == SYSTEM and tries[k] < self._retries:
                    tries[k] += 1
                    print(f"again: {item['recording']}: {answer['reason']}", file=sys.stderr)
                    queue.append(item)
                else:
                    yield item, answer

    def _start_workers(self, useful: int) -> None:
        there = self._loading | self._idle | self._busy.keys()
        for worker in range(self._workers.count):
            if worker not in there and len(there) < useful:
                there = there | {worker}
                self._loading.add(worker)
                self._workers.start(worker)
                self._workers.submit(worker, "load")

    def _answers(self) -> Iterator[tuple[dict[str, Any], Answer]]:
        for worker, answer, reason in self._workers.wait(_POLL_S):
            if worker in self._loading:
                self._loading.remove(worker)
                self._loaded(worker, answer, reason)
                continue
            item, _ = self._busy.pop(worker)
            if answer is None:
                yield item, {"fault": SYSTEM, "reason": reason}
                continue
            if answer.get("fault") == SYSTEM:
                self._workers.kill(worker)  # after a fault of a GPU or of memory a new process is safer
            else:
                self._idle.add(worker)
            yield item, answer
        now = time.monotonic()
        for worker, (item, begin) in list(self._busy.items()):
            if self._timeout and now - begin > self._timeout:
                self._workers.kill(worker)
                del self._busy[worker]
                yield item, {"fault": TIMEOUT, "reason": f"it took longer than {self._timeout:g} s"}

    def _loaded(self, worker: int, answer: Answer | None, reason: str) -> None:
        if answer is not None and "fault" not in answer:
            self._failed_starts = 0
            self._idle.add(worker)
            print(f"worker {worker}: {answer['engine']} on {answer['host']}, process {answer['pid']}", file=sys.stderr)
            return
        if answer is not None:
            self._workers.kill(worker)
            if answer["fault"] != SYSTEM:
                raise InputError(f"a worker could not start: {answer['reason']}")
            reason = answer["reason"]
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS:
            raise InputError(f"no worker can start: {reason}")
