"""Augmentation of training samples: scale, crop, flip and colour jitter; all randomness is torch's generator's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from panoptic_ros.classes import VOID
from panoptic_ros.errors import InputError

from .batches import Objects
from .fourier import FourierAmplitude
from .image_maps import instances_of

_SEARCH_STRIDE = 4  # of the pixels among which a thing to crop around is searched
GREY = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Augmentation:
    """Settings of scaling, cropping, flipping and colour jitter.

    crop: (h, w) of a sample. longest_side, shortest_side: images are resized so that it has so many pixels, 0 = as they
        are; at most one of them is given.
    scale: range of a factor by which they are resized besides, log-uniform. A crop that is larger than the image is
        padded with the mean colour, and void.
    around_things: probability that a crop contains a thing, of a class drawn first; other crops lie anywhere, more
        often around half the image's height. For the sampling policy `uniform`; other policies choose the crop's focus.
    flip: probability of a horizontal flip. brightness, contrast, saturation, hue: of torchvision's ColorJitter.
    blur: probability of a Gaussian blur. clahe: probability of contrast-limited adaptive histogram equalisation.
    fourier_images: folder of unlabelled images or videos; where it is given, fourier_share of the samples take the
        amplitudes of frequencies up to fourier_reach, in cycles per pixel, from one of them.
    """

    crop: tuple[int, int] = (512, 1024)
    longest_side: int = 0
    shortest_side: int = 0
    scale: tuple[float, float] = (0.7, 1.3)
    around_things: float = 0.5
    flip: float = 0.5
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.25
    hue: float = 0.02
    blur: float = 0.0
    clahe: float = 0.0
    fourier_images: str = ""
    fourier_share: float = 0.5
    fourier_reach: float = 0.01

    def __post_init__(self) -> None:
        if min(self.crop) < 32:
            raise InputError(f"crop is {self.crop[0]} x {self.crop[1]}; both sides must be at least 32")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"scale is {self.scale[0]} to {self.scale[1]}; it must be positive and rise")
        if self.longest_side and self.shortest_side:
            raise InputError("images are resized by their longest_side or by their shortest_side, not by both")

    def base_scale(self, height: int, width: int) -> float:
        """The factor that an image is resized by before `scale`."""
        if self.longest_side:
            return self.longest_side / max(height, width)
        return self.shortest_side / min(height, width) if self.shortest_side else 1.0

    def transform(self, fill: tuple[float, float, float] = GREY) -> v2.Transform:
        """The transform of a sample (see `as_sample`); all images of a clip get the same crop, flip and colours.

        fill: padding colour, RGB, 0 to 1: the mean that the network's input is normalised by.
        """
        fourier = [FourierAmplitude(Path(self.fourier_images), self.fourier_share, self.fourier_reach)
                   ] if self.fourier_images else []
        return v2.Compose([
            ScaledCrop(self, fill),
            RandomHorizontalFlip(self.flip),
            *fourier,
            v2.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue),
            # None where not asked for: that would draw random numbers, and so change the samples of other recipes.
            *([v2.RandomApply([v2.GaussianBlur(5, (0.1, 2.0))], self.blur)] if self.blur else []),
            *([v2.RandomApply([EqualisedContrast()], self.clahe)] if self.clahe else []),
        ])


@dataclass(frozen=True)
class Focus:
    """The class or instance that a crop must contain.

    class_id: at least a pixel of this class. number: and of this instance, 0 = of any. scale: the factor, besides the
    base scale, by which the image is resized; None: drawn from the augmentation's range.
    """

    class_id: int
    number: int = 0
    scale: float | None = None


class ScaledCrop(v2.Transform):
    """A window of a resized image, padded where it reaches beyond the image.

    The window is cut out first and resized then, so that nothing outside of it is computed.
    """

    def __init__(self, augmentation: Augmentation, fill: tuple[float, float, float]) -> None:
        super().__init__()
        self.augmentation = augmentation
        self.size = augmentation.crop
        self._fill = torch.tensor([round(255 * value) for value in fill], dtype=torch.uint8).view(3, 1, 1)

    def forward(self, sample: dict[str, Any]) -> dict[str, Any]:
        """A sample (n, ...) of n images of any size -> the same at `size`, without its `focus`."""
        focus: Focus | None = sample["focus"]
        height, width = sample["class_map"].shape[-2:]
        factor = focus.scale if focus and focus.scale else math.exp(_uniform(*map(math.log, self.augmentation.scale)))
        # The crop shows at least two pixels of the image, however small it is.
        scale = max(factor * self.augmentation.base_scale(height, width), 2 / min(height, width))
        window = tuple(max(1, round(side / scale)) for side in self.size)
        top, left = self._corner(sample, window, focus)
        # Source row and column of each of the sample's; what lies beyond the image is none.
        row, column = (((torch.arange(n) + 0.5) * (part / n)).long() + first
                       for n, part, first in zip(self.size, window, (top, left), strict=True))
        inside_rows, inside_columns = (row >= 0) & (row < height), (column >= 0) & (column < width)
        inside = inside_rows[:, None] & inside_columns

        def cut(values: Tensor, beyond: int) -> Tensor:
            part = values[..., row.clamp(0, height - 1)[:, None], column.clamp(0, width - 1)]
            return tv_tensors.wrap(torch.where(inside, part, beyond).to(values.dtype), like=values)

        image = self._fill.expand(len(sample["image"]), -1, *self.size).clone()
        y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + window[0], height), min(left + window[1], width)
        image[..., inside] = F.resized_crop(
            sample["image"], y0, x0, y1 - y0, x1 - x0, [int(inside_rows.sum()), int(inside_columns.sum())],
            interpolation=v2.InterpolationMode.BILINEAR, antialias=True).flatten(2)
        result = {"image": tv_tensors.wrap(image, like=sample["image"]), "class_map": cut(sample["class_map"], VOID),
                  "instance_map": cut(sample["instance_map"], 0)}
        stretch = torch.tensor([self.size[1] / window[1], self.size[0] / window[0]])
        result["objects"] = [
            _objects_in_crop(objects, instance_map, (left, top), stretch, self.size)
            for objects, instance_map in zip(sample["objects"], result["instance_map"], strict=True)]
        if "depth" in sample:
            result["depth"] = cut(sample["depth"], 0)
            result["focal_length"] = sample["focal_length"] * float(stretch[1])
        return result

    def _corner(self, sample: dict[str, Any], window: tuple[int, ...], focus: Focus | None) -> tuple[int, int]:
        shape = sample["class_map"].shape[-2:]
        spare = [side - part for side, part in zip(shape, window, strict=True)]
        if focus is not None:
            pixel: tuple[int, int] | None = _pixel_of(sample, focus)
        else:
            pixel = _random_thing(sample) if _uniform(0, 1) < self.augmentation.around_things else None
        if pixel is None:
            # Half the height, where the horizon is, shows most.
            target = [spare[0] * (_uniform(0, 1) + _uniform(0, 1)) / 2, spare[1] * _uniform(0, 1)]
        else:
            target = [position - part * _uniform(0.2, 0.8) for position, part in zip(pixel, window, strict=True)]
        top, left = (int(min(max(t, min(s, 0)), max(s, 0))) for t, s in zip(target, spare, strict=True))
        return top, left


class RandomHorizontalFlip(v2.Transform):
    """Horizontal flip of images, maps and boxes with a probability."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, sample: dict[str, Any]) -> dict[str, Any]:
        """A sample as `ScaledCrop` leaves it."""
        if _uniform(0, 1) >= self.probability:
            return sample
        width = sample["class_map"].shape[-1]
        maps = {name: tv_tensors.wrap(value.flip(-1), like=value) for name, value in sample.items()
                if name in ("image", "class_map", "instance_map", "depth")}
        sign, shift, order = torch.tensor([-1, 1, -1, 1]), torch.tensor([width, 0, width, 0]), [2, 1, 0, 3]
        return {**sample, **maps, "objects": [
            one._replace(box=one.box[:, order] * sign + shift, cut=one.cut[:, order]) for one in sample["objects"]]}


