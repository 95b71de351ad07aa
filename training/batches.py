"""A batch: the dict of tensors that an objective takes, and how samples are collated to it.

A dict of
    image         (B, 3, h, w) uint8, red first
    class_map     (B, h, w) uint8, 255 = void
    instance_map  (B, h, w) int32, 0 = no instance: stuff, void and crowds
    clip          (B,) int64: images of one clip follow each other and have the same number for the same object
    objects       `Objects`, of all images
and, where the objective uses depth,
    depth         (B, h, w) float32 metres, 0 = invalid
    focal_length  (B,) float32, pixels of the crop, 0 = unknown
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate


class Objects(NamedTuple):
    """The G ground-truth instances in the crops of a batch.

    image: (G,) int64, index into the batch. number: (G,) int64, in its instance_map. class_id: (G,) int64.
    box: (G, 4) float32 x0, y0, x1, y1 of the *whole* object in the crop's pixels, x1 and y1 exclusive; may lie outside.
    cut: (G, 4) bool, which of these sides the crop has truncated; the border of the image itself truncates nothing.
    """

    image: Tensor
    number: Tensor
    class_id: Tensor
    box: Tensor
    cut: Tensor


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate samples: objects are concatenated, image after image, all else is stacked."""
    objects = [sample["objects"] for sample in samples]
    batch = default_collate([{name: value for name, value in sample.items() if name != "objects"}
                             for sample in samples])
    counts = torch.tensor([len(one.number) for one in objects])
    merged = Objects(*(torch.cat(columns) for columns in zip(*objects, strict=True)))
    return {**batch, "objects": merged._replace(image=torch.arange(len(samples)).repeat_interleave(counts))}
