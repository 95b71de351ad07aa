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
THUMBNAIL = (96, 192)  # (H, W) of the view in which a thing is looked for
DRIVE_FRAMES = 300  # a drive's samples start anywhere in its first 30 s


class CitySamples(Dataset[dict[str, Tensor]]):
    """Sample i is a random crop of a random frame of a drive, rendered when it is asked for.

    A sample has image (3, h, w) uint8 red first, class_map (h, w) uint8 with 255 = void, instance_map (h, w) int32 with
    0 = no instance.
    """

    def __init__(self, crop: tuple[int, int], full_size: tuple[int, int], scale: tuple[float, float],
                 around_things: float) -> None:
        """crop: (h, w) of a sample. full_size: (H, W) of the view it is cropped from, times a random factor in `scale`
        (log-uniform, never smaller than the crop). around_things: share of crops that are centred on a thing."""
        self.crop, self.full_size, self.scale, self.around_things = crop, full_size, scale, around_things
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
        if self._drive is None or self._drive[0] != seed:
            self._drive = seed, CityDrive(seed)
        drive = self._drive[1]
        # The frames of a drive lie close together: a street that is built for one serves the others.
        start = int(np.random.default_rng((seed, 8)).integers(DRIVE_FRAMES))
        k = start + int(random.integers(FRAMES_PER_DRIVE * FRAMES_APART))
        x, y = (round(share * spare) for share, spare in zip(
            self._window(drive, k, random), (view.width - width, view.height - height), strict=True))
        drive.camera = view.crop(x, y, width, height)
        frame = drive.render(k)
        image, class_map, instance_map = frame.image, frame.class_map, frame.instance_map
        if random.random() < 0.5:
            image, class_map, instance_map = image[:, ::-1], class_map[:, ::-1], instance_map[:, ::-1]
        return {"image": torch.from_numpy(image.transpose(2, 0, 1).copy()),
                "class_map": torch.from_numpy(class_map.copy()),
                "instance_map": torch.from_numpy(instance_map.astype(np.int32))}

    def _window(self, drive: CityDrive, k: int, random: np.random.Generator) -> tuple[float, float]:
        """Where the crop lies between left and right and between top and bottom of the view, 0 to 1 each."""
        if random.random() < self.around_things:
            drive.camera = CityCamera.of_size(*THUMBNAIL)
            instance_map = drive.render(k).instance_map
            if (ids := np.unique(instance_map[instance_map > 0])).size:
                # The crops of the paper, "around thing classes" (section 4.2): each thing is as likely as any other.
                rows, columns = np.nonzero(instance_map == random.choice(ids))
                place = random.integers(len(rows))
                return (_centred((columns[place] + 0.5) / THUMBNAIL[1], random),
                        _centred((rows[place] + 0.5) / THUMBNAIL[0], random))
        # The middle of the view, where the horizon is, shows most.
        return float(random.random()), float(random.triangular(0, 0.5, 1))


def _centred(place: float, random: np.random.Generator) -> float:
    """Where a window of half the view lies so that its middle is about `place`, 0 to 1."""
    return float(np.clip(2 * place - 0.5 + random.uniform(-0.2, 0.2), 0, 1))


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
