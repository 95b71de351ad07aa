"""A run: identify the recordings, skip what is done, do the rest, merge."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.comparison import Comparison, compare
from panoptic_ros.evaluation.content_hash import hash_settings
from panoptic_ros.evaluation.metrics import METRICS
from panoptic_ros.evaluation.results import rounded
from panoptic_ros.fleet.job import Job
from panoptic_ros.fleet.merge import (
    OK,
    Fleet,
    headline,
    is_settled,
    merge,
    merged_timing,
    rank,
    read_fleet,
    write_work,
)
from panoptic_ros.fleet.page import render_fleet
from panoptic_ros.fleet.scheduler import InterruptedRunError, Scheduler
from panoptic_ros.fleet.storage import LOG, RESULT, Store, recording_name
from panoptic_ros.fleet.worker import FleetWorker, publish_row
from panoptic_ros.fleet.workers import Workers

OUTPUTS = ("fleet.json", "timing.json", "report.html")


@dataclass
class Outcome:
    """How a run ended. skipped: recordings that were done before. interrupted: there is more to be done."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    interrupted: bool = False
    seconds: float = 0.0


@dataclass
class Merged:
    """What `write_merged` found.

    worst: recordings by rising quality, and that in words. lost: those that the baseline has and that failed or are
    missing now.
    """

    result: dict[str, Any]
    timing: dict[str, Any]
    worst: list[tuple[str, str]]
    comparison: Comparison | None = None
    lost: list[str] = field(default_factory=list)


def parse_shard(text: str) -> tuple[int, int]:
    """`i/N`, i from 1 to N. Raises InputError for anything else."""
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise InputError(f"the shard is '{text}'; it is i/N with i from 1 to N, such as 2/8")
    return int(number), int(count)


def worker_factory(job: Job, store: Store, run: str) -> Any:
    """What makes a worker, for `Workers`."""
    return partial(FleetWorker, job, store.place, run)


def run_fleet(job: Job, recordings: Sequence[str], store: Store, workers: Workers, stop: Event, run: str,
              shard: tuple[int, int] = (1, 1), timeout: float = 0.0, retries: int = 1,
              retry_failed: bool = False) -> Outcome:
    """Do the job with those recordings of the shard that have no result yet; what was done stays, whatever happens.

    recordings: of all shards, sorted. run: of `Store.begin_run`. retry_failed: also do again what failed for a reason
    of its own. Raises InputError where nothing can be done at all.
    """
    mine = [{"recording": path} for path in recordings[shard[0] - 1::shard[1]]]
    scheduler = Scheduler(workers, stop, timeout, retries)
    begin, outcome = time.monotonic(), Outcome()
    try:
        items, unidentified = _identify(job, scheduler, mine)
        write_work(store, job.facts(), shard, [*items, *unidentified], _json)
        there = store.folders()
        todo = []
        for item in items:
            folder = there.get(item["key"][:16])
            known = store.read_json(f"{folder}/{RESULT}") if folder else None
            if known and (is_settled(known["row"]) and not (retry_failed and "fault" in known["row"])):
                outcome.skipped += 1
            else:
                todo.append({**item, "folder": folder or store.folder_of(item["recording"], item["key"]),
                             "replace": folder is not None})
        outcome.failed += len(unidentified)
        if outcome.skipped:
            print(f"{outcome.skipped} of {len(mine)} recordings were done before", file=sys.stderr)
        progress = _Progress(len(todo))
        # The largest first, so that not one of them is left alone at the end.
        for item, answer in scheduler.run("process", sorted(todo, key=lambda one: -one["bytes"])):
            if "key" not in answer:  # no row of a worker
                try:
                    _publish_fault(store, run, item, answer)
                except OSError as error:  # the disk that the worker failed of: the next run does the recording
                    print(f"no row of {item['recording']} could be written: {error}", file=sys.stderr)
            progress.tell(item["recording"], answer)
            outcome.failed += "fault" in answer
            outcome.done += "fault" not in answer
    except InterruptedRunError:
        outcome.interrupted = True
    finally:
        workers.close()
        store.end_run(run)
    outcome.seconds = time.monotonic() - begin
    return outcome


