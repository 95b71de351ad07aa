"""Percentiles of latencies."""

from array import array
from collections import deque

import numpy as np

from panoptic_ros.latency import LatencyHistogram, latency_percentiles


def test_percentiles_lie_between_the_values_and_are_rounded_to_microseconds():
    # 0 to 100: the percentiles are the values; of 0 and 1 they are interpolated.
    assert latency_percentiles(deque(range(101), maxlen=256)) == {"p50": 50, "p95": 95, "p99": 99}
    assert latency_percentiles(array("d", [0, 1.00004])) == {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def test_histograms_of_parts_add_up_to_percentiles_within_one_percent():
    values = np.random.default_rng(0).lognormal(3, 1, 4000)
    parts = [LatencyHistogram(), LatencyHistogram()]
    for k, value in enumerate(values):
        parts[k % 2].add(value)
    total = LatencyHistogram(dict(parts[0].counts))
    total += LatencyHistogram(dict(parts[1].counts))
    found, exact = latency_percentiles(total.values()), latency_percentiles(values)
    assert len(total.values()) == 4000
    assert all(abs(found[name] / exact[name] - 1) < 0.015 for name in exact)
