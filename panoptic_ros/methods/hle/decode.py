"""Panoptic decode of HLE: seeds, instances around them in the embedding space, stuff elsewhere (section 3.5)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.decoding.maximum import first_argmax
from panoptic_ros.decoding.peaks import greedy_suppression, local_maxima
from panoptic_ros.decoding.segments import Decoded, DecodedImage, segments_of_cells
from panoptic_ros.methods.hle.kernels import (
    CELLS_PER_UNIT,
    class_weights,
    log_instance_kernel,
    pixel_features,
    position_grid,
)
from panoptic_ros.methods.hle.nearest_seed import Seeds, nearest_seed
from panoptic_ros.settings import check_ranges, setting

# Names among the outputs that are no maps of the image but parameters, see `Network.decode_parameters`.
PARAMETERS = ("class_mean", "class_log_sigma", "shared_spatial_log_sigma")
# Pixels that are classified at once. On a CPU what fits into its cache, on a GPU what bounds the memory of a
# full-resolution decode.
PIXELS_AT_ONCE = {"cpu": 1 << 12, "cuda": 1 << 18}


@dataclass(frozen=True)
class Thresholds:
    """Settings of the decode; a dataset's best are found by tuning and stand in model.yaml."""

    # Name before 0.1.0 -> name.
    renamed: ClassVar[dict[str, str]] = {"instances": "max_instances"}

    seed: float = setting(0.5, 0.0, 1.0, "seed score threshold: a local maximum above it is an instance's candidate",
                          search=(0.2, 0.8))
    merge: float = setting(0.3, 0.0, 1.0, "two candidates with a kernel Phi above this are the same instance",
                           search=(0.02, 0.6))
    mask: float = setting(0.5, 0.0, 1.0, "a pixel whose kernel Phi to its best seed is above this belongs to it",
                          search=(0.05, 0.7))
    stuff: float = setting(0.2, 0.0, 1.0, "a pixel whose class probability psi is below this is void, not stuff",
                           search=(0.1, 0.7))
    thing_area: int = setting(0, 0, 1 << 24, "smaller instances, in pixels of the output, become void",
                              search=(8, 400))
    stuff_area: int = setting(0, 0, 1 << 24, "smaller stuff segments, in pixels of the output, become void",
                              search=(16, 4000))
    max_instances: int = setting(200, 1, 1000, "candidates for instances per image at most, those of the best seeds")
    full_resolution: bool = field(default=False, metadata={
        "description": "decode at the size of the output (the paper's 113 ms) and not at stride 4 (its 8 ms)"})

    def __post_init__(self) -> None:
        check_ranges(self)


def decode(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds,
           output_size: tuple[int, int], with_semantics: bool = False) -> Decoded:
    """Network outputs -> segments, on the device of the outputs.

    outputs: what `Network.forward` and `Network.decode_parameters` return. is_thing: (C,) bool. output_size: (H, W).
    with_semantics: whether to make the semantic map, argmax of psi (section 3.5). Segments come as things, best seed
    first, then stuff by class; their embedding is the unit mean over their pixels.
    """
    parameters = {name: outputs[name] for name in PARAMETERS if name in outputs}
    names = [name for name in outputs if name not in parameters]
    decoded, cells = [], float(CELLS_PER_UNIT)
    if thresholds.full_resolution:
        cells *= output_size[0] / outputs["seed"].shape[2]
    for image in zip(*(outputs[name] for name in names), strict=True):
        maps = dict(zip(names, image, strict=True))
        if thresholds.full_resolution:
            maps = {name: F.interpolate(x[None], output_size, mode="bilinear", align_corners=False)[0]
                    for name, x in maps.items()}
            maps.update({name: F.normalize(maps[name], dim=0) for name in names if name.endswith("embedding")})
        decoded.append(_decode_one({**maps, **parameters}, is_thing, thresholds, output_size, cells, with_semantics))
    return Decoded.of_images(decoded)


def _decode_one(outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Thresholds, output_size: tuple[int, int],
                cells: float, with_semantics: bool) -> DecodedImage:
    """One image: maps without the dimension of the batch; cells: of the maps to one unit of position."""
    size = (outputs["embedding"].shape[1], outputs["embedding"].shape[2])
    embedding, log_sigma, seed = outputs["embedding"].flatten(1), outputs["log_sigma"].flatten(), outputs["seed"][0]
    spatial_log_sigma = (outputs["spatial_log_sigma"].flatten() if "spatial_log_sigma" in outputs
                         else outputs["shared_spatial_log_sigma"].expand(embedding.shape[1]))
    class_id, psi = _classify(outputs, embedding)
    # Only a pixel of a thing class can be the seed of an instance: the instance takes its class from there.
    on_thing = is_thing.index_select(0, class_id)
    candidates = local_maxima(seed * on_thing.view(size), thresholds.seed, thresholds.max_instances)

    position = position_grid(*size, embedding.device, cells)
    found = Seeds(embedding.T[candidates], position.view(-1, 2)[candidates], log_sigma[candidates],
                  spatial_log_sigma[candidates])
    similarity = log_instance_kernel(pixel_features(found.embedding, found.position), *found).T
    kept = greedy_suppression(similarity > _log(thresholds.merge))
    seeds = candidates[kept]
    instance, score = torch.zeros_like(class_id), torch.zeros_like(psi)
    if len(seeds):
        best, nearest = nearest_seed(outputs["embedding"], position, Seeds(*(values[kept] for values in found)),
                                     _log(thresholds.mask))
        inside = best > _log(thresholds.mask)
        instance, score = torch.where(inside, nearest + 1, 0), torch.where(inside, best.exp(), 0)
    # What no instance took is stuff where psi is sure of it (section 3.5), as one segment a class.
    return segments_of_cells(instance, class_id[seeds], seed.flatten()[seeds], class_id, psi, score, is_thing, size,
                             output_size, thresholds.thing_area, thresholds.stuff_area, thresholds.stuff, embedding.T,
                             with_semantics=with_semantics)


def _classify(outputs: dict[str, Tensor], embedding: Tensor) -> tuple[Tensor, Tensor]:
    """The best class of each pixel, that is argmax of psi (Eq. 9), and its psi, (P,) each; embedding: (D, P)."""
    if "class_logits" in outputs:
        maps = outputs["class_logits"].flatten(1)
    else:
        maps = outputs["class_embedding"].flatten(1) if "class_embedding" in outputs else embedding
        weights, offset = class_weights(outputs["class_mean"], outputs["class_log_sigma"])
    classified = []
    for part in maps.split(PIXELS_AT_ONCE[embedding.device.type], 1):
        # (C, P): logits of a classifier, or log p of Eq. 7 in the embedding space.
        below = part.clone() if "class_logits" in outputs else torch.addmm(offset[:, None], weights, part)
        below -= below.amax(0, keepdim=True)
        classified.append((first_argmax(below, 0), 1 / below.exp_().sum(0)))
    class_id, psi = (torch.cat(values) for values in zip(*classified, strict=True))
    return class_id, psi


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else -math.inf
