"""Scoring in several processes; the result is the same, bit for bit, whatever their number."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.scorer import Scorer
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.processes import usable_processes

# A process takes about a second to start, as long as it takes to read and score so many images.
_IMAGES_PER_PROCESS = 24


@dataclass(frozen=True)
class Pair:
    """A prediction with its truth, and what else `Scorer.add` takes."""

    predicted: PanopticLabel
    truth: PanopticLabel
    sequence: str | None
    predicted_depth: np.ndarray | None
    truth_depth: np.ndarray | None
    name: str


def score_in_parallel(scorer: Scorer, groups: Sequence[Sequence[int]], read: Callable[[int], Pair],
                      workers: int | None = None) -> Scorer:
    """Score the pairs of all groups and return the scorer that has them all.

    scorer: one that has scored nothing. groups: indices of pairs that one process has to score in order: the images of
    a sequence, or an image alone. read: index -> pair; must pickle, as must what it raises.
    workers: processes; None: as many as there are processors and work for them.
    """
    images = sum(map(len, groups))
    if workers is None:
        workers = min(len(os.sched_getaffinity(0)), 1 + images // _IMAGES_PER_PROCESS)
    workers = usable_processes(min(workers, len(groups)))
    total = deepcopy(scorer)
    with tqdm(total=images, unit="image", disable=None) as progress:
        # Added in the order of the groups, since sums of fractions depend on it.
        for part in _parts(scorer, groups, read, workers):
            progress.update(part.images)
            total += part
    return total


def _parts(scorer: Scorer, groups: Sequence[Sequence[int]], read: Callable[[int], Pair],
           workers: int) -> Iterator[Scorer]:
    if workers <= 1:
        for group in groups:
            yield _score(scorer, read, group)
        return
    # Not by fork, which copies locks that threads of this process may hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (scorer, read)) as pool:
        try:
            yield from pool.map(_score_in_worker, groups, chunksize=max(1, min(8, len(groups) // (4 * workers))))
        except BrokenProcessPool as error:
            raise InputError(f"one of {workers} processes that scored was ended from outside, perhaps for want of "
                             "memory: use fewer (--workers)") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _score(empty: Scorer, read: Callable[[int], Pair], group: Sequence[int]) -> Scorer:
    scorer = deepcopy(empty)
    for index in group:
        pair = read(index)
        scorer.add(pair.predicted, pair.truth, pair.sequence, pair.predicted_depth, pair.truth_depth, pair.name)
    scorer.finish_all()
    return scorer


_worker: tuple[Scorer, Callable[[int], Pair]]  # of a worker process, set once when it starts


def _start(scorer: Scorer, read: Callable[[int], Pair]) -> None:
    global _worker
    _worker = scorer, read


def _score_in_worker(group: Sequence[int]) -> Scorer:
    return _score(*_worker, group)
