"""From image to panoptic result, ours beside peers in one run: python -m benchmarks.peers [--quick] [--json FILE]

Same machine, image (512 x 1024 by default) and cores; each round times everybody once, so that a busy machine slows all
alike, and medians are compared. Networks have random weights, as the time does not depend on them. Post-processing does
depend on what is found: it gets made-up outputs with OBJECTS objects, of which each finds all. Peers run as their
libraries do, in torch in single precision and with their own pre- and post-processing:

- Mask2Former with ResNet-50 and EoMT-S, from transformers (EoMT on its square of 640 x 640, padded)
- Mask R-CNN with ResNet-50, from torchvision: instances alone, no stuff
- YOLO11n-seg, instances alone, with --yolo 1 where the package ultralytics (AGPL, no dependency of ours) is installed

Ours are the shipped models in the engine that `auto` takes, and in torch in single precision as the others. Bars are
written to out/peers.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.command import run_benchmark
from benchmarks.pipeline import hle_scene
from benchmarks.plots import bar_plot
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.methods import hle
from panoptic_ros.perception import Perception, preprocess
from panoptic_ros.synthetic_city import CityCamera, CityDrive

OUT = Path(__file__).parents[1] / "out" / "peers"
OBJECTS = 30
CLASSES = 19  # those of Cityscapes
STAGES = ("preprocess", "network", "post-processing")


class Peer(NamedTuple):
    """Its stages: image (H, W, 3) -> network's input -> outputs; post-processing has made-up outputs of its own."""

    preprocess: Callable[[np.ndarray], Any]
    network: Callable[[Any], Any]
    post_process: Callable[[], int]  # returns how many objects it found


