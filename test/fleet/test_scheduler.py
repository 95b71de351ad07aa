"""The scheduler on made-up workers: retries for faults of the system alone, deadlines, workers that cannot start."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event as ThreadEvent
from typing import Any

import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.fleet import scheduler as module
from panoptic_ros.fleet.scheduler import InterruptedRunError, Scheduler
from panoptic_ros.fleet.workers import Event

LOADED = {"host": "here", "pid": 1, "engine": "none"}
OK = {"frames": {"out": 1}}


class MadeUpWorkers:
    """`behave(worker, method, item)` gives an answer, a text for the end of the worker, or None: it hangs."""

    def __init__(self, behave: Callable[[int, str, Any], Any], count: int = 1) -> None:
        self.count, self._behave = count, behave
        self._events: list[Event] = []
        self.alive: set[int] = set()
        self.started = self.killed = 0

    def start(self, worker: int) -> None:
        assert worker not in self.alive
        self.alive.add(worker)
        self.started += 1

    def submit(self, worker: int, method: str, *arguments: Any) -> None:
        assert worker in self.alive
        answer = self._behave(worker, method, arguments[0] if arguments else None)
        if isinstance(answer, str):
            self.alive.remove(worker)
            self._events.append(Event(worker, None, answer))
        elif answer is not None:
            self._events.append(Event(worker, answer))

    def wait(self, seconds: float) -> list[Event]:
        events, self._events = self._events, []
        return events

    def kill(self, worker: int) -> None:
        self.alive.remove(worker)
        self.killed += 1

    def close(self) -> None:
        self.alive.clear()


def results(workers: MadeUpWorkers, names: str, **settings: Any) -> dict[str, dict[str, Any]]:
    scheduler = Scheduler(workers, ThreadEvent(), **settings)
    items = [{"recording": name} for name in names]
    return {item["recording"]: answer for item, answer in scheduler.run("process", items)}


def behaviour(**of_names: list[Any]) -> Callable[[int, str, Any], Any]:
    """Of each recording what its tries come to, one after the other; OK where nothing is said."""
    def behave(worker: int, method: str, item: Any) -> Any:
        if method == "load":
            return LOADED
        left = of_names.get(item["recording"], [])
        return left.pop(0) if left else OK

    return behave


def test_a_worker_that_is_lost_is_replaced_and_its_recording_tried_again() -> None:
    workers = MadeUpWorkers(behaviour(b=["killed"]), count=2)
    assert results(workers, "abc") == {"a": OK, "b": OK, "c": OK}
    assert workers.started == 3


def test_a_recording_that_takes_every_worker_down_fails_and_the_others_go_on() -> None:
    workers = MadeUpWorkers(behaviour(b=["killed", "killed again"]))
    found = results(workers, "abc", retries=1)
    assert found["b"] == {"fault": "system", "reason": "killed again"}
    assert (found["a"], found["c"]) == (OK, OK)


@pytest.mark.parametrize(("fault", "tries"), [("system", 3), ("input", 1), ("program", 1)])
def test_faults_of_the_system_alone_are_tried_again(fault: str, tries: int) -> None:
    answers = [{"fault": fault, "reason": str(k)} for k in range(5)]
    found = results(MadeUpWorkers(behaviour(a=answers)), "ab", retries=2)
    assert found == {"a": {"fault": fault, "reason": str(tries - 1)}, "b": OK}
    assert len(answers) == 5 - tries


def test_the_last_try_is_told_to_the_worker() -> None:
    last: list[bool] = []

    def behave(worker: int, method: str, item: Any) -> Any:
        if method == "load":
            return LOADED
        last.append(item["last"])
        return {"fault": "system", "reason": "disk"}

    results(MadeUpWorkers(behave), "a", retries=2)
    assert last == [False, False, True]


def test_a_recording_that_takes_too_long_ends_with_its_worker_and_is_not_tried_again() -> None:
    workers = MadeUpWorkers(behaviour(a=[None]))
    found = results(workers, "ab", timeout=1e-3)
    assert found["a"] == {"fault": "timeout", "reason": "it took longer than 0.001 s"}
    assert found["b"] == OK
    assert (workers.killed, workers.started) == (1, 2)


def test_no_more_workers_are_started_than_there_is_work() -> None:
    workers = MadeUpWorkers(behaviour(), count=8)
    results(workers, "ab")
    assert workers.started == 2


def test_a_model_that_a_worker_cannot_load_ends_the_run() -> None:
    workers = MadeUpWorkers(lambda worker, method, item: {"fault": "input", "reason": "no model there"})
    with pytest.raises(InputError, match="could not start: no model there"):
        results(workers, "a")


def test_workers_that_end_while_they_load_end_the_run() -> None:
    workers = MadeUpWorkers(lambda worker, method, item: "out of memory")
    with pytest.raises(InputError, match="no worker can start: out of memory"):
        results(workers, "a")
    assert workers.started == module._FAILED_STARTS


def test_an_interrupt_ends_the_run() -> None:
    stop = ThreadEvent()
    scheduler = Scheduler(MadeUpWorkers(behaviour()), stop)
    run = scheduler.run("process", [{"recording": name} for name in "abc"])
    next(run)
    stop.set()
    with pytest.raises(InterruptedRunError):
        list(run)
