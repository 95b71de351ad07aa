"""EINet's latency at 1024 x 2048, decode and network: python -m benchmarks.decode_einet [--quick]

The network is the paper's with ResNet-50 and random weights, in the engine that `auto` takes; what is decoded are ideal
outputs, made of the ground truth of a street with so many objects.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.command import latency_table, run_benchmark
from benchmarks.decode_dense_detections import SIZE, street
from benchmarks.decode_latency import decode_latency
from panoptic_ros.methods import einet
from training.objectives.einet import heatmap_target, instances_of


def oracle_outputs(class_map: Tensor, instance_map: Tensor, is_thing: Tensor, dimension: int) -> dict[str, Tensor]:
    """Ideal network outputs for ground-truth maps (1, H, W): logits of +-6, a random direction for each instance."""
    class_map, instance_map = class_map[:, 2::4, 2::4], instance_map[:, 2::4, 2::4]
    found = instances_of(class_map, instance_map)
    generator = torch.Generator().manual_seed(0)
    # Row -1: what is in no instance.
    direction = torch.randn(len(found.class_id) + 1, dimension, generator=generator)
    noise = 0.1 * torch.randn(class_map.numel(), dimension, generator=generator)
    embedding = (direction[found.of_cell] + noise).view(*class_map.shape, dimension).permute(0, 3, 1, 2).contiguous()
    return {"class_logits": 12 * F.one_hot(class_map, len(is_thing)).permute(0, 3, 1, 2).float().contiguous() - 6,
            "heatmap": heatmap_target(found, is_thing, tuple(class_map.shape)), "embedding": embedding,
            "class_center": F.normalize(torch.randn(len(is_thing), dimension, generator=generator), dim=1)}


def measure(quick: bool) -> dict[str, float]:
    """Milliseconds by name."""
    h = einet.Hyperparameters()
    return decode_latency(
        lambda is_thing: einet.Network(h, is_thing), SIZE, einet.decode, einet.Thresholds(),
        lambda count, things: oracle_outputs(*street(count), things, h.embedding_dimension), SIZE, "instances", quick)


def table(result: dict[str, float]) -> str:
    """Latencies, and how decode grows with the instances."""
    return latency_table(result, "10 instances", "200 instances")


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table)
