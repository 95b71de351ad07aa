"""What turns a dataset into training samples: a numbered, endless stream that is the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, default_collate
from torch.utils.data import Dataset as TorchDataset

from panoptic_ros.classes import ClassTable, class_mapping
from panoptic_ros.datasets.dataset import Dataset, Truth
from panoptic_ros.errors import InputError
from training.augmentation import Augmentation, as_sample
from training.image_maps import VOID, CachedMaps, Maps, instance_keys, read_maps
from training.reading import start


class Samples(TorchDataset[dict[str, Tensor]]):
    """Sample i is an augmented view of an image of a dataset; which one and how follow from the seed and i alone.

    A sample has image (3, h, w) uint8 red first, class_map (h, w) uint8 with 255 = void, instance_map (h, w) int32 with
    0 = no instance: stuff, void and crowds; and clip (), the number of the clip that it belongs to.

    With clips of n images sample i is image i % n of clip i // n: n consecutive images of a sequence in the same view,
    in which an object has the same number. Every clip there is, beginning at any image, is drawn once in each epoch, in
    another order; a clip of one is an image.
    """

    def __init__(self, dataset: Dataset, augmentation: Augmentation, seed: int = 0, classes: ClassTable | None = None,
                 cache: Path | None = None, clip_length: int = 1) -> None:
        """classes: table that labels are translated into. cache: folder that keeps what the dataset has made.

        Raises InputError where clips are wanted and the dataset does not know its objects from image to image.
        """
        self.dataset, self.seed, self.clip_length = dataset, seed, clip_length
        self._starts = _starts_of_clips(dataset, clip_length)
        self.transform = augmentation.transform()
        self.classes = classes or dataset.classes
        self._class_of = None if self.classes == dataset.classes else class_mapping(dataset.classes, self.classes)
        self._cached = None if cache is None else CachedMaps(dataset, cache)
        self._order: tuple[int, np.ndarray] | None = None
        self._view: tuple[int, dict[str, Tensor]] | None = None

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        clip, place = divmod(index, self.clip_length)
        if self._view is None or self._view[0] != clip:
            self._view = clip, self._view_of(clip)
        return {**{name: value[place] for name, value in self._view[1].items()}, "clip": torch.tensor(clip)}

    def _view_of(self, clip: int) -> dict[str, Tensor]:
        """The samples of a clip, one after the other in the first dimension."""
        cv2.setNumThreads(1)
        maps = self._clip_maps(self._start(clip))
        # The transforms draw from torch's own generator: seeded for each clip, and given back as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(np.random.SeedSequence((self.seed, clip)).generate_state(1, np.uint64)[0] >> 1)
            view: dict[str, Tensor] = self.transform(as_sample(*maps))
        return {name: value.as_subclass(Tensor) for name, value in view.items()}

    def _clip_maps(self, start: int) -> Maps:
        """The maps of the images of a clip, stacked; an object has the same number in all of them."""
        entries = range(start, start + self.clip_length)
        # Before the maps: a cache that has no keys makes both.
        keys = [self._keys(entry) for entry in entries] if self.clip_length > 1 else []
        images, class_maps, instance_maps = zip(*(self.maps(entry) for entry in entries), strict=True)
        if len({image.shape for image in images}) > 1:
            raise InputError(f"{self.dataset.entries[start].name} of {self.dataset.name} and the image after it are of "
                             "different sizes: a clip needs images of one size")
        if keys:
            known = np.unique(np.concatenate(keys))  # 0 first
            instance_maps = tuple(np.searchsorted(known, own).astype(np.int32)[instance_map]
                                  for own, instance_map in zip(keys, instance_maps, strict=True))
        return np.stack(images), np.stack(class_maps), np.stack(instance_maps)

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

    def _start(self, clip: int) -> int:
        """The entry that a clip begins with."""
        epoch, place = divmod(clip, len(self._starts))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self.seed, epoch)).permutation(self._starts)
        return int(self._order[1][place])


def _starts_of_clips(dataset: Dataset, length: int) -> list[int]:
    """Entries that have length - 1 others of their sequence behind them."""
    if length > 1 and Truth.TRACKS not in dataset.truth:
        raise InputError(f"{dataset.name} does not say which objects of one image are those of the next: clips need "
                         "ids that are constant over a sequence; train with clip_length: 1")
    starts = [entry for _, rows in dataset.sequences() for entry in rows[:max(len(rows) - length + 1, 0)]]
    if not starts:
        raise InputError(f"{dataset.name} has no sequence of {length} images: train with a smaller clip_length")
    return starts


class Numbers(Sampler[int]):
    """Sample numbers of one of `processes` from a step on: where a resumed run goes on."""

    def __init__(self, first_step: int, last_step: int, per_step: int, process: int = 0, processes: int = 1) -> None:
        self.steps, self.per_step, self.process, self.processes = (first_step, last_step), per_step, process, processes

    def __iter__(self) -> Iterator[int]:
        for step in range(*self.steps):
            first = (step * self.processes + self.process) * self.per_step
            yield from range(first, first + self.per_step)

    def __len__(self) -> int:
        return (self.steps[1] - self.steps[0]) * self.per_step


def sample_batches(samples: Samples, numbers: Numbers, batch_size: int, workers: int) -> Iterator[dict[str, Tensor]]:
    """The samples of these numbers in batches, read and augmented by so many processes, which start at once.

    Raises InputError as the dataset does.
    """
    return start(DataLoader(_SamplesOrErrors(samples), batch_size, sampler=numbers, num_workers=workers,
                            prefetch_factor=4 if workers else None, collate_fn=_batch,
                            pin_memory=torch.cuda.is_available()))


class _SamplesOrErrors(TorchDataset[Any]):
    """A sample, or the InputError that reading it raised."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, index: int) -> dict[str, Tensor] | InputError:
        try:
            return self._samples[index]
        except InputError as error:
            return InputError(str(error))  # not every kind of it survives the way from process to process


def _batch(samples: list[Any]) -> Any:
    return next((sample for sample in samples if isinstance(sample, InputError)), None) or default_collate(samples)
