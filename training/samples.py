"""Training samples of a dataset: an endless stream by index, reproducible on every machine, with its sampler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from panoptic_ros.classes import VOID, ClassTable, class_mapping
from panoptic_ros.datasets.dataset import Dataset, Truth
from panoptic_ros.errors import InputError
from panoptic_ros.processes import usable_processes

from .augmentation import GREY, Augmentation, Focus, as_sample
from .batches import collate
from .image_maps import CachedMaps, Maps, instance_keys, read_maps
from .reading import start
from .sampling import Sampling, make_policy
from .statistics import cached_statistics, measure_images, statistics_file


class Samples(TorchDataset[dict[str, Any]]):
    """Sample i is an augmented crop of an image of a dataset; which one and how follow from the seed and i alone.

    A sample is one image of `training.batches`' batch. With clips of n images sample i is image i % n of clip i // n:
    n consecutive images of a sequence with the same crop and flip, in which an object has the same number.
    """

    def __init__(self, dataset: Dataset, augmentation: Augmentation, seed: int = 0, classes: ClassTable | None = None,
                 cache: Path | None = None, clip_length: int = 1, *, sampling: Sampling | None = None,
                 fill: tuple[float, float, float] = GREY, with_depth: bool = False) -> None:
        """classes: table that labels are translated into. cache: folder that keeps what the dataset has made.

        fill: colour, 0 to 1, of what lies beyond an image. with_depth: samples have depth and focal length.
        Raises InputError where clips are asked for and object ids are not constant over the dataset's sequences, or
        where depth is asked for and it has none.
        """
        self.dataset, self.seed, self.clip_length = dataset, seed, clip_length
        if with_depth and Truth.DEPTH not in dataset.truth:
            raise InputError(f"{dataset.name} has no depth in its truth, and the method learns from it")
        self.transform = augmentation.transform(fill)
        self.classes = classes or dataset.classes
        # Where the truth is depth alone there are no labels to be translated: all is void.
        self._class_of = (None if self.classes == dataset.classes or not dataset.truth - {Truth.DEPTH}
                          else class_mapping(dataset.classes, self.classes))
        self._cached = None if cache is None else CachedMaps(dataset, cache, with_depth)
        self._with_depth = with_depth
        self._clip: tuple[int, dict[str, Any]] | None = None
        file = statistics_file(cache, dataset, self.classes)
        self.policy = make_policy(
            sampling or Sampling(), augmentation, _starts_of_clips(dataset, clip_length), clip_length,
            self.classes.thing_mask, seed, lambda: cached_statistics(
                file, lambda: measure_images(self.maps, len(dataset), len(self.classes))))

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip, position = divmod(index, self.clip_length)
        if self._clip is None or self._clip[0] != clip:
            self._clip = clip, self._augmented(clip)
        return {**{name: value[position] for name, value in self._clip[1].items()}, "clip": torch.tensor(clip)}

    def _augmented(self, clip: int) -> dict[str, Any]:
        """The samples of a clip, one after the other in the first dimension."""
        cv2.setNumThreads(1)
        entry, focus_entry, focus = self.policy.draw(clip)
        sample = self._clip_sample(entry, focus_entry, focus)
        # The transforms draw from torch's own generator: seeded for each clip, and given back as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(np.random.SeedSequence((self.seed, clip)).generate_state(1, np.uint64)[0] >> 1)
            augmented: dict[str, Any] = self.transform(sample)
        return {name: value.as_subclass(torch.Tensor) if isinstance(value, torch.Tensor) else value
                for name, value in augmented.items()}

    def _clip_sample(self, first: int, focus_entry: int, focus: Focus | None) -> dict[str, Any]:
        """The maps of the images of a clip, stacked; an object has the same number in all of them.

        focus: what the crop must show, its number as in the entry `shows`.
        """
        entries = range(first, first + self.clip_length)
        # Before the maps: a cache that has no keys makes both.
        keys = [self._keys(entry) for entry in entries] if self.clip_length > 1 else []
        images, class_maps, instance_maps = zip(*(self.maps(entry) for entry in entries), strict=True)
        if len({image.shape for image in images}) > 1:
            raise InputError(f"{self.dataset.entries[first].name} of {self.dataset.name} and the image after it are of "
                             "different sizes: a clip needs images of one size")
        if keys:
            every_key = np.unique(np.concatenate(keys))  # 0 first
            numbers = [np.searchsorted(every_key, own).astype(np.int32) for own in keys]
            instance_maps = tuple(number[instance_map]
                                  for number, instance_map in zip(numbers, instance_maps, strict=True))
            if focus is not None and focus.number:
                focus = Focus(focus.class_id, int(numbers[focus_entry - first][focus.number]), focus.scale)
        depth = focal_length = None
        if self._with_depth:
            depth = np.stack([self._depth(entry) for entry in entries])
            focal_length = np.array([self.dataset.focal_length(entry) for entry in entries], np.float32)
        return as_sample(np.stack(images), np.stack(class_maps), np.stack(instance_maps), depth, focal_length, focus)

    def _depth(self, entry: int) -> np.ndarray:
        return self.dataset.depth(entry) if self._cached is None else self._cached.depth(entry)

    def _keys(self, entry: int) -> np.ndarray:
        """The key of each number of an instance map, beginning with 0 for 0."""
        return np.append(0, instance_keys(self.dataset.label(entry)) if self._cached is None
                         else self._cached.instance_keys(entry))

    def maps(self, entry: int) -> Maps:
        """What `read_maps` says of an image, in the class table of these samples.

        Raises InputError, naming the image, where it holds a class that the dataset's table has not.
        """
        image, class_map, instance_map = (read_maps(self.dataset, entry) if self._cached is None
                                          else self._cached[entry])
        highest = int((class_map + np.uint8(1)).max()) - 1  # void becomes 0 for it
        if highest >= len(self.dataset.classes):
            hint = "" if self._cached is None else f"; is {self._cached.folder}, data.cache, of another dataset?"
            raise InputError(f"{self.dataset.entries[entry].name} of {self.dataset.name} has a class {highest}; the "
                             f"table '{self.dataset.classes.name}' has {len(self.dataset.classes)} classes{hint}")
        if self._class_of is not None:
            table = np.full(256, VOID, np.uint8)
            table[:len(self._class_of)] = np.where(self._class_of < 0, VOID, self._class_of)
            class_map = table[class_map]
            instance_map = np.where(np.append(self.classes.thing_mask, [False] * 256)[class_map], instance_map, 0)
        return np.ascontiguousarray(image), class_map, instance_map


def _starts_of_clips(dataset: Dataset, length: int) -> list[int]:
    """Entries that have length - 1 others of their sequence behind them."""
    if length > 1 and Truth.TRACKS not in dataset.truth:
        raise InputError(f"{dataset.name} does not say which objects of one image are those of the next: clips need "
                         "ids that are constant over a sequence; train with clip_length: 1")
    starts = [entry for _, rows in dataset.sequences() for entry in rows[:max(len(rows) - length + 1, 0)]]
    if not starts:
        raise InputError(f"{dataset.name} has no sequence of {length} images: train with a smaller clip_length")
    return starts


class ResumableSampler(Sampler[int]):
    """Distributed sampler that starts at a step: sample indices of one of `processes`, `per_step` for each step."""

    def __init__(self, first_step: int, last_step: int, per_step: int, process: int = 0, processes: int = 1) -> None:
        self.steps, self.per_step, self.process, self.processes = (first_step, last_step), per_step, process, processes

    def __iter__(self) -> Iterator[int]:
        for step in range(*self.steps):
            first = (step * self.processes + self.process) * self.per_step
            yield from range(first, first + self.per_step)

    def __len__(self) -> int:
        return (self.steps[1] - self.steps[0]) * self.per_step


def sample_batches(samples: Samples, sampler: ResumableSampler, batch_size: int,
                   workers: int) -> Iterator[dict[str, Any]]:
    """The sampler's samples in batches, read and augmented by so many processes, which start at once.

    Raises InputError as the dataset does.
    """
    workers = usable_processes(workers, 0)
    return start(DataLoader(_SamplesOrErrors(samples), batch_size, sampler=sampler, num_workers=workers,
                            prefetch_factor=4 if workers else None, collate_fn=_batch,
                            pin_memory=torch.cuda.is_available()))


class _SamplesOrErrors(TorchDataset[Any]):
    """A sample, or the InputError that reading it raised."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, index: int) -> dict[str, Any] | InputError:
        try:
            return self._samples[index]
        except InputError as error:
            return InputError(str(error))  # not every kind of it survives the way from process to process


def _batch(samples: list[Any]) -> Any:
    return next((sample for sample in samples if isinstance(sample, InputError)), None) or collate(samples)
