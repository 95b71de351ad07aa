"""What became of the images of one camera: counts, drops with their reasons, latencies, rate."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from time import monotonic

import numpy as np

# Latencies are those of the last frames, the rate is that of the last seconds.
LATENCY_FRAMES = 256
RECENT_SECONDS = 5.0


@dataclass(frozen=True)
class StreamReport:
    """The state of a stream at one moment.

    received: images that came; each is processed, dropped, or still on its way.
    dropped: images without a result, by reason.
    unset_stamps, repeated_stamps, backward_stamps: images whose stamp was 0, or the last one's, or less.
    last_problem: of an image that was dropped; recent when it was within the last RECENT_SECONDS.
    age_s: seconds since the last image came, None before the first.
    rate_hz: results per second over the last RECENT_SECONDS.
    latency_ms: stage -> (p50, p95, p99) over the last LATENCY_FRAMES results.
    """

    received: int
    processed: int
    dropped: dict[str, int]
    unset_stamps: int
    repeated_stamps: int
    backward_stamps: int
    last_problem: str
    has_recent_problem: bool
    age_s: float | None
    rate_hz: float
    latency_ms: dict[str, tuple[float, float, float]]


class StreamStatistics:
    """Counts for one camera. Thread-safe: the executor counts what comes, the worker what becomes of it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._received = self._processed = self._unset = self._repeated = self._backward = 0
        self._dropped: Counter[str] = Counter()
        self._last_problem, self._last_problem_time = "", -math.inf
        self._last_received: float | None = None
        self._last_stamp_ns: int | None = None
        self._finished: deque[float] = deque()
        self._latency: dict[str, deque[float]] = {}

    def receive(self) -> None:
        """An image came."""
        with self._lock:
            self._received += 1
            self._last_received = monotonic()

    def drop(self, reason: str, problem: str = "") -> None:
        """An image gets no result; `problem` says more than the reason that is counted."""
        with self._lock:
            self._dropped[reason] += 1
            if problem:
                self._last_problem, self._last_problem_time = problem, monotonic()

    def stamp(self, stamp_ns: int | None) -> str:
        """Note the stamp of an image, None where it has none; returns what is wrong with it, or nothing."""
        with self._lock:
            if stamp_ns is None:
                self._unset += 1
                return "An image has no stamp (it is 0): objects are not followed in images whose time is not known"
            last, self._last_stamp_ns = self._last_stamp_ns, stamp_ns
            if last is None or stamp_ns > last:
                return ""
            if stamp_ns == last:
                self._repeated += 1
                return "An image has the stamp of the one before: objects are not followed in it"
            self._backward += 1
            return f"Stamps jumped back by {(last - stamp_ns) * 1e-9:.3f} s: tracks start anew"

    def finish(self, latency_ms: Mapping[str, float]) -> None:
        """An image got its result after these milliseconds, stage by stage."""
        with self._lock:
            self._processed += 1
            self._finished.append(monotonic())
            self._forget_old_results()
            for stage, value in latency_ms.items():
                self._latency.setdefault(stage, deque(maxlen=LATENCY_FRAMES)).append(value)

    def report(self) -> StreamReport:
        """The state at this moment."""
        with self._lock:
            self._forget_old_results()
            latency = {stage: tuple(np.percentile(values, (50, 95, 99)).tolist())
                       for stage, values in self._latency.items()}
            age = None if self._last_received is None else monotonic() - self._last_received
            return StreamReport(self._received, self._processed, dict(self._dropped), self._unset, self._repeated,
                                self._backward, self._last_problem,
                                monotonic() - self._last_problem_time < RECENT_SECONDS, age,
                                len(self._finished) / RECENT_SECONDS, latency)

    def _forget_old_results(self) -> None:
        while self._finished and monotonic() - self._finished[0] > RECENT_SECONDS:
            self._finished.popleft()