def ours(model: str, engine: str, precision: str, size: tuple[int, int]) -> Peer:
    """A shipped model; HLE's decode, whose made-up outputs the benchmarks have."""
    perception = Perception(model, engine, "auto", precision)
    device = perception.engine.device
    scene = {name: value.to(device) for name, value in hle_scene(OBJECTS, size[0] // 4, size[1] // 4).items()}
    is_thing = torch.as_tensor(load_class_table("cityscapes").thing_mask).to(device)

    def post_process() -> int:
        found = hle.decode(scene, is_thing, hle.Thresholds(), size)
        found.segment_map.cpu()
        return int(found.segments[0].is_thing.sum())

    return Peer(lambda image: preprocess(perception.model, [CameraImage(image)], device), perception.engine,
                post_process)


def query_outputs(queries: int, height: int, width: int) -> SimpleNamespace:
    """Outputs of a mask transformer: OBJECTS sure queries, each a box of its own, the others nothing."""
    logits = torch.full((1, queries, CLASSES + 1), -4.0)
    logits[..., -1] = 4.0
    masks = torch.full((1, queries, height, width), -6.0)
    columns = int(np.ceil(np.sqrt(2 * OBJECTS)))
    pitch = width // columns
    for n in range(OBJECTS):
        y, x = n // columns * pitch, n % columns * pitch
        logits[0, n, 11 + n % 8], logits[0, n, -1] = 6.0, -6.0
        masks[0, n, y:y + pitch - 1, x:x + pitch - 1] = 6.0
    return SimpleNamespace(class_queries_logits=logits, masks_queries_logits=masks)


def mask2former(size: tuple[int, int]) -> Peer:
    """Mask2Former, ResNet-50, 100 queries."""
    from transformers import (
        Mask2FormerConfig,
        Mask2FormerForUniversalSegmentation,
        Mask2FormerImageProcessor,
        ResNetConfig,
    )
    backbone = ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    config = Mask2FormerConfig(backbone_config=backbone, num_labels=CLASSES)
    network = Mask2FormerForUniversalSegmentation(config).eval()
    processor = Mask2FormerImageProcessor(size={"height": size[0], "width": size[1]})
    outputs = query_outputs(100, size[0] // 4, size[1] // 4)
    return Peer(lambda image: processor(image, return_tensors="pt")["pixel_values"],
                lambda batch: network(pixel_values=batch),
                lambda: len(processor.post_process_panoptic_segmentation(
                    outputs, threshold=0.8, target_sizes=[size])[0]["segments_info"]))


def eomt(size: tuple[int, int]) -> Peer:
    """EoMT-S: a DINOv2-small with 200 queries in its last three blocks."""
    from transformers import EomtConfig, EomtForUniversalSegmentation, EomtImageProcessor
    config = EomtConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, num_blocks=3, image_size=640,
                        patch_size=16, num_queries=200, num_labels=CLASSES)
    network = EomtForUniversalSegmentation(config).eval()
    processor = EomtImageProcessor(size={"shortest_edge": 640, "longest_edge": 640}, do_split_image=False, do_pad=True)
    # The image is in the upper part of the square.
    outputs = query_outputs(200, 160, 160)
    return Peer(lambda image: processor(image, return_tensors="pt")["pixel_values"],
                lambda batch: network(pixel_values=batch),
                lambda: len(processor.post_process_panoptic_segmentation(
                    outputs, target_sizes=[size])[0]["segments_info"]))


def mask_rcnn(size: tuple[int, int]) -> Peer:
    """Mask R-CNN, ResNet-50 FPN; its post-processing pastes the masks."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES + 1, min_size=min(size),
                                  max_size=max(size)).eval()

    def network(batch: Any) -> Any:
        features = model.backbone(batch.tensors)
        proposals, _ = model.rpn(batch, features)
        return model.roi_heads(features, proposals, batch.image_sizes)[0]

    random = torch.Generator().manual_seed(0)
    corner = torch.rand(OBJECTS, 2, generator=random) * torch.tensor([0.85 * size[1], 0.85 * size[0]])
    found = {"boxes": torch.cat([corner, corner + 60], 1), "labels": torch.ones(OBJECTS).long(),
             "scores": torch.ones(OBJECTS), "masks": torch.rand(OBJECTS, 1, 28, 28, generator=random)}
    return Peer(lambda image: model.transform([torch.from_numpy(image).permute(2, 0, 1) / 255])[0], network,
                lambda: len(model.transform.postprocess([dict(found)], [size], [size])[0]["masks"]))


def yolo(size: tuple[int, int]) -> Peer:
    """YOLO11n-seg, without its weights; post-processing is not told apart by made-up outputs and left out."""
    from ultralytics import YOLO  # type: ignore[import-not-found]
    network = YOLO("yolo11n-seg.yaml").model.eval()
    return Peer(lambda image: torch.from_numpy(image).permute(2, 0, 1)[None] / 255, network, lambda: 0)


def all_peers(size: tuple[int, int], with_yolo: bool) -> dict[str, Peer]:
    """Name -> peer, of those whose packages are installed; the others are named as left out."""
    makers: dict[str, tuple[str, Callable[[], Peer]]] = {
        "ours, auto": ("timm", lambda: ours("city", "auto", "auto", size)),
        "ours, torch": ("timm", lambda: ours("city", "torch", "single", size)),
        "EoMT-S": ("transformers", lambda: eomt(size)),
        "Mask2Former R50": ("transformers", lambda: mask2former(size)),
        "Mask R-CNN R50": ("torchvision", lambda: mask_rcnn(size))}
    if with_yolo:
        makers["YOLO11n-seg"] = ("ultralytics", lambda: yolo(size))
    peers = {}
    for name, (package, make) in makers.items():
        if find_spec(package):
            peers[name] = make()
        else:
            print(f"left out: {name}, there is no {package}")
    return peers


def measure(quick: bool, height: int, width: int, yolo: int) -> dict[str, Any]:
    """Median milliseconds by peer and stage, the ratio of the whole to ours, and how many objects were found."""
    torch.manual_seed(0)
    size = (height, width)
    image = CityDrive(3, CityCamera.of_size(*size)).render(0).image
    peers = all_peers(size, bool(yolo))
    times: dict[str, dict[str, list[float]]] = {name: {stage: [] for stage in STAGES} for name in peers}
    found: dict[str, int] = {}
    rounds = 1 if quick else 10
    with torch.inference_mode():
        for k in tqdm(range(rounds + 1), unit="round", disable=None):
            for name, peer in peers.items():
                batch, seconds_before = _timed(lambda: peer.preprocess(image))  # noqa: B023
                _, seconds_network = _timed(lambda: peer.network(batch))  # noqa: B023
                found[name], seconds_after = _timed(peer.post_process)
                if k:  # the first round compiles and allocates
                    for stage, seconds in zip(STAGES, (seconds_before, seconds_network, seconds_after), strict=True):
                        times[name][stage].append(1e3 * seconds)
    median = {name: {stage: round(float(np.median(values)), 2) for stage, values in stages.items()}
              for name, stages in times.items()}
    total = {name: round(sum(stages.values()), 2) for name, stages in median.items()}
    result = {"size": list(size), "threads": torch.get_num_threads(), "rounds": rounds, "median_ms": median,
              "total_ms": total, "ratio": {name: round(ms / total["ours, auto"], 2) for name, ms in total.items()},
              "objects_found": found}
    OUT.mkdir(parents=True, exist_ok=True)
    bar_plot(OUT / "milliseconds.svg", f"From image to result at {height} x {width}, {result['threads']} threads",
             {stage: {name: row[stage] for name, row in median.items()} for stage in STAGES}, "ms")
    return result


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, perf_counter() - start


def table(result: dict[str, Any]) -> str:
    """One line for each peer."""
    lines = [f"{'milliseconds, median of ' + str(result['rounds']):28}" + "".join(f"{stage:>17}" for stage in STAGES)
             + f"{'whole':>10}{'ratio':>8}{'objects':>9}"]
    for name, row in result["median_ms"].items():
        lines.append(f"{name:28}" + "".join(f"{row[stage]:17.1f}" for stage in STAGES)
                     + f"{result['total_ms'][name]:10.1f}{result['ratio'][name]:8.2f}"
                     + f"{result['objects_found'][name]:9d}")
    return "\n".join([*lines, f"bars: {OUT / 'milliseconds.svg'}"])


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, height=512, width=1024, yolo=0)
