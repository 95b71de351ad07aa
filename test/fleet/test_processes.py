"""Real workers: one is killed, the run itself is killed, and one cluster of Ray; the numbers stay what they were."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.fleet.job import Job
from panoptic_ros.fleet.merge import read_fleet
from panoptic_ros.fleet.run import run_fleet, worker_factory, write_merged
from panoptic_ros.fleet.storage import Store
from panoptic_ros.fleet.workers import ProcessWorkers

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 300  # a busy machine takes a minute to start a worker


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Killing(ProcessWorkers):
    """Kills the first worker that has begun with a recording, as many times as `times` says."""

    times = 1

    def __init__(self, *arguments: Any, place: Path) -> None:
        super().__init__(*arguments)
        self._place, self.killed = place, 0

    def submit(self, worker: int, method: str, *arguments: Any) -> None:
        super().submit(worker, method, *arguments)
        if method == "process" and self.killed < self.times:
            wait_until(lambda: list(self._place.glob(".partial/*/*")))
            os.kill(self._processes[worker][0].pid, signal.SIGKILL)
            self.killed += 1


@pytest.mark.timeout(900)
def test_a_worker_that_is_killed_changes_nothing(bags: list[str], evaluated: Path, make_job: Callable[..., Job],
                                                 tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, job = tmp_path / "out", make_job()
    store = Store(str(out))
    run = store.begin_run()
    workers = Killing(2, worker_factory(job, store, run), place=out)
    outcome = run_fleet(job, bags, store, workers, Event(), run)
    assert workers.killed == 1
    assert (outcome.done, outcome.failed) == (4, 1)
    assert "again: " in capsys.readouterr().err
    assert not (out / ".partial").exists()
    write_merged([store], store)
    write_merged([Store(str(evaluated))], Store(str(tmp_path / "one")))
    assert (out / "fleet.json").read_bytes() == (tmp_path / "one" / "fleet.json").read_bytes()


@pytest.mark.timeout(900)
def test_a_recording_that_kills_its_workers_is_a_row_and_is_tried_by_the_next_run(
        bags: list[str], make_job: Callable[..., Job], run_inline: Callable[..., Any], tmp_path: Path) -> None:
    store, job = Store(str(tmp_path)), make_job(truth="none")
    run = store.begin_run()
    workers = Killing(1, worker_factory(job, store, run), place=tmp_path)
    outcome = run_fleet(job, bags[:1], store, workers, Event(), run, retries=0)
    assert outcome.failed == 1
    (row,) = read_fleet([store]).rows
    assert (row["status"], row["reason"]) == ("failed", "its worker was ended by SIGKILL (out of memory?)")
    assert run_inline(job, bags[:1], tmp_path)[1] == ["drive_0.mcap"]
    assert [row["status"] for row in read_fleet([store]).rows] == ["ok"]


@pytest.mark.timeout(900)
def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(
        bags: list[str], evaluated: Path, make_job: Callable[..., Job], tmp_path: Path) -> None:
    out, model = tmp_path / "out", make_job().model
    command = [sys.executable, "-m", "panoptic_ros.cli", "fleet", "evaluate", *bags, "--out", str(out), "--model",
               model, "--engine", "torch", "--device", "cpu", "--precision", "single", "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(command, env=environment, text=True, stdout=said, stderr=said)
        # One result is there, and the next has begun.
        wait_until(lambda: list(out.glob("recordings/*/result.json")) and list(out.glob(".partial/*/*")),
                   process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (worker,) = map(int, re.findall(r"worker 0: .*process (\d+)", (tmp_path / "said.txt").read_text()))
    wait_until(lambda: not is_running(worker))
    done = len(list(out.glob("recordings/*/result.json")))
    assert 1 <= done < 5
    again = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=SECONDS)
    assert again.returncode == 1, again.stderr  # one recording is damaged
    assert f"{5 - done - 1} recordings done, 1 failed, {done} done before" in again.stdout or \
        f"{5 - done} recordings done, 0 failed, {done} done before" in again.stdout
    assert not (out / ".partial").exists()
    write_merged([Store(str(evaluated))], Store(str(tmp_path / "one")))
    assert (out / "fleet.json").read_bytes() == (tmp_path / "one" / "fleet.json").read_bytes()


@pytest.mark.timeout(900)
def test_a_ray_cluster_survives_a_killed_worker_with_the_same_bytes(bags: list[str], evaluated: Path,
                                                                    make_job: Callable[..., Job], tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from panoptic_ros.fleet.ray_workers import RayWorkers

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))

    class KillingRay(RayWorkers):
        killed = 0

        def wait(self, seconds: float) -> list[Any]:
            events = super().wait(seconds)
            for event in events:
                if event.answer and "pid" in event.answer and not self.killed:
                    self.pid = event.answer["pid"]
            return events

        def submit(self, worker: int, method: str, *arguments: Any) -> None:
            super().submit(worker, method, *arguments)
            if method == "process" and not self.killed:
                wait_until(lambda: list(tmp_path.glob("out/.partial/*/*")))
                os.kill(self.pid, signal.SIGKILL)
                self.killed += 1

    store, job = Store(str(tmp_path / "out")), make_job()
    run = store.begin_run()
    try:
        workers = KillingRay("local", 1, worker_factory(job, store, run), 1.0, 0.0)
    except InputError as error:
        # Ray gives its own processes 30 s to start, three times.
        pytest.skip(str(error))
    outcome = run_fleet(job, bags, store, workers, Event(), run)
    assert workers.killed == 1
    assert (outcome.done, outcome.failed) == (4, 1)
    write_merged([store], store)
    write_merged([Store(str(evaluated))], Store(str(tmp_path / "one")))
    assert (tmp_path / "out" / "fleet.json").read_bytes() == (tmp_path / "one" / "fleet.json").read_bytes()
    rows = json.loads((tmp_path / "out" / "fleet.json").read_text())["rows"]
    assert {row["engine"] for row in rows if row["status"] == "ok"} == {"torch, cpu, single"}
