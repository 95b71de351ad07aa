"""Ground-truth objects of a batch's maps, for objectives that take them as the maps show them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.geometry.label_maps import measure_labels


class GroundTruth(NamedTuple):
    """The G ground-truth objects of a batch, numbered from 1; row 0 of all but `number` is background.

    number: (B, H, W) int64, 0 = none. box: (G + 1, 4) float, x1 and y1 exclusive. class_id, image: (G + 1,) int64.
    instance: (G + 1,) int64, its number in its image's instance_map.
    """

    number: Tensor
    box: Tensor
    class_id: Tensor
    image: Tensor
    instance: Tensor


def ground_truth_objects(class_map: Tensor, instance_map: Tensor) -> GroundTruth:
    """The objects of class and instance maps (B, H, W); ids of instances, 0 = none, are each image's own."""
    batch, height, width = instance_map.shape
    numbers = instance_map.amax() + 1
    first = (torch.arange(batch, device=instance_map.device) * numbers)[:, None, None]
    ids, number = torch.where(instance_map > 0, instance_map + first, 0).unique(return_inverse=True)
    if ids[0] > 0:  # no background
        ids, number = F.pad(ids, (1, 0)), number + 1
    count = int(number.amax()) + 1
    # One image below the other: no number is in two of them.
    _, box = measure_labels(number.view(batch * height, width), count)
    image = box[:, 1] // height
    box = box - (image * height)[:, None] * torch.tensor([0, 1, 0, 1], device=box.device)
    class_id = torch.zeros_like(image).scatter_(0, number.flatten(), class_map.flatten())
    return GroundTruth(number, box.float(), class_id, image, ids % numbers)
