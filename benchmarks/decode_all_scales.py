"""The two-stage network's latency at 1024 x 2048, fusion and network: python -m benchmarks.decode_all_scales [--quick]

The network is that of Cityscapes with ResNet-50 in place of HRNet and random weights, in the engine that `auto` takes;
what is decoded are ideal outputs, made of the ground truth of a street with so many objects.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.command import latency_table, run_benchmark
from benchmarks.decode_dense_detections import SIZE, street
from benchmarks.decode_latency import decode_latency
from panoptic_ros.methods import all_scales
from training.ground_truth import ground_truth_objects


def oracle_outputs(class_map: Tensor, instance_map: Tensor, is_thing: Tensor) -> dict[str, Tensor]:
    """Ideal network outputs for ground-truth maps (1, H, W): logits of +-6, a detection for each instance."""
    truth = ground_truth_objects(class_map, instance_map)
    classes = F.one_hot(class_map[:, 2::4, 2::4], len(is_thing)).permute(0, 3, 1, 2).float()
    count = len(truth.class_id) - 1
    return {"semantic_logits": (12 * classes - 6).contiguous(), "box": truth.box[None, 1:],
            "thing": (is_thing.cumsum(0) - 1)[truth.class_id[1:]][None].float(), "score": torch.full((1, count), 0.9),
            "mask_logits": torch.full((1, count, 28, 28), 6.0)}


def measure(quick: bool) -> dict[str, float]:
    """Milliseconds by name."""
    hyperparameters = all_scales.Hyperparameters("resnet50", concatenate=False)
    return decode_latency(lambda is_thing: all_scales.Network(hyperparameters, is_thing), SIZE, all_scales.decode,
                          all_scales.Thresholds(), lambda count, things: oracle_outputs(*street(count), things), SIZE,
                          "instances", quick)


if __name__ == "__main__":
    run_benchmark(__doc__, measure, lambda result: latency_table(result, "10 instances", "200 instances"))