def write_merged(stores: Sequence[Store], out: Store, baseline: Sequence[Store] = (), tolerance: float = 0.0,
                 skipped: int | None = None) -> Merged:
    """Merge what the stores have and write fleet.json, timing.json and report.html to `out`.

    baseline: of an earlier run, compared over the recordings that are done in both. skipped: see `Outcome`.
    """
    fleet = read_fleet(stores)
    ranked = sorted(fleet.of_status(OK), key=rank)
    worst = [(row["recording"], f"{METRICS[found[0]].name} {METRICS[found[0]].format(found[1])}") for row in ranked
             if (found := headline(row))]
    merged = Merged(merge(fleet), merged_timing(fleet), worst)
    if baseline:
        merged.comparison, merged.lost = _compare(fleet, read_fleet(baseline), tolerance)
    out.write("fleet.json", _json(merged.result))
    out.write("timing.json", _json(merged.timing))
    out.write("report.html", render_fleet(fleet, merged.result, out.place, merged.comparison, merged.lost, skipped))
    return merged


def _identify(job: Job, scheduler: Scheduler, recordings: Sequence[dict[str, Any]],
              ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The recordings with content and key, and those that could not be read, with the reason."""
    found: dict[str, dict[str, Any]] = {}
    unidentified = []
    for item, answer in scheduler.run("identify", recordings):
        if "fault" in answer:
            content = "unknown-" + hash_settings({"path": item["recording"]})[:16]
            unidentified.append({**item, "content": content, "key": job.key(content, ""), "reason": answer["reason"]})
            print(f"failed: {item['recording']}: {answer['reason']}", file=sys.stderr)
        else:
            found[item["recording"]] = {**item, **answer}
    unique: dict[str, dict[str, Any]] = {}
    for path in sorted(found):
        item = found[path]
        if (other := unique.setdefault(item["key"], item)) is not item:
            print(f"left out: {path} has the same content as {other['recording']}", file=sys.stderr)
    return list(unique.values()), sorted(unidentified, key=lambda item: str(item["recording"]))


def _publish_fault(store: Store, run: str, item: dict[str, Any], answer: dict[str, Any]) -> None:
    """The row of a recording whose worker has ended, or could not write it."""
    row = {"recording": item["recording"], "content": item["content"], "key": item["key"],
           "fault": answer["fault"], "reason": answer["reason"]}
    with store.workspace(run) as folder:
        (folder / LOG).write_text(f"{answer.get('details', answer['reason'])}\n", errors="backslashreplace")
        timing = {"seconds": 0.0, "cpu_seconds": 0.0, "host": "", "latency": {}}
        publish_row(store, folder, row, timing, item["folder"], replace=True)


def _compare(fleet: Fleet, baseline: Fleet, tolerance: float) -> tuple[Comparison | None, list[str]]:
    now, before = ({row["content"] for row in one.of_status(OK)} for one in (fleet, baseline))
    asked = {row["content"] for row in fleet.rows}
    lost = sorted(row["recording"] for row in baseline.of_status(OK) if row["content"] in asked - now)
    common = now & before
    if not common:
        raise InputError("no recording is done both here and in the baseline: there is nothing to compare")
    new, old = (rounded(merge(one.restricted(common))) for one in (fleet, baseline))
    notes = [name for name, count in ((f"{len(now - before)} recordings are not in the baseline", len(now - before)),
                                      (f"{len(before - now)} recordings of the baseline are not here",
                                       len(before - now))) if count]
    comparison = compare(new, old, tolerance)
    return Comparison(comparison.rows, comparison.tolerance, (*notes, *comparison.notes)), lost


class _Progress:
    """A line for each recording, with the rate and the time that is left."""

    def __init__(self, count: int) -> None:
        self._count, self._done, self._begin = count, 0, time.monotonic()

    def tell(self, recording: str, answer: dict[str, Any]) -> None:
        self._done += 1
        seconds = time.monotonic() - self._begin
        left = seconds / self._done * (self._count - self._done)
        said = f"FAILED: {answer['reason']}" if "fault" in answer else (
            f"{answer['frames']['out']} frames, {answer['seconds']:.1f} s")
        print(f"[{self._done}/{self._count}] {recording_name(recording)}: {said}  "
              f"({60 * self._done / seconds:.1f} per minute, {_duration(left)} left)", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes}:{rest:02d} min"


def _json(value: Any) -> str:
    return json.dumps(rounded(value), indent=1, allow_nan=False) + "\n"


def outputs_of(store: Store) -> list[str]:
    """Where the files of a merge are."""
    return [f"{store.place}/{name}" if "://" in store.place else str(Path(store.place) / name) for name in OUTPUTS]
