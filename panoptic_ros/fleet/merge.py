"""Rows and counters of many recordings -> one result, the same bytes however the work was divided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.metrics import METRICS
from panoptic_ros.evaluation.replay_evaluation import ClassChangeTotals
from panoptic_ros.evaluation.scorer import Scorer
from panoptic_ros.fleet.storage import RESULT, Store
from panoptic_ros.fleet.work import HEADLINES
from panoptic_ros.fleet.worker import INPUT, PROGRAM
from panoptic_ros.latency import LatencyHistogram, latency_percentiles

OK, FAILED, MISSING = "ok", "failed", "missing"
WORK = "work-{}-of-{}.json"


@dataclass
class Fleet:
    """What one or several runs have done of the work that they were given.

    facts: see `Job.facts`. rows: by name and content of the recording; of what is not done yet only what is known.
    places: key -> where its result is: store and folder. timing: key -> seconds, host, latency.
    """

    facts: dict[str, Any]
    rows: list[dict[str, Any]]
    places: dict[str, tuple[Store, str]] = field(default_factory=dict)
    timing: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of_status(self, status: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["status"] == status]

    def restricted(self, contents: Iterable[str]) -> Fleet:
        """The same of recordings with these contents alone."""
        kept = set(contents)
        return Fleet(self.facts, [row for row in self.rows if row["content"] in kept], self.places, self.timing)


def write_work(store: Store, facts: Mapping[str, Any], shard: tuple[int, int], items: Sequence[Mapping[str, Any]],
               text: Any) -> None:
    """Note what a shard (number from 1, of how many) is to do; notes of another division of the work are void."""
    name = WORK.format(*shard)
    for other in store.names(WORK.format("*", "*")):
        if other != name and not other.endswith(f"-of-{shard[1]}.json"):
            store.delete(other)
    rows = [{key: item[key] for key in ("recording", "content", "key", "reason") if key in item} for item in items]
    store.write(name, text({"facts": facts, "shard": list(shard), "recordings": rows}))


def read_fleet(stores: Sequence[Store]) -> Fleet:
    """What the runs in these stores have done. Raises InputError where there are none, or they do not belong together.
    """
    facts: dict[str, Any] | None = None
    expected: dict[str, dict[str, Any]] = {}
    places: dict[str, list[tuple[Store, str]]] = {}
    shards: dict[int, set[int]] = {}
    for store in stores:
        names = store.names(WORK.format("*", "*"))
        if not names:
            raise InputError(f"{store.place} is no result of `panoptic-ros fleet`: it has no work-1-of-1.json")
        for name in names:
            work = store.read_json(name)
            if work is None:
                raise InputError(f"{store.place}/{name} cannot be read: run its shard again")
            if facts is not None and work["facts"] != facts:
                raise InputError(f"{store.place} is of another run than {stores[0].place}: "
                                 f"{_difference(facts, work['facts'])}")
            facts = work["facts"]
            shards.setdefault(work["shard"][1], set()).add(work["shard"][0])
            for item in work["recordings"]:
                # The same content by several names is one recording, by the first of them.
                other = expected.setdefault(item["key"], item)
                if item["recording"] < other["recording"]:
                    expected[item["key"]] = item
        for key, folder in store.folders().items():
            places.setdefault(key, []).append((store, folder))
    assert facts is not None
    fleet = Fleet(facts, [])
    for key, item in expected.items():
        results = [(place, result) for place in places.get(key[:16], ())
                   if (result := place[0].read_json(f"{place[1]}/{RESULT}"))]
        if not results:
            row = {**item, "status": FAILED if "reason" in item else MISSING}
            row.setdefault("reason", "it is not done yet")
        else:
            place, result = min(results, key=lambda one: "fault" in one[1]["row"])
            row = {**result["row"], "recording": item["recording"]}
            row["status"] = FAILED if "fault" in row else OK
            fleet.places[key], fleet.timing[key] = place, result["timing"]
        fleet.rows.append(row)
    for count, there in shards.items():
        for shard in sorted(set(range(1, count + 1)) - there if len(shards) == 1 else ()):
            fleet.rows.append({"recording": f"shard {shard}/{count}", "content": "", "key": "", "status": MISSING,
                               "reason": "this shard has not been started"})
    fleet.rows.sort(key=lambda row: (row["recording"], row["key"]))
    return fleet


def merge(fleet: Fleet) -> dict[str, Any]:
    """The result of all recordings that are done, in the layout of `panoptic_ros.evaluation.results`.

    What is in it does not depend on when, where or in which order the recordings were done; times are in
    `merged_timing`.
    """
    done = fleet.of_status(OK)
    notices: list[str] = []
    engines = sorted({row["engine"] for row in done})
    if len(engines) > 1:
        notices.append(f"not all recordings were done by the same engine: {'; '.join(engines)}")
    result: dict[str, Any] = {
        **fleet.facts, "recordings": {status: len(fleet.of_status(status)) for status in (OK, FAILED, MISSING)},
        "engines": engines, "frames": _frames(done)}
    for name in ("tracks", "segments"):
        if any(name in row for row in done):
            result[name] = sum(row.get(name, 0) for row in done)
    warnings: Counter[str] = Counter()
    for row in done:
        warnings.update(row.get("warnings", {}))
    if warnings:
        result["warnings"] = dict(sorted(warnings.items()))
    if labels := _labels(done):
        result["labels"] = labels
    if fleet.facts["command"] == "evaluate":
        quality = _quality(fleet, done, notices)
        notices += quality.pop("warnings", [])
        result |= quality
    for problem in (FAILED, MISSING):
        notices += [f"{problem}: {row['recording']}: {row['reason']}" for row in fleet.of_status(problem)]
    kept = ("recording", "content", "key", "status", "fault", "reason", "engine", "frames", "tracks", "segments",
            "warnings", "quality", "labels", "worst_frames")
    return {**result, "notices": notices,
            "rows": [{name: row[name] for name in kept if name in row} for row in fleet.rows]}


def merged_timing(fleet: Fleet) -> dict[str, Any]:
    """Seconds of each recording, by the clock and of all processors together; where they were spent; and the latencies
    of all frames, by stage."""
    done = [row for row in fleet.of_status(OK) if row["key"] in fleet.timing]
    latency = merged_latency(fleet)
    seconds, cpu_seconds = ({row["recording"]: fleet.timing[row["key"]][name] for row in done}
                            for name in ("seconds", "cpu_seconds"))
    return {"seconds": seconds, "cpu_seconds": cpu_seconds,
            "seconds_in_all": round(sum(seconds.values()), 3),
            "hosts": dict(sorted(Counter(fleet.timing[row["key"]]["host"] for row in done).items())),
            "latency_ms": {stage: latency_percentiles(one.values()) for stage, one in latency.items()},
            "latency_histograms": {stage: dict(sorted(one.counts.items())) for stage, one in latency.items()}}


def merged_latency(fleet: Fleet) -> dict[str, LatencyHistogram]:
    """The latencies of all frames, by stage."""
    latency: dict[str, LatencyHistogram] = {}
    for row in fleet.of_status(OK):
        for stage, counts in fleet.timing[row["key"]]["latency"].items():
            histogram = LatencyHistogram({int(k): n for k, n in counts.items()})
            if stage in latency:
                latency[stage] += histogram
            else:
                latency[stage] = histogram
    return latency


def is_settled(row: Mapping[str, Any]) -> bool:
    """Whether a row would come out the same again: it is done, or failed for a reason of its own."""
    return row.get("fault") in (None, INPUT, PROGRAM)


def headline(row: Mapping[str, Any]) -> tuple[str, float] | None:
    """The key and value by which recordings are ranked."""
    quality = row.get("quality", {})
    return next(((key, quality[key]) for key in HEADLINES if key in quality), None)


def rank(row: Mapping[str, Any]) -> float:
    """Lower for recordings of less quality."""
    found = headline(row)
    if found is None:
        return 0.0
    return -found[1] if METRICS[found[0]].better == "lower" else found[1]


def _frames(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    frames: dict[str, Any] = {}
    dropped: Counter[str] = Counter()
    for row in rows:
        for name, value in row["frames"].items():
            if name == "dropped":
                dropped.update(value)
            else:
                frames[name] = frames.get(name, 0) + value
    return {**frames, "dropped": dict(sorted(dropped.items()))}


def _labels(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    labels = [row["labels"] for row in rows if "labels" in row]
    if not labels:
        return {}
    void: Counter[str] = Counter()
    segments: Counter[str] = Counter()
    pixels: Counter[str] = Counter()
    for one in labels:
        void.update(one["void_pixels"])
        segments.update({name: values["segments"] for name, values in one["classes"].items()})
        pixels.update({name: values["pixels"] for name, values in one["classes"].items()})
    return {"pixels": sum(one["pixels"] for one in labels), "void_pixels": dict(sorted(void.items())),
            "classes": {name: {"segments": segments[name], "pixels": pixels[name]} for name in sorted(segments)}}


def _quality(fleet: Fleet, done: Sequence[Mapping[str, Any]], notices: list[str]) -> dict[str, Any]:
    """All metrics of the counters of all recordings, added in the order of the rows: sums of fractions depend on it."""
    total: Scorer | ClassChangeTotals | None = None
    of_first: tuple[Any, ...] = ()
    for row in done:
        store, folder = fleet.places[row["key"]]
        state = store.read_counters(folder)
        if "changes.pixels" in state:
            part: Scorer | ClassChangeTotals = ClassChangeTotals(
                int(state["changes.pixels"]), int(state["changes.changed"]))
            kind: tuple[Any, ...] = ("no truth",)
        else:
            part = Scorer.of_state(state)
            kind = part.classes.names, part.classes.is_thing, sorted(one.value for one in part.kinds)
        if total is None:
            total, of_first = part, kind
        elif kind != of_first:
            # What they judge is another thing: a sum of both would say nothing.
            notices.append(f"not in the numbers: {row['recording']}: its truth is of other classes or kinds than that "
                           f"of {done[0]['recording']}")
        elif isinstance(total, Scorer):
            assert isinstance(part, Scorer)
            total += part
        else:
            assert isinstance(part, ClassChangeTotals)
            total += part
    return {} if total is None else total.result()


def _difference(facts: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    flat, flat_other = ({**one, **one["settings"]} for one in (facts, other))
    return "; ".join(f"{name} is {flat_other.get(name)} there and {flat.get(name)} here" for name in flat
                     if name not in ("settings", "settings_hash") and flat.get(name) != flat_other.get(name))


def percentile_row(values: np.ndarray) -> dict[str, float]:
    """Mean, percentiles and largest of latencies, for a table."""
    return {"mean": float(values.mean()), **latency_percentiles(values), "max": float(values.max())}
