"""DiagnosticStatus of the node and of each camera, for /diagnostics."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from panoptic_ros.ros.statistics import StreamReport


@dataclass(frozen=True)
class NodeReport:
    """State of the node at one moment.

    state: of its lifecycle.
    problem: the error that keeps it from running, or empty.
    facts: what else is worth knowing, such as model, engine and device.
    """

    state: str
    problem: str
    facts: Mapping[str, str]


def node_status(name: str, report: NodeReport) -> DiagnosticStatus:
    """Status of the node: ERROR when there is a problem, else OK."""
    level, text = (DiagnosticStatus.ERROR, report.problem) if report.problem else (DiagnosticStatus.OK, report.state)
    # ru_maxrss is in KiB on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return _status(name, level, text, {"state": report.state, **report.facts, "peak_memory_mib": f"{peak:.0f}"},
                   report.facts.get("device", ""))


def camera_status(name: str, topic: str, publishers: int, report: StreamReport, published: Mapping[str, int],
                  subscribers: Mapping[str, int], stale_after: float, device: str,
                  problem: str = "", focal_length: float | None = None) -> DiagnosticStatus:
    """Status of a camera: STALE without images, WARN when images were invalid or failed in the last seconds, else OK.

    publishers: how many there are of the input topic.
    published: output -> messages sent.
    subscribers: output -> how many subscribe to it.
    stale_after: seconds. problem: why no image comes, where that is known. focal_length: of the calibration, pixels of
    its images, None where there is none.
    """
    latency = report.latency_ms.get("total")
    level, text = DiagnosticStatus.OK, f"{report.rate_hz:.1f} Hz" + (f", {latency['p50']:.0f} ms" if latency else "")
    if report.age_s is None:
        level, text = DiagnosticStatus.STALE, f"no image received on {topic}"
    elif report.age_s > stale_after:
        level, text = DiagnosticStatus.STALE, f"no image on {topic} for {report.age_s:.1f} s"
    elif report.has_recent_error:
        level, text = DiagnosticStatus.WARN, report.last_error
    elif not subscribers:
        text = "idle: no subscribers"
    if level == DiagnosticStatus.STALE and problem:
        text = f"{text}: {problem}"
    values = {"topic": topic, "publishers": publishers, "received": report.received, "processed": report.processed,
              "rate_hz": f"{report.rate_hz:.2f}",
              "focal_length": "" if focal_length is None else f"{focal_length:.1f}",
              "age_s": "" if report.age_s is None else f"{report.age_s:.3f}",
              **{f"dropped: {reason}": count for reason, count in sorted(report.dropped.items())},
              "unset_stamps": report.unset_stamps, "repeated_stamps": report.repeated_stamps,
              "backward_stamps": report.backward_stamps, "last_error": report.last_error,
              **{f"latency_ms {stage} {percentile}": f"{value:.2f}" for stage, row in report.latency_ms.items()
                 for percentile, value in row.items()},
              **{f"published: {output}": count for output, count in published.items()},
              **{f"subscribers: {output}": count for output, count in subscribers.items()}}
    return _status(name, level, text, values, device)


def _status(name: str, level: bytes, text: str, values: Mapping[str, Any], device: str) -> DiagnosticStatus:
    return DiagnosticStatus(level=level, name=name, message=text, hardware_id=device,
                            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()])
