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
from benchmarks.pipeline import median_ms
from panoptic_ros.classes import load_class_table
from panoptic_ros.engines import build_engine
from panoptic_ros.methods import all_scales
from training.ground_truth import ground_truth_objects

INSTANCES = (10, 100, 200)


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
    repeats = 2 if quick else 10
    classes = load_class_table("cityscapes")
    hyperparameters = all_scales.Hyperparameters("resnet50", concatenate=False)
    is_thing = torch.as_tensor(classes.thing_mask)
    engine = build_engine(all_scales.Network(hyperparameters, classes.is_thing).eval())
    image = torch.zeros(1, 3, *SIZE, device=engine.device)
    torch.set_num_threads(1)  # as `Perception` decodes beside OpenVINO
    with torch.inference_mode():
        result = {"network": median_ms(lambda: engine(image), repeats)}
        for count in INSTANCES:
            outputs = {name: x.to(engine.device) for name, x in oracle_outputs(*street(count), is_thing).items()}
            things = is_thing.to(engine.device)
            [found] = all_scales.decode(outputs, things, all_scales.Thresholds(), SIZE).segments
            assert int(found.is_thing.sum()) == count

            def decode(outputs: dict[str, Tensor] = outputs) -> Tensor:
                maps = all_scales.decode(outputs, things, all_scales.Thresholds(), SIZE).segment_map  # noqa: B023
                return maps.cpu()  # a GPU has it done only then

            result[f"decode of {count} instances"] = median_ms(decode, repeats)
    return result


if __name__ == "__main__":
    run_benchmark(__doc__, measure, lambda result: latency_table(result, "10 instances", "200 instances"))
