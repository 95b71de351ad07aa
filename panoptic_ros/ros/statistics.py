"""Statistics of one camera's images: counts, drops by reason, latency percentiles, rate."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from time import monotonic

from panoptic_ros.latency import latency_percentiles

# Latencies are those of the last frames, the rate is that of the last seconds.
LATENCY_FRAMES = 256
RECENT_SECONDS = 5.0


@dataclass(frozen=True)
class StreamReport:
    """Statistics of a stream at one moment.

    received: images that came; each is processed, dropped, or still on its way.
    dropped: images without a result, by reason.
    unset_stamps, repeated_stamps, backward_stamps: images whose stamp was 0, or the last one's, or less.
    last_error: of an image that was dropped; recent when it was within the last RECENT_SECONDS.
    age_s: seconds since the last image came, None before the first.
    rate_hz: results per second over the last RECENT_SECONDS.
    latency_ms: stage -> p50, p95, p99 over the last LATENCY_FRAMES results.
    """

    received: int
    processed: int
    dropped: dict[str, int]
    unset_stamps: int
    repeated_stamps: int
    backward_stamps: int
    last_error: str
    has_recent_error: bool
    age_s: float | None
    rate_hz: float
    latency_ms: dict[str, dict[str, float]]


class StreamStatistics:
    """Counts for one camera. Thread-safe: the executor counts what comes, the worker what becomes of it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._received = self._processed = self._unset = self._repeated = self._backward = 0
        self._dropped: Counter[str] = Counter()
        self._last_error, self._last_error_time = "", -math.inf
        self._last_received: float | None = None
        self._last_stamp_ns: int | None = None
        self._finished: deque[float] = deque()
        self._latency: dict[str, deque[float]] = {}

    def receive(self) -> None:
        """Count an image that was received."""
        with self._lock:
            self._received += 1
            self._last_received = monotonic()

    def drop(self, reason: str, error: str = "") -> None:
        """Count an image that gets no result; `error` says more than the reason that is counted."""
        with self._lock:
            self._dropped[reason] += 1
            if error:
                self._last_error, self._last_error_time = error, monotonic()

    def stamp(self, stamp_ns: int | None) -> str:
        """Count unset, repeated and backward stamps, None where there is none; returns what is wrong, or nothing."""
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
        """Count an image that got its result, after these milliseconds by stage."""
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
            latency = {stage: latency_percentiles(values) for stage, values in self._latency.items()}
            age = None if self._last_received is None else monotonic() - self._last_received
            return StreamReport(self._received, self._processed, dict(self._dropped), self._unset, self._repeated,
                                self._backward, self._last_error,
                                monotonic() - self._last_error_time < RECENT_SECONDS, age,
                                len(self._finished) / RECENT_SECONDS, latency)

    def _forget_old_results(self) -> None:
        while self._finished and monotonic() - self._finished[0] > RECENT_SECONDS:
            self._finished.popleft()
