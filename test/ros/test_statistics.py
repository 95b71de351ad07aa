"""What became of the images of a camera."""

from __future__ import annotations

import pytest

from panoptic_ros.ros import statistics
from panoptic_ros.ros.statistics import StreamStatistics


def test_every_image_is_processed_dropped_for_a_reason_or_under_way() -> None:
    stream = StreamStatistics()
    for _ in range(5):
        stream.receive()
    stream.drop("overtaken")
    stream.drop("overtaken")
    stream.drop("unusable", "a step of 3 bytes")
    stream.finish({"network": 1.0})
    report = stream.report()
    assert (report.received, report.processed, report.dropped) == (5, 1, {"overtaken": 2, "unusable": 1})
    assert report.last_error == "a step of 3 bytes"
    assert report.has_recent_error


def test_stamps_that_are_not_set_repeat_or_go_back_are_told_apart() -> None:
    stream = StreamStatistics()
    told = [stream.stamp(ns) for ns in (10, 20, 20, None, 20, 5, 6)]
    assert [text.split(":")[0] for text in told] == [
        "", "", "An image has the stamp of the one before", "An image has no stamp (it is 0)",
        "An image has the stamp of the one before", "Stamps jumped back by 0.000 s", ""]
    report = stream.report()
    assert (report.unset_stamps, report.repeated_stamps, report.backward_stamps) == (1, 2, 1)


def test_latencies_are_percentiles_of_the_last_results() -> None:
    stream = StreamStatistics()
    for value in [1000.0] * 50 + [float(k) for k in range(statistics.LATENCY_FRAMES)]:
        stream.finish({"network": value})
    # Of 0 ... 255: position 0.5 * 255, 0.95 * 255, 0.99 * 255; the early 1000s are forgotten.
    assert stream.report().latency_ms["network"] == pytest.approx({"p50": 127.5, "p95": 242.25, "p99": 252.45})


def test_a_stream_without_images_has_no_age_and_no_rate() -> None:
    report = StreamStatistics().report()
    assert (report.age_s, report.rate_hz, report.has_recent_error) == (None, 0.0, False)


def test_the_rate_counts_the_results_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(statistics, "monotonic", lambda: now)
    stream = StreamStatistics()
    for _ in range(20):
        stream.finish({})
        now += 0.5
    # Results at 100.0 ... 109.5; at 110.0 those of 105.0 and later count: ten in five seconds.
    assert stream.report().rate_hz == pytest.approx(2.0)
