"""Workers of Ray against a stand-in for the module `ray`; test_processes.py has a real cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Event as ThreadEvent
from types import SimpleNamespace
from typing import Any

import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.fleet.ray_workers import RayWorkers
from panoptic_ros.fleet.scheduler import Scheduler

ROOT = Path(__file__).resolve().parents[2]


class RayError(Exception):
    pass


class Answering:
    """A `FleetWorker` that dies of the first recording called "deadly"."""

    died = 0

    def load(self) -> dict[str, Any]:
        return {"host": "there", "pid": 1, "engine": "none"}

    def process(self, item: dict[str, Any]) -> dict[str, Any]:
        if item["recording"] == "deadly" and not Answering.died:
            Answering.died = 1
            raise RayError("\nThe actor died unexpectedly.\n\tclass_name: _Actor")
        return {"recording": item["recording"]}


class FakeRay:
    """Runs a call when its answer is asked for; has `cpus` and `gpus`."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, cpus: float, gpus: float = 0.0) -> None:
        self.room = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
        self.options: dict[str, Any] = {}
        self.actors = self.killed = self.shut_down = 0
        self.limits: list[int] = []  # of the threads of each actor
        self.failing = 0  # so many times no local cluster starts

    def init(self, address: str, **_: Any) -> None:
        if self.failing:
            self.failing -= 1
            raise Exception("The current node timed out during startup.")
        if address == "auto":
            raise ConnectionError("Could not find any running Ray instance.\nmore words")

    def cluster_resources(self) -> dict[str, float]:
        return self.room

    def remote(self, **options: Any) -> Any:
        self.options = options

        def make_class(kind: type) -> Any:
            def make(*arguments: Any) -> Any:
                self.actors += 1
                actor = kind(*arguments)
                # A reference is the call that is still to be made.
                return SimpleNamespace(call=SimpleNamespace(remote=lambda *args: lambda: actor.call(*args)))

            return SimpleNamespace(remote=make)

        return make_class

    def wait(self, references: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return references[:1], references[1:]

    def get(self, reference: Any) -> Any:
        return reference()

    def kill(self, actor: Any) -> None:
        self.killed += 1

    def shutdown(self) -> None:
        self.shut_down += 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    ray = FakeRay(cpus=5, gpus=1)
    monkeypatch.setitem(sys.modules, "ray", ray)
    # Its actors live in this process, which other tests share.
    monkeypatch.setattr("panoptic_ros.fleet.ray_workers.limit_threads", ray.limits.append)
    return ray


def test_there_are_as_many_workers_as_the_cluster_has_room_for(fake: FakeRay) -> None:
    assert RayWorkers("local", 0, Answering, 2.0, 0.0).count == 2
    assert RayWorkers("local", 0, Answering, 1.0, 0.5).count == 2
    assert RayWorkers("local", 7, Answering, 2.0, 0.0).count == 7
    assert fake.options == {"num_cpus": 2.0, "num_gpus": 0.0, "max_restarts": 0}


def test_an_actor_that_dies_is_replaced_and_its_recording_tried_again(fake: FakeRay) -> None:
    Answering.died = 0
    workers = RayWorkers("local", 1, Answering, 1.0, 0.0)
    run = Scheduler(workers, ThreadEvent(), retries=1).run("process", [{"recording": "deadly"}, {"recording": "b"}])
    assert {item["recording"]: answer for item, answer in run} == {
        "deadly": {"recording": "deadly"}, "b": {"recording": "b"}}
    assert (Answering.died, fake.actors, fake.killed) == (1, 2, 1)
    assert fake.limits == [1, 1]
    workers.close()
    assert (fake.killed, fake.shut_down) == (2, 1)


def test_a_dead_actor_is_told_in_one_line(fake: FakeRay) -> None:
    Answering.died = 0
    run = Scheduler(RayWorkers("local", 1, Answering, 1.0, 0.0), ThreadEvent(), retries=0).run(
        "process", [{"recording": "deadly"}])
    assert [answer["reason"] for _, answer in run] == ["its worker died: The actor died unexpectedly."]


def test_a_cluster_that_is_not_there_or_too_small_is_told(fake: FakeRay) -> None:
    with pytest.raises(InputError, match="no Ray cluster at auto: Could not find any running Ray instance"):
        RayWorkers("auto", 0, Answering, 1.0, 0.0)
    with pytest.raises(InputError, match="has 5 CPUs and 1 GPUs: not enough for a worker with 6 and 0"):
        RayWorkers("local", 0, Answering, 6.0, 0.0)
    assert fake.shut_down == 2


def test_a_local_cluster_that_did_not_start_in_time_is_tried_again(fake: FakeRay,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    fake.failing = 2
    assert RayWorkers("local", 0, Answering, 1.0, 0.0).count == 5
    assert capsys.readouterr().err.count("again: no Ray cluster yet: The current node timed out during startup.") == 2
    fake.failing = 3
    with pytest.raises(InputError, match="no Ray cluster at local: The current node timed out"):
        RayWorkers("local", 0, Answering, 1.0, 0.0)


def test_openvino_and_opencv_have_as_many_threads_as_a_worker_has_processors() -> None:
    pytest.importorskip("openvino")
    program = ("import cv2\n"
               "from panoptic_ros.engines.openvino_core import openvino_core\n"
               "from panoptic_ros.fleet.ray_workers import limit_threads\n"
               "limit_threads(3)\n"
               "print(cv2.getNumThreads(), openvino_core().get_property('CPU', 'INFERENCE_NUM_THREADS'))")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.stdout.split() == ["3", "3"], done.stderr


def test_without_ray_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'panoptic-ros\[fleet\]'"):
        RayWorkers("local", 0, Answering, 1.0, 0.0)
