"""Latency of universal's decode at 1024 x 2048: python -m benchmarks.decode_universal [--quick]

What is decoded are ideal outputs of 200 queries, made of the ground truth of a street with so many objects.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.command import run_benchmark
from benchmarks.decode_dense_detections import SIZE, street
from benchmarks.pipeline import median_ms
from panoptic_ros.classes import load_class_table
from panoptic_ros.methods import universal
from training.objectives.universal import mask_targets

INSTANCES = (10, 100, 200)
QUERIES = 240


def oracle_outputs(class_map: Tensor, instance_map: Tensor, is_thing: Tensor) -> dict[str, Tensor]:
    """Ideal network outputs for ground-truth maps (1, H, W): logits of +-6."""
    [masks], [classes] = mask_targets(class_map[:, 2::4, 2::4], instance_map[:, 2::4, 2::4], is_thing)
    generator = torch.Generator().manual_seed(0)
    class_logits = torch.full((1, QUERIES, len(is_thing) + 1), -6.0)
    class_logits[0, :, -1] = 6
    rows = torch.arange(len(classes))
    class_logits[0, rows, -1] = -6
    class_logits[0, rows, classes] = 6
    mask_logits = torch.full((1, QUERIES, *masks.shape[1:]), -6.0)
    mask_logits[0, :len(masks)] = 12 * masks - 6
    return {"class_logits": class_logits, "mask_logits": mask_logits,
            "query_embedding": torch.randn(1, QUERIES, 256, generator=generator)}


def measure(quick: bool) -> dict[str, float]:
    """Milliseconds by name."""
    repeats = 2 if quick else 10
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    is_thing = torch.as_tensor(load_class_table("cityscapes").thing_mask)
    torch.set_num_threads(1)  # as `Perception` decodes beside OpenVINO
    result = {}
    with torch.inference_mode():
        for full in (False, True):
            settings = universal.Thresholds(rule="oneformer", full_resolution=full)
            for count in INSTANCES:
                outputs = {name: x.to(device) for name, x in oracle_outputs(*street(count), is_thing).items()}
                [found] = universal.decode(outputs, is_thing.to(device), settings, SIZE).segments
                assert int(found.is_thing.sum()) > 0.9 * count

                def decode(outputs: dict[str, Tensor] = outputs) -> Tensor:
                    things = is_thing.to(device)
                    return universal.decode(outputs, things, settings, SIZE).segment_map.cpu()  # noqa: B023

                kind = "full resolution, " if full else ""
                result[f"{kind}decode of {count} instances"] = median_ms(decode, repeats)
    return result


def table(result: dict[str, float]) -> str:
    """Latencies, and how the decode grows with the instances; at full resolution it has no budget."""
    lines = [f"{name:<38} {value:8.1f} ms" for name, value in result.items()]
    growth = result["decode of 200 instances"] / result["decode of 10 instances"]
    return "\n".join([*lines, f"{'decode, 200 : 10 instances':<38} {growth:8.2f}     (budget 1.5)"])


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table)
