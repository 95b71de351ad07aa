"""Images of a dataset with their truth, read or rendered ahead of time by other processes."""

from __future__ import annotations

import atexit
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import cv2
import numpy as np
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Loadable

from panoptic_ros.datasets import Dataset, Entry
from panoptic_ros.errors import InputError
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.processes import usable_processes

# Tracking needs a time that passes: 10 Hz where a dataset does not know its own.
UNKNOWN_INTERVAL_NS = 100_000_000

Item = TypeVar("Item")


@dataclass(frozen=True)
class LabelledImage:
    """One image of a dataset with its ground truth.

    row: of the entry in the dataset. image: (H, W, 3) uint8, red first. truth: of the same size.
    stamp_ns: the entry's, or one by its position in the sequence where the dataset does not know the time.
    starts_sequence: whether it is the first image of a sequence, or one alone.
    """

    row: int
    entry: Entry
    image: np.ndarray
    truth: PanopticLabel
    stamp_ns: int
    starts_sequence: bool


def read_ahead(dataset: Dataset, rows: Sequence[int], workers: int) -> Iterator[LabelledImage]:
    """These images of a dataset, in the order of `rows`.

    workers: processes that read; with 0 this one does, when it is asked for the next. They start at once.
    Raises InputError as the dataset does.
    """
    workers = usable_processes(workers, 0)
    loader: DataLoader[Any] = DataLoader(_LabelledImages(dataset, rows), batch_size=None, num_workers=workers,
                                         prefetch_factor=8 if workers else None, collate_fn=_as_it_is)
    return start(loader)


def start(loader: DataLoader[Any]) -> Iterator[Any]:
    """The items of a loader, whose processes start at once; raises the InputError that came in place of an item.

    As a value it arrives as it was raised: what is raised in a loader's process arrives with that process's traceback.
    """
    loader.worker_init_fn = _leave_stopping_to_the_first_process
    # A process that is forked off while OpenCV has threads would wait for them for ever.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    others = set(active_children())
    # One reference, so that the last one goes, and the processes with it, where the items end.
    checked = _checked(iter(loader))
    cv2.setNumThreads(threads)
    atexit.register(_end, set(active_children()) - others)
    return checked


class _LabelledImages(Loadable[Any]):
    """A labelled image, or the InputError that reading it raised."""

    def __init__(self, dataset: Dataset, rows: Sequence[int]) -> None:
        self._dataset, self._rows = dataset, rows
        self._positions = [k for _, sequence in dataset.sequences() for k in range(len(sequence))]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> LabelledImage | InputError:
        row = self._rows[index]
        entry, position = self._dataset.entries[row], self._positions[row]
        try:
            return LabelledImage(row, entry, self._dataset.image(row), self._dataset.label(row),
                           entry.stamp_ns or position * UNKNOWN_INTERVAL_NS, position == 0)
        except InputError as error:
            return InputError(str(error))  # not every kind of it survives the way from process to process


def _leave_stopping_to_the_first_process(_: int) -> None:
    # A terminal and torchrun interrupt all processes at once; the one that writes the files still needs the others.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _checked(items: Iterator[Item | InputError]) -> Iterator[Item]:
    try:
        for item in items:
            if isinstance(item, InputError):
                raise item
            yield item
    finally:
        # An error's traceback keeps this frame, and would keep the processes: they would outlive the program's end.
        del items


def _end(processes: set[BaseProcess]) -> None:
    """At its end Python would wait for those that an error's traceback keeps, and that heed no other signal."""
    left = [process for process in processes if process.is_alive()]
    if left:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes their end for a failure
    for process in left:
        process.kill()


def _as_it_is(item: Any) -> Any:
    return item
