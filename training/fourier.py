"""Fourier amplitude augmentation: images take on colours and haze of unlabelled ones (Yang and Soatto, 2020)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from panoptic_ros.errors import InputError

_IMAGES, _VIDEOS = {".jpg", ".jpeg", ".png"}, {".mp4", ".avi", ".mov"}
_FRAMES = 16  # of a video, evenly spaced


class FourierAmplitude(v2.Transform):
    """Moves the lowest frequencies' amplitudes of a sample's images towards those of an unlabelled image.

    Phases, and with them all edges, stay, so labels do.
    """

    def __init__(self, folder: Path, share: float, reach: float) -> None:
        """folder: images and videos to take amplitudes from. share: of samples that are changed.

        reach: highest frequency that is, in cycles per pixel. Raises InputError where the folder has no such files.
        """
        super().__init__()
        self._files = sorted(f for f in folder.glob("*") if f.suffix.lower() in _IMAGES | _VIDEOS)
        if not self._files:
            raise InputError(f"augmentation.fourier_images: {folder} has no images (.jpg, .png) and no videos (.mp4)")
        self.share, self.reach = share, reach

    def __getstate__(self) -> dict[str, Any]:
        # A process that makes samples reads the images itself.
        return {name: value for name, value in super().__getstate__().items() if name != "_pictures"}

    @cached_property
    def _pictures(self) -> list[np.ndarray]:
        """(H, W, 3) uint8, red, green, blue, each at most 512 pixels wide."""
        return [picture for file in self._files for picture in _read(file)]

    def forward(self, sample: dict[str, Any]) -> dict[str, Any]:
        """A sample with its `image` (n, 3, h, w) uint8 changed; all images of a clip take from the same one."""
        if float(torch.rand(())) >= self.share:
            return sample
        image = sample["image"]
        picture = self._pictures[int(torch.randint(len(self._pictures), ()))]
        reference = torch.from_numpy(cv2.resize(picture, image.shape[:-3:-1])).movedim(-1, 0)
        changed = blend_amplitudes(image.as_subclass(Tensor).float(), reference.float(), self.reach,
                                   float(torch.rand(())))
        return {**sample, "image": tv_tensors.wrap(changed.round().clamp(0, 255).to(torch.uint8), like=image)}


def blend_amplitudes(image: Tensor, reference: Tensor, reach: float, weight: float) -> Tensor:
    """Images (n, 3, h, w) with amplitudes of frequencies up to `reach` moved towards those of a reference (3, h, w).

    reach: cycles per pixel along each axis; 0 changes the mean alone. weight: 0 = the image's own, 1 = the reference's.
    """
    height, width = image.shape[-2:]
    spectrum, other = torch.fft.rfft2(image), torch.fft.rfft2(reference)
    low = (torch.fft.fftfreq(height).abs()[:, None] <= reach) & (torch.fft.rfftfreq(width) <= reach)
    amplitude = torch.lerp(spectrum.abs(), other.abs().expand_as(spectrum), weight * low)
    return torch.fft.irfft2(torch.polar(amplitude, spectrum.angle()), s=(height, width))


def _read(file: Path) -> list[np.ndarray]:
    if file.suffix.lower() in _IMAGES:
        frames = [cv2.imread(str(file), cv2.IMREAD_COLOR)]
    else:
        video = cv2.VideoCapture(str(file))
        step = max(1, int(video.get(cv2.CAP_PROP_FRAME_COUNT)) // _FRAMES)
        frames = []
        while len(frames) < _FRAMES and video.grab():
            frames.append(video.retrieve()[1])
            for _ in range(step - 1):
                video.grab()
        video.release()
    pictures: list[np.ndarray] = [cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in frames if frame is not None]
    if not pictures:
        raise InputError(f"{file} cannot be read as an image or a video: take it out of augmentation.fourier_images")
    shrink = max(1.0, pictures[0].shape[1] / 512)
    size = round(pictures[0].shape[1] / shrink), max(1, round(pictures[0].shape[0] / shrink))
    return [np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)) for picture in pictures]
