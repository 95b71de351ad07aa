"""Percentiles of latencies, the same ones wherever they are told: diagnostics, summaries, reports; histograms."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np

PERCENTILES = (50, 95, 99)


def latency_percentiles(milliseconds: Iterable[float]) -> dict[str, float]:
    """`p50`, `p95` and `p99` of at least one value, rounded to microseconds."""
    values = np.percentile(np.fromiter(milliseconds, float), PERCENTILES).tolist()
    return {f"p{percent}": round(value, 3) for percent, value in zip(PERCENTILES, values, strict=True)}


class LatencyHistogram:
    """Counts of latencies in bins that are 2 % wide each; those of several recordings and machines add up."""

    _RATIO = math.log(1.02)
    _SMALLEST = 1e-3  # milliseconds

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        """counts: bin -> how many values."""
        self.counts = Counter(counts or {})

    def add(self, milliseconds: float) -> None:
        self.counts[math.floor(math.log(max(milliseconds, self._SMALLEST) / self._SMALLEST) / self._RATIO)] += 1

    def __iadd__(self, other: LatencyHistogram) -> LatencyHistogram:
        self.counts += other.counts
        return self

    def values(self) -> np.ndarray:
        """(N,) ascending: each value as the middle of its bin, within 1 % of what it was."""
        bins = sorted(self.counts)
        middles = self._SMALLEST * np.exp((np.array(bins) + 0.5) * self._RATIO)
        return np.repeat(middles, [self.counts[k] for k in bins])
