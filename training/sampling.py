"""What turns the synthetic city into training samples: a numbered, endless stream that is the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from panoptic_ros.synthetic_city import CityCamera, CityDrive

# Seeds of drives from here on are for training; tests, demos and scores use smaller ones.
FIRST_TRAINING_SEED = 1_000_000
FRAMES_PER_DRIVE = 4
FRAMES_APART = 10  # on average, at 10 Hz
DRIVE_FRAMES = 300  # a drive's samples start anywhere in its first 30 s


class CitySamples(Dataset[dict[str, Tensor]]):
    """Sample i is a random crop of a random frame of a drive, rendered when it is asked for.

    A sample has image (3, h, w) uint8 red first, class_map (h, w) uint8 with 255 = void, instance_map (h, w) int32 with
    0 = no instance.
    """

    def __init__(self, crop: tuple[int, int], full_size: tuple[int, int], scale: tuple[float, float]) -> None:
        """crop: (h, w) of a sample. full_size: (H, W) of the view it is cropped from, times a random factor in `scale`
        (log-uniform, never smaller than the crop)."""
        self.crop, self.full_size, self.scale = crop, full_size, scale
        self._drive: tuple[int, CityDrive] | None = None

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        cv2.setNumThreads(1)
        random = np.random.default_rng((index, 7))
        seed = FIRST_TRAINING_SEED + index // FRAMES_PER_DRIVE
        height, width = self.crop
        scale = np.exp(random.uniform(*np.log(self.scale)))
        scale = max(scale, height / self.full_size[0], width / self.full_size[1])
        view = CityCamera.of_size(round(self.full_size[0] * scale), round(self.full_size[1] * scale))
        # Windows around the horizon show most; a triangular draw prefers the middle of the view.
        x = int(random.integers(view.width - width + 1))
        spare = view.height - height
        y = round(random.triangular(0, spare / 2, spare)) if spare else 0
        if self._drive is None or self._drive[0] != seed:
            self._drive = seed, CityDrive(seed)
        drive = self._drive[1]
        drive.camera = view.crop(x, y, width, height)
        # The frames of a drive lie close together: a street that is built for one serves the others.
        start = int(np.random.default_rng((seed, 8)).integers(DRIVE_FRAMES))
        frame = drive.render(start + int(random.integers(FRAMES_PER_DRIVE * FRAMES_APART)))
        image, class_map, instance_map = frame.image, frame.class_map, frame.instance_map
        if random.random() < 0.5:
            image, class_map, instance_map = image[:, ::-1], class_map[:, ::-1], instance_map[:, ::-1]
        return {"image": torch.from_numpy(image.transpose(2, 0, 1).copy()),
                "class_map": torch.from_numpy(class_map.copy()),
                "instance_map": torch.from_numpy(instance_map.astype(np.int32))}


class Numbers(Sampler[int]):
    """The sample numbers first, first + 1, ... before last: where a resumed run goes on."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last))

    def __len__(self) -> int:
        return self.last - self.first


def city_batches(samples: CitySamples, batch_size: int, first_step: int, last_step: int,
                 workers: int) -> DataLoader[dict[str, Tensor]]:
    """The batches of the steps first_step .. last_step - 1."""
    numbers = Numbers(first_step * batch_size, last_step * batch_size)
    return DataLoader(samples, batch_size, sampler=numbers, num_workers=workers,
                      prefetch_factor=4 if workers else None, persistent_workers=bool(workers))
