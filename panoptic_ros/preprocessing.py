"""Camera images -> the network's input: resized, normalised, red first; on the CPU or on the device."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.model import Model

# Which channels are red, green and blue in an encoding.
_RGB = {"rgb8": (0, 1, 2), "rgba8": (0, 1, 2), "bgr8": (2, 1, 0), "bgra8": (2, 1, 0), "mono8": (0, 0, 0)}


class Preprocessor:
    """Images of one size -> normalised float (B, 3, H, W) on one device, see `Model.input_shape`.

    On the CPU each pixel is read once after resizing and written once, through a table of the 256 values of each
    channel. On a CUDA device bytes are uploaded from pinned memory; resizing and normalisation are done there, and
    nothing waits for them.
    """

    def __init__(self, model: Model, device: torch.device) -> None:
        self._model, self._device = model, device
        levels = torch.arange(256, dtype=torch.uint8).view(1, 256, 1, 1).expand(-1, -1, -1, 3)
        self._tables = model.normalise(levels)[0, :, :, 0].contiguous().numpy()  # (3, 256)
        self._scale = torch.tensor([1 / (255 * s) for s in model.std], device=device).view(3, 1, 1)
        self._shift = torch.tensor([-m / s for m, s in zip(model.mean, model.std, strict=True)],
                                   device=device).view(3, 1, 1)

    def __call__(self, images: Sequence[CameraImage]) -> Tensor:
        shape = self._model.input_shape(images[0].height, images[0].width)
        return self._on_device(images, shape) if self._device.type == "cuda" else self._on_cpu(images, shape)

    def _on_cpu(self, images: Sequence[CameraImage], shape: tuple[int, int]) -> Tensor:
        batch = np.empty((len(images), 3, *shape), np.float32)
        for planes, image in zip(batch, images, strict=True):
            pixels = image.pixels
            channel_count = pixels.shape[2]
            if pixels.strides[1] != channel_count or (channel_count > 1 and pixels.strides[2] != 1):
                # OpenCV would make such a copy for every channel.
                pixels = np.ascontiguousarray(pixels)
            if pixels.shape[:2] != shape:
                interpolation = cv2.INTER_AREA if _shrinks(image, shape) else cv2.INTER_LINEAR
                pixels = cv2.resize(pixels, shape[::-1], interpolation=interpolation).reshape(*shape, -1)
            channels = {k: cv2.extractChannel(pixels, k) for k in set(_RGB[image.encoding])}
            for plane, channel, table in zip(planes, _RGB[image.encoding], self._tables, strict=True):
                cv2.LUT(channels[channel], table[None], plane)
        return torch.from_numpy(batch)

    def _on_device(self, images: Sequence[CameraImage], shape: tuple[int, int]) -> Tensor:
        planes = []
        for image in images:
            staged = torch.empty(image.pixels.shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
            staged.numpy()[...] = image.pixels
            pixels = staged.to(self._device, non_blocking=True)
            # Slices and flips alone: a list of indices would be uploaded, and waited for.
            pixels = pixels.expand(-1, -1, 3) if image.encoding == "mono8" else pixels[..., :3]
            planes.append((pixels.flip(2) if image.encoding.startswith("bgr") else pixels).permute(2, 0, 1))
        batch = torch.stack(planes).float()
        if batch.shape[2:] != shape:
            batch = F.interpolate(batch, shape, mode="area") if _shrinks(images[0], shape) else \
                F.interpolate(batch, shape, mode="bilinear", align_corners=False)
        return torch.addcmul(self._shift, batch, self._scale)


def _shrinks(image: CameraImage, shape: tuple[int, int]) -> bool:
    return shape[0] < image.height and shape[1] < image.width
