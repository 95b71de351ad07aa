"""Centroid embedding's latency, decode and network: python -m benchmarks.decode_centroid_embedding [--quick]

Decode is of outputs of 448 x 896 for images of 1024 x 2048 with 160 x 320 candidates, as in the paper on Cityscapes:
noisy ideal ones, made of the ground truth of a street with so many objects. The network is that for small machines, on
EfficientNet-Lite0, at 896 x 1792 with random weights, in the engine that `auto` takes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.command import latency_table, run_benchmark
from benchmarks.decode_dense_detections import SIZE, street
from benchmarks.decode_latency import decode_latency
from panoptic_ros.methods import centroid_embedding
from panoptic_ros.methods.centroid_embedding.network import code_of_cells
from panoptic_ros.methods.centroid_embedding.positions import positional_embedding
from training.objectives.centroid_embedding import centroids_of

INPUT_SIZE, OUTPUT_SIZE = (896, 1792), (448, 896)
NOISE = 0.1  # standard deviation of each number of an embedding
HYPERPARAMETERS = centroid_embedding.Hyperparameters("tf_efficientnet_lite0", grid=(160, 320), max_depth=80.0)
# Masks as narrow as a cell of COCO's 80 x 80: objects of a street are near to each other.
THRESHOLDS = centroid_embedding.Thresholds(distance=3.0, max_instances=300)


def oracle_outputs(class_map: Tensor, instance_map: Tensor, classes: int) -> dict[str, Tensor]:
    """Ideal network outputs for ground-truth maps (1, H, W), but for noise in the embeddings: logits of +-6."""
    class_map, instance_map = (F.interpolate(values[:, None].float(), OUTPUT_SIZE, mode="nearest-exact")[:, 0].long()
                               for values in (class_map, instance_map))
    h, generator = HYPERPARAMETERS, torch.Generator().manual_seed(0)
    centroids = centroids_of(class_map, instance_map)
    code = F.pad(positional_embedding(centroids.position, h.harmonics).flatten(1), (0, 0, 1, 0))
    embedding = code[centroids.number].permute(0, 3, 1, 2)
    embedding = embedding + NOISE * torch.randn(embedding.shape, generator=generator)
    return {"class_logits": 12 * F.one_hot(class_map, classes).permute(0, 3, 1, 2).float().contiguous() - 6,
            "centroid": embedding.contiguous(), "depth": torch.full((1, 1, *OUTPUT_SIZE), 20.0),
            "row_code": code_of_cells(h.encoding, h.harmonics, h.grid[0]),
            "column_code": code_of_cells(h.encoding, h.harmonics, h.grid[1])}


def measure(quick: bool) -> dict[str, float]:
    """Milliseconds by name."""
    return decode_latency(
        lambda is_thing: centroid_embedding.Network(HYPERPARAMETERS, is_thing), INPUT_SIZE, centroid_embedding.decode,
        THRESHOLDS, lambda count, things: oracle_outputs(*street(count), len(things)), SIZE, "instances", quick)


def table(result: dict[str, float]) -> str:
    """Latencies, and how decode grows with the instances."""
    return latency_table(result, "10 instances", "200 instances")


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table)