class EqualisedContrast(v2.Transform):
    """Contrast-limited adaptive histogram equalisation (CLAHE) of the lightness: clip limit 2, 8 x 8 tiles."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """An image (..., 3, h, w) uint8; all else is left as it is."""
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        equalise = cv2.createCLAHE(2.0, (8, 8))
        result = []
        for image in inpt.flatten(0, -4).movedim(-3, -1).numpy():
            lab = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB)
            lab[..., 0] = equalise.apply(lab[..., 0])
            result.append(torch.from_numpy(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)).movedim(-1, 0))
        return tv_tensors.wrap(torch.stack(result).view(inpt.shape), like=inpt)


def as_sample(image: np.ndarray, class_map: np.ndarray, instance_map: np.ndarray, depth: np.ndarray | None = None,
              focal_length: np.ndarray | None = None, focus: Focus | None = None) -> dict[str, Any]:
    """The transform's input for the n images of a clip.

    image: (n, H, W, 3) uint8. class_map: (n, H, W) uint8. instance_map: (n, H, W) integers. depth: (n, H, W) metres, 0
    or not finite = invalid, with focal_length (n,) in pixels, 0 = unknown.
    """
    sample: dict[str, Any] = {"image": tv_tensors.Image(torch.from_numpy(image).movedim(-1, -3)),
                              "class_map": tv_tensors.Mask(torch.from_numpy(class_map)),
                              "instance_map": tv_tensors.Mask(torch.from_numpy(instance_map)), "focus": focus}
    sample["objects"] = [_whole_objects(*maps) for maps in zip(class_map, instance_map, strict=True)]
    if depth is not None:
        valid = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
        sample["depth"] = tv_tensors.Mask(torch.from_numpy(valid))
        sample["focal_length"] = torch.as_tensor(focal_length, dtype=torch.float32)
    return sample


def _whole_objects(class_map: np.ndarray, instance_map: np.ndarray) -> Objects:
    number, class_id, box = (torch.from_numpy(column) for column in instances_of(class_map, instance_map))
    cut = torch.zeros(len(number), 4, dtype=torch.bool)
    return Objects(torch.zeros_like(number), number, class_id, box.float(), cut)


def _objects_in_crop(objects: Objects, instance_map: Tensor, corner: tuple[int, int], stretch: Tensor,
                     size: tuple[int, int]) -> Objects:
    """The objects with a pixel in the crop; corner: x, y of the window; stretch: crop size / window size."""
    visible = torch.isin(objects.number, instance_map.as_subclass(Tensor).unique().long())
    image, number, class_id, box, _ = (column[visible] for column in objects)
    box = (box - torch.tensor(corner * 2)) * stretch.repeat(2)
    limit = torch.tensor([0.0, 0.0, size[1], size[0]])
    return Objects(image, number, class_id, box, torch.cat([box[:, :2] < limit[:2], box[:, 2:] > limit[2:]], 1))


def _random_thing(sample: dict[str, Any]) -> tuple[int, int] | None:
    """A pixel (row, column) of a random object of a random class, each as likely as any other; None without objects.

    In a clip it is a pixel that the object has in any of the images.
    """
    instance = sample["instance_map"][..., ::_SEARCH_STRIDE, ::_SEARCH_STRIDE].long()
    class_map = sample["class_map"][..., ::_SEARCH_STRIDE, ::_SEARCH_STRIDE].long()
    keys = (class_map << 32 | instance)[instance > 0].unique()
    if not len(keys):
        return None
    classes = keys >> 32
    chosen_class = _choice(classes.unique())
    key = _choice(keys[classes == chosen_class])
    row, column = _random_pixel((instance == key & 0xffffffff) & (class_map == chosen_class))
    return row * _SEARCH_STRIDE, column * _SEARCH_STRIDE


def _pixel_of(sample: dict[str, Any], focus: Focus) -> tuple[int, int]:
    """A random pixel (row, column) of the focus. Raises InputError where none of the images has one."""
    of_class = sample["class_map"] == focus.class_id
    found = of_class & (sample["instance_map"] == focus.number) if focus.number else of_class
    if not bool(found.any()):
        raise InputError(f"an image does not show the class {focus.class_id}, or its instance {focus.number}, that the "
                         "statistics of the data say it shows: the labels were changed since; delete the statistics")
    return _random_pixel(found)


def _random_pixel(mask: Tensor) -> tuple[int, int]:
    *_, rows, columns = mask.as_subclass(Tensor).nonzero(as_tuple=True)
    pixel = int(torch.randint(len(rows), ()))
    return int(rows[pixel]), int(columns[pixel])


def _choice(values: Tensor) -> Tensor:
    return values[torch.randint(len(values), ())]


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
