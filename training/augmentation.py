"""Augmentation: random views of an image and its labels, as torchvision transforms; all chance is torch's generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from panoptic_ros.errors import InputError
from training.image_maps import VOID

_LOOK_EVERY = 4  # things are looked for at every fourth pixel


@dataclass(frozen=True)
class Augmentation:
    """What a training sample is made of.

    crop: (h, w) of a sample. longest_side: images are resized so that it has so many pixels, 0 = as they are.
    scale: range of a factor that they are resized by besides, log-uniform.
    around_things: share of crops that hold a thing, of a class drawn first; the others lie anywhere, around the middle
        of the image's height more often than not.
    flip: share that is mirrored. brightness, contrast, saturation: largest relative change. hue: largest turn, 0.5 is
        half the circle.
    """

    crop: tuple[int, int] = (512, 1024)
    longest_side: int = 0
    scale: tuple[float, float] = (0.7, 1.3)
    around_things: float = 0.5
    flip: float = 0.5
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.25
    hue: float = 0.02

    def __post_init__(self) -> None:
        if min(self.crop) < 32 or any(side % 32 for side in self.crop):
            raise InputError(f"crop is {self.crop[0]} x {self.crop[1]}; both sides must be multiples of 32")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"scale is {self.scale[0]} to {self.scale[1]}; it must be positive and rise")

    def transform(self) -> v2.Transform:
        """The transform of a sample: {"image", "class_map", "instance_map"} as tv_tensors, each of `crop` then.

        The images of a clip, a dimension in front of all three, get the same view.
        """
        return v2.Compose([
            ScaledCrop(self.crop, self.longest_side, self.scale, self.around_things),
            v2.RandomHorizontalFlip(self.flip),
            v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue),
        ])


class ScaledCrop(v2.Transform):
    """A window of a resized image; where it reaches beyond the image it is grey, and its labels are void.

    The window is cut out first and resized then: what is not seen is not computed.
    """

    def __init__(self, size: tuple[int, int], longest_side: int, scale: tuple[float, float],
                 around_things: float) -> None:
        super().__init__()
        self.size, self.longest_side, self.scale, self.around_things = size, longest_side, scale, around_things

    def forward(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        """image (..., 3, H, W), class_map (..., H, W), instance_map (..., H, W) -> the same at `size`."""
        height, width = sample["class_map"].shape[-2:]
        low, high = map(math.log, self.scale)
        scale = math.exp(_uniform(low, high)) * (self.longest_side / max(height, width) if self.longest_side else 1)
        # A window larger than the image in both directions would only be frame.
        scale = max(scale, min(self.size[0] / height, self.size[1] / width))
        window = tuple(round(side / scale) for side in self.size)
        top, left = self._corner(sample, window)
        box = [top, left, window[0], window[1], list(self.size)]
        known = F.crop(tv_tensors.Mask(torch.ones_like(sample["class_map"])), *box[:4])
        class_map, instance_map = (F.crop(sample[name], *box[:4]) for name in ("class_map", "instance_map"))
        class_map = tv_tensors.wrap(torch.where(known > 0, class_map, VOID).to(class_map.dtype), like=class_map)
        image = F.resized_crop(sample["image"], *box, interpolation=v2.InterpolationMode.BILINEAR, antialias=True)
        return {"image": image, "class_map": self._resized(class_map), "instance_map": self._resized(instance_map)}

    def _resized(self, label_map: Tensor) -> Tensor:
        rows, columns = (((torch.arange(n) + 0.5) * (m / n)).long() for n, m in zip(
            self.size, label_map.shape[-2:], strict=True))
        return tv_tensors.wrap(label_map[..., rows[:, None], columns], like=label_map)

    def _corner(self, sample: dict[str, Tensor], window: tuple[int, ...]) -> tuple[int, int]:
        shape = sample["class_map"].shape[-2:]
        spare = [side - part for side, part in zip(shape, window, strict=True)]
        place = _random_thing(sample) if _uniform(0, 1) < self.around_things else None
        if place is None:
            # The middle of the height, where the horizon is, shows most.
            wanted = [spare[0] * (_uniform(0, 1) + _uniform(0, 1)) / 2, spare[1] * _uniform(0, 1)]
        else:
            wanted = [position - part * _uniform(0.2, 0.8) for position, part in zip(place, window, strict=True)]
        top, left = (int(min(max(w, min(s, 0)), max(s, 0))) for w, s in zip(wanted, spare, strict=True))
        return top, left


def _random_thing(sample: dict[str, Tensor]) -> tuple[int, int] | None:
    """A pixel (row, column) of a random object of a random class, each as likely as any other; None without objects.

    In a clip it is a pixel that the object has in any of the images.
    """
    instance = sample["instance_map"][..., ::_LOOK_EVERY, ::_LOOK_EVERY].long()
    class_map = sample["class_map"][..., ::_LOOK_EVERY, ::_LOOK_EVERY].long()
    keys = (class_map << 32 | instance)[instance > 0].unique()
    if not len(keys):
        return None
    classes = keys >> 32
    chosen_class = _choice(classes.unique())
    key = _choice(keys[classes == chosen_class])
    *_, rows, columns = ((instance == key & 0xffffffff) & (class_map == chosen_class)).nonzero(as_tuple=True)
    pixel = int(torch.randint(len(rows), ()))
    return int(rows[pixel]) * _LOOK_EVERY, int(columns[pixel]) * _LOOK_EVERY


def _choice(values: Tensor) -> Tensor:
    return values[torch.randint(len(values), ())]


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def as_sample(image: Any, class_map: Any, instance_map: Any) -> dict[str, Tensor]:
    """NumPy image (..., H, W, 3) uint8, class_map (..., H, W) uint8, instance_map (..., H, W) integers -> a sample."""
    return {"image": tv_tensors.Image(torch.from_numpy(image).movedim(-1, -3)),
            "class_map": tv_tensors.Mask(torch.from_numpy(class_map)),
            "instance_map": tv_tensors.Mask(torch.from_numpy(instance_map))}
