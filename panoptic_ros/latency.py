"""Percentiles of latencies, the same ones wherever they are told: diagnostics, summaries, reports."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

PERCENTILES = (50, 95, 99)


def latency_percentiles(milliseconds: Iterable[float]) -> dict[str, float]:
    """`p50`, `p95` and `p99` of at least one value, rounded to microseconds."""
    values = np.percentile(np.fromiter(milliseconds, float), PERCENTILES).tolist()
    return {f"p{percent}": round(value, 3) for percent, value in zip(PERCENTILES, values, strict=True)}
