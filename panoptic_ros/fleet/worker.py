"""A worker: loads the model once, then does recording after recording, each into a folder of its own."""

from __future__ import annotations

import io
import json
import os
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.errors import InputError
from panoptic_ros.fleet.job import Job
from panoptic_ros.fleet.storage import COUNTERS, LOG, RESULT, Store, local_copy, recording_name

# Why a recording has no result. INPUT: it, or its truth, cannot be used. PROGRAM: a fault of ours. Both would come
# again. SYSTEM: disk, network, memory, or the worker ended; it is tried again. TIMEOUT: it took longer than allowed.
INPUT, PROGRAM, SYSTEM, TIMEOUT = "input", "program", "system", "timeout"

Answer = dict[str, Any]


def _answers(method: Callable[..., Answer]) -> Callable[..., Answer]:
    """Makes what a method raises an answer: `fault`, and `reason` in words; without an error there is no `fault`."""
    @wraps(method)
    def answer(*args: Any) -> Answer:
        try:
            return method(*args)
        except Exception as error:
            return fault_of(error)

    return answer


class FleetWorker:
    """Lives in a process or a Ray actor of its own. What its methods return is plain data, faults too."""

    def __init__(self, job: Job, out: str, run: str) -> None:
        """out: see `Store`. run: name of the run."""
        self._job, self._store, self._run = job, Store(out), run
        self._perception: Any = None

    @_answers
    def load(self) -> Answer:
        """Load the model and say where. Faults where it is another than the run's."""
        from panoptic_ros.evaluation.content_hash import hash_path
        from panoptic_ros.fleet.work import make_perception
        from panoptic_ros.model import load_model
        from panoptic_ros.paths import model_folder

        if hash_path(model_folder(self._job.model)) != self._job.model_hash:
            raise InputError(f"the model {self._job.model} on {socket.gethostname()} is another than where the run was "
                             "started: give the path of one that all machines see")
        self._perception = make_perception(self._job, load_model(self._job.model))
        engine = self._perception.engine
        return {"host": socket.gethostname(), "pid": os.getpid(),
                "engine": f"{engine.name}, {engine.device}, {engine.precision}"}

    @_answers
    def identify(self, item: dict[str, Any]) -> Answer:
        """`content`, `truth` (hashes), `bytes` and `key` of the recording `item["recording"]`."""
        path, truth = item["recording"], self._job.options.get("truth") or ""
        truth = truth.replace("{name}", recording_name(path))
        content, size = self._store.content_hash(path)
        # A topic or the name of a dataset is among the settings.
        truth_hash = self._store.content_hash(truth)[0] if truth and os.path.exists(truth) else ""
        return {"content": content, "truth": truth_hash, "bytes": size, "key": self._job.key(content, truth_hash)}

    @_answers
    def process(self, item: dict[str, Any]) -> Answer:
        """Do the job with a recording that was identified, and put its result in place; returns its row.

        item: besides, `folder`, the name of the result, and `replace`, see `Store.publish`; `last`: whether a fault of
        the system is a result too, because it is not tried again.
        """
        begin, cpu_begin = time.perf_counter(), time.process_time()
        with self._store.workspace(self._run) as folder:
            log = io.StringIO()
            with redirect_stderr(log), redirect_stdout(log):
                answer = self._process(item, folder)
            if "fault" in answer:
                answer["reason"] = answer["reason"].replace(str(folder), "the result's folder")  # the same in every run
                print(answer.pop("details", answer["reason"]), file=log)
            (folder / LOG).write_text(log.getvalue(), errors="backslashreplace")
            row = {"recording": item["recording"], "content": item["content"], "key": item["key"], **answer}
            if row.get("fault") == SYSTEM and not item["last"]:
                return row
            timing = {"seconds": round(time.perf_counter() - begin, 3),
                      "cpu_seconds": round(time.process_time() - cpu_begin, 3), "host": socket.gethostname(),
                      "latency": row.pop("latency", {})}
            publish_row(self._store, folder, row, timing, item["folder"], item["replace"])
        return {**row, "seconds": timing["seconds"]}

    @_answers
    def _process(self, item: dict[str, Any], folder: Path) -> Answer:
        from panoptic_ros.fleet.work import work_on

        job = self._job
        facts = {"input": item["recording"], "bag_hash": item["content"], "model_hash": job.model_hash,
                 **({"truth_hash": item["truth"]} if item["truth"] else {})}
        with local_copy(item["recording"]) as place:
            try:
                work = work_on(job, place, item["recording"], self._perception, folder, facts)
            except InputError as error:
                raise InputError(str(error).replace(str(place), item["recording"])) from error
        if work.counters:
            np.savez_compressed(folder / COUNTERS, allow_pickle=False, **work.counters)
        engine = self._perception.engine
        return {**work.row, "engine": f"{engine.name}, {engine.device.type}, {engine.precision}",
                "latency": {stage: dict(sorted(one.counts.items())) for stage, one in work.latency.items()}}


def publish_row(store: Store, folder: Path, row: dict[str, Any], timing: dict[str, Any], name: str,
                replace: bool) -> None:
    """Write result.json into a workspace and make it the result `name`, see `Store.publish`; of a recording that failed
    nothing else stays but the log."""
    if "fault" in row:
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.name != LOG:
                file.rmdir() if file.is_dir() else file.unlink()
    (folder / RESULT).write_text(json.dumps({"row": row, "timing": timing}, indent=1) + "\n",
                                 errors="surrogateescape")
    store.publish(folder, name, replace)


def fault_of(error: Exception) -> Answer:
    """The kind of fault that an exception is, and in words what happened."""
    import torch

    if isinstance(error, InputError):
        return {"fault": INPUT, "reason": str(error)}
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    cuda = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)
    if isinstance(error, (OSError, MemoryError, torch.OutOfMemoryError, cuda)):
        return {"fault": SYSTEM, "reason": text}
    return {"fault": PROGRAM, "reason": text, "details": "".join(traceback.format_exception(error))}
