"""Dense detections' latency at 1024 x 2048, decode and network: python -m benchmarks.decode_dense_detections [--quick]

The network is the paper's with ResNet-50 and random weights, in the engine that `auto` takes; what is decoded are ideal
outputs, made of the ground truth of a street with so many objects.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.command import latency_table, run_benchmark
from benchmarks.decode_latency import INSTANCES, decode_latency
from panoptic_ros.methods import dense_detections
from panoptic_ros.methods.dense_detections.boxes import grid, locations
from training.ground_truth import ground_truth_objects
from training.objectives.dense_detections import (
    Settings,
    assign,
    centerness,
    in_range,
    levelness_target,
    offsets_to,
    thing_index,
)

SIZE = (1024, 2048)


def street(count: int) -> tuple[Tensor, Tensor]:
    """Class and instance map (1, H, W) of a road below sky with this many things on a grid, that nearly touch."""
    class_map, instance_map = torch.zeros(1, *SIZE).long(), torch.zeros(1, *SIZE).long()
    class_map[:, :SIZE[0] // 4] = 10
    columns = int(np.ceil(np.sqrt(2 * count)))
    pitch = SIZE[1] // columns
    for n in range(count):
        y, x = n // columns * pitch, n % columns * pitch
        class_map[:, y:y + pitch - 8, x:x + pitch - 8] = 11 + n % 8
        instance_map[:, y:y + pitch - 8, x:x + pitch - 8] = n + 1
    return class_map, instance_map


def oracle_outputs(class_map: Tensor, instance_map: Tensor, is_thing: Tensor) -> dict[str, Tensor]:
    """Ideal network outputs for ground-truth maps (1, H, W): logits of +-6."""
    rows, columns = class_map.shape[1] // 8, class_map.shape[2] // 8
    location, level = locations(rows, columns, class_map.device)
    truth, ranges = ground_truth_objects(class_map, instance_map), Settings().regression_ranges
    assigned = assign(truth, location, class_map, is_thing, "masks").clamp(min=0)
    distance = offsets_to(truth.box[assigned], location)
    positive = (assigned > 0) & in_range(distance.amax(2), level, ranges)
    things = torch.arange(int(is_thing.sum()))[:, None]
    of_class = (thing_index(truth.class_id, is_thing)[assigned][:, None] == things) & positive[:, None]
    quarter = grid(2 * rows, 2 * columns, 4, class_map.device)
    level_target = levelness_target(assign(truth, quarter, class_map, is_thing, "masks"), truth, quarter, ranges)
    center = torch.where(positive, centerness(distance[0])[None].nan_to_num(), 0).clamp(0.01, 0.99)
    return {"semantic_logits": torch.where(torch.arange(len(is_thing))[:, None, None] == class_map[:, None, 4::8, 4::8],
                                           6.0, -6.0),
            "class_logits": torch.where(of_class, 6.0, -6.0),
            "offsets": torch.where(assigned[:, None] > 0, distance.transpose(1, 2), 1.0), "centerness": center.logit(),
            "levelness": torch.where(torch.arange(6)[:, None] == level_target[:, None], 6.0, -6.0).view(
                1, 6, 2 * rows, 2 * columns)}


def measure(quick: bool) -> dict[str, float]:
    """Milliseconds by name."""
    hyperparameters = dense_detections.Hyperparameters()
    return decode_latency(
        lambda is_thing: dense_detections.Network(hyperparameters, is_thing), SIZE, dense_detections.decode,
        dense_detections.Thresholds(max_instances=max(INSTANCES)),
        lambda count, things: oracle_outputs(*street(count), things), SIZE, "boxes", quick)


def table(result: dict[str, float]) -> str:
    """Latencies, and how decode grows with the boxes."""
    return latency_table(result, "10 boxes", "200 boxes")


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table)
