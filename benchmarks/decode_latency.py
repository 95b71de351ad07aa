"""Latency of a method's network and decode by the number of instances, which the methods' benchmarks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pipeline import median_ms
from panoptic_ros.classes import load_class_table
from panoptic_ros.engines import build_engine
from panoptic_ros.methods import Decode

INSTANCES = (10, 100, 200)


def decode_latency(make_network: Callable[[Sequence[bool]], nn.Module], input_size: tuple[int, int], decode: Decode,
                   thresholds: Any, oracle_outputs: Callable[[int, Tensor], dict[str, Tensor]],
                   output_size: tuple[int, int], unit: str, quick: bool) -> dict[str, float]:
    """Milliseconds of the network, in the engine that `auto` takes, and of the decode of 10, 100 and 200 instances.

    make_network: of which classes are things, those of Cityscapes. oracle_outputs: of a number of instances and
    is_thing (C,): ideal outputs, on the CPU, in which the decode finds all of them. unit: what they are called.
    """
    repeats = 2 if quick else 10
    classes = load_class_table("cityscapes")
    engine = build_engine(make_network(classes.is_thing).eval())
    image = torch.zeros(1, 3, *input_size, device=engine.device)
    is_thing = torch.as_tensor(classes.thing_mask)
    things = is_thing.to(engine.device)
    torch.set_num_threads(1)  # as `Perception` decodes beside OpenVINO

    def run(outputs: dict[str, Tensor]) -> Tensor:
        return decode(outputs, things, thresholds, output_size).segment_map.cpu()  # a GPU has it done only then

    with torch.inference_mode():
        result = {"network": median_ms(lambda: engine(image), repeats)}
        for count in INSTANCES:
            outputs = {name: x.to(engine.device) for name, x in oracle_outputs(count, is_thing).items()}
            [found] = decode(outputs, things, thresholds, output_size).segments
            assert int(found.is_thing.sum()) == count
            result[f"decode of {count} {unit}"] = median_ms(lambda: run(outputs), repeats)  # noqa: B023
    return result
