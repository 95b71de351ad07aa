"""The memory of a model that was exchanged goes back to the system."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from panoptic_ros.ros import worker
from panoptic_ros.ros.free_memory import release_free_memory


def resident_mib() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024


def allocate_and_free(mebibytes: int) -> list[np.ndarray]:
    """Blocks that are too small to be mapped one by one; the last stays, so that the others are not at the end."""
    blocks = [np.ones(1 << 16, np.uint8) for _ in range(16 * mebibytes)]
    return blocks[-1:]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone keeps an arena per thread")
def test_what_another_thread_allocated_and_freed_is_given_back() -> None:
    with ThreadPoolExecutor(1) as thread:
        kept = thread.submit(allocate_and_free, 200).result()
        before = resident_mib()
        release_free_memory()
        assert resident_mib() < before - 150
    assert len(kept) == 1


THREADS = """
import sys, re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from panoptic_ros.ros.free_memory import share_one_arena
if sys.argv[1] == "share":
    share_one_arena()
barrier = Barrier(6)
def allocate(_):
    barrier.wait()
    return [bytearray(1 << 16) for _ in range(200)], barrier.wait()
with ThreadPoolExecutor(6) as threads:
    list(threads.map(allocate, range(6)))
# A heap of an arena other than the first is mapped at a multiple of 64 MiB.
print(sum(int(row.split("-")[0], 16) % (1 << 26) == 0 and row.split()[1] == "rw-p" for row in open("/proc/self/maps")))
"""


def arenas_of_threads(how: str, **environment: str) -> int:
    variables = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    return int(subprocess.run([sys.executable, "-c", THREADS, how], env=variables | environment, check=True,
                              capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone keeps an arena per thread")
def test_all_threads_share_one_arena_unless_the_user_has_set_how_many() -> None:
    alone = arenas_of_threads("alone")
    assert alone > 2
    assert arenas_of_threads("share") < 2
    assert arenas_of_threads("share", MALLOC_ARENA_MAX="8") > 2


class Perception:
    """What a worker needs of one that is exchanged."""

    def continue_tracks_of(self, other: Any) -> None:
        assert isinstance(other, Perception)


def test_memory_is_released_when_the_model_that_was_replaced_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Perception()
    is_there = weakref.ref(first)
    found: list[Any] = []
    monkeypatch.setattr(worker, "release_free_memory", lambda: found.append(is_there()))
    running = worker.Worker(first, {}, {}, None, 1, None)  # type: ignore[arg-type]
    del first
    running.replace_perception(Perception())  # type: ignore[arg-type]
    running.stop()
    assert found == [None]
