"""Percentiles of latencies."""

from array import array
from collections import deque

from panoptic_ros.latency import latency_percentiles


def test_percentiles_lie_between_the_values_and_are_rounded_to_microseconds():
    # 0 to 100: the percentiles are the values; of 0 and 1 they are interpolated.
    assert latency_percentiles(deque(range(101), maxlen=256)) == {"p50": 50, "p95": 95, "p99": 99}
    assert latency_percentiles(array("d", [0, 1.00004])) == {"p50": 0.5, "p95": 0.95, "p99": 0.99}
