"""HLE's decode against section 3.5, spelled out pixel by pixel."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.methods.hle import Hyperparameters, Network, Thresholds, decode
from panoptic_ros.segments import Segments

IS_THING = torch.tensor([False, False, True])
# Class means along the axes; instances of class 2 lean towards the fourth and the fifth axis.
MEANS = torch.eye(5)[:3]


def maps_and_segments(*arguments: Any) -> tuple[Tensor, list[Segments[Tensor]]]:
    found = decode(*arguments)
    return found.segment_map, found.segments


def scene(cells: list[str], seeds: dict[tuple[int, int], float]) -> dict[str, Tensor]:
    """Outputs for a map of letters: r and s are stuff 0 and 1, a and b instances of class 2, ? between all classes."""
    vectors = {"r": torch.tensor([1.0, 0, 0, 0, 0]), "s": torch.tensor([0, 1.0, 0, 0, 0]),
               "a": torch.tensor([0, 0, 1.0, 0.8, 0]), "b": torch.tensor([0, 0, 1.0, 0, 0.8]),
               "?": torch.tensor([1.0, 1, 1, 0, 0])}
    embedding = torch.stack([torch.stack([F.normalize(vectors[c], dim=0) for c in row]) for row in cells])
    seed = torch.full((1, 1, len(cells), len(cells[0])), 0.05)
    for (y, x), value in seeds.items():
        seed[0, 0, y, x] = value
    return {"embedding": embedding.permute(2, 0, 1)[None], "seed": seed, "log_sigma": torch.full_like(seed, -1.5),
            "class_mean": MEANS, "class_log_sigma": torch.full((3,), -1.0),
            "shared_spatial_log_sigma": torch.tensor(1.0)}


CELLS = ["rrrrrr", "raabbr", "raabbr", "ssss?s"]


def test_two_touching_instances_of_a_class_and_the_stuff_around_them() -> None:
    outputs = scene(CELLS, {(1, 1): 0.9, (2, 4): 0.8})
    maps, [segments] = maps_and_segments(outputs, IS_THING, Thresholds(stuff=0.4), (4, 6))
    assert maps[0].tolist() == [[3, 3, 3, 3, 3, 3], [3, 1, 1, 2, 2, 3], [3, 1, 1, 2, 2, 3], [4, 4, 4, 4, 0, 4]]
    assert segments.class_id.tolist() == [2, 2, 0, 1]
    assert segments.is_thing.tolist() == [True, True, False, False]
    assert segments.area.tolist() == [4, 4, 10, 5]
    assert segments.score[:2].tolist() == pytest.approx([0.9, 0.8])
    torch.testing.assert_close(segments.embedding[0], outputs["embedding"][0, :, 1, 1])


def test_seeds_of_one_object_are_merged_and_the_best_of_them_stays() -> None:
    outputs = scene(["aaaaaaa", "rrrrrrr"], {(0, 0): 0.7, (0, 3): 0.9, (0, 6): 0.8})
    _, [segments] = maps_and_segments(outputs, IS_THING, Thresholds(), (2, 7))
    assert segments.is_thing.tolist() == [True, False]
    assert segments.score[0].item() == pytest.approx(0.9)


def test_a_seed_on_stuff_is_no_instance() -> None:
    _, [segments] = maps_and_segments(scene(CELLS, {(0, 0): 0.9}), IS_THING, Thresholds(), (4, 6))
    assert not segments.is_thing.any()


def test_a_thing_without_a_seed_is_void() -> None:
    maps, [segments] = maps_and_segments(scene(CELLS, {(1, 1): 0.9}), IS_THING, Thresholds(), (4, 6))
    assert maps[0, 1, 3].item() == 0
    assert segments.is_thing.sum() == 1


def test_the_semantic_map_has_the_class_of_a_thing_without_a_seed_and_of_what_is_unsure() -> None:
    outputs = scene(CELLS, {(1, 1): 0.9})
    outputs["embedding"][0, :, 3, 4] = F.normalize(torch.tensor([1.0, 1.1, 1.0, 0, 0]), dim=0)
    for full_resolution in (False, True):
        thresholds = Thresholds(stuff=0.4, thing_area=1000, full_resolution=full_resolution)
        found = decode(outputs, IS_THING, thresholds, (4, 6), with_semantics=True)
        assert found.segment_map[0, 1, 3].item() == found.segment_map[0, 3, 4].item() == 0
        assert found.semantic_map is not None
        assert found.semantic_map[0].tolist() == [[0] * 6, [0, 2, 2, 2, 2, 0], [0, 2, 2, 2, 2, 0], [1] * 6]


def test_small_segments_become_void() -> None:
    outputs = scene(CELLS, {(1, 1): 0.9, (2, 4): 0.8})
    _, [segments] = maps_and_segments(outputs, IS_THING, Thresholds(thing_area=5, stuff_area=6), (4, 6))
    assert segments.class_id.tolist() == [0]
    _, [segments] = maps_and_segments(outputs, IS_THING, Thresholds(thing_area=4 * 4, stuff_area=5 * 4), (8, 12))
    assert segments.class_id.tolist() == [2, 2, 0, 1]


@pytest.mark.parametrize("is_predicted", [False, True])
def test_every_pixel_follows_section_3_5(is_predicted: bool) -> None:
    torch.manual_seed(3)
    height, width, t = 7, 9, Thresholds(seed=0.4, merge=0.3, mask=0.2, stuff=0.34)
    spatial = torch.randn(1, 1, height, width) * 0.3 - 3.4 if is_predicted else torch.tensor(-3.4)
    outputs = {"embedding": F.normalize(torch.randn(1, 5, height, width), dim=1),
               "spatial_log_sigma" if is_predicted else "shared_spatial_log_sigma": spatial,
               "seed": torch.rand(1, 1, height, width), "log_sigma": torch.randn(1, 1, height, width) * 0.3 - 0.3,
               "class_mean": MEANS, "class_log_sigma": torch.tensor([-0.5, -0.6, -0.4])}
    spatial_sigma = spatial.expand(1, 1, height, width)[0, 0].exp()
    e, seed, log_sigma = outputs["embedding"][0], outputs["seed"][0, 0], outputs["log_sigma"][0, 0]
    cells = [(y, x) for y in range(height) for x in range(width)]

    def psi(y: int, x: int) -> list[float]:
        kernel = [math.exp(-(1 - float(e[:, y, x] @ MEANS[k])) / (2 * math.exp(outputs["class_log_sigma"][k]) ** 2))
                  for k in range(3)]
        return [value / sum(kernel) for value in kernel]

    def phi(a: tuple[int, int], b: tuple[int, int]) -> float:
        apart = ((a[0] - b[0]) / 128) ** 2 + ((a[1] - b[1]) / 128) ** 2
        distance = 1 - float(e[:, a[0], a[1]] @ e[:, b[0], b[1]])
        return math.exp(-distance / (2 * math.exp(log_sigma[a]) ** 2) - apart / (2 * float(spatial_sigma[a]) ** 2))

    class_of = {cell: int(np.argmax(psi(*cell))) for cell in cells}
    masked = {cell: float(seed[cell]) * (class_of[cell] == 2) for cell in cells}

    def is_peak(cell: tuple[int, int]) -> bool:
        around = [masked[y, x] for y, x in cells if abs(y - cell[0]) <= 1 and abs(x - cell[1]) <= 1]
        return masked[cell] > t.seed and masked[cell] == max(around)

    seeds: list[tuple[int, int]] = []
    for cell in sorted(filter(is_peak, cells), key=lambda c: -masked[c]):
        if all(phi(s, cell) <= t.merge for s in seeds):
            seeds.append(cell)
    assert len(seeds) > 1
    maps, [segments] = maps_and_segments(outputs, IS_THING, t, (height, width))
    semantic_map = decode(outputs, IS_THING, t, (height, width), with_semantics=True).semantic_map
    assert semantic_map is not None
    assert semantic_map[0].flatten().tolist() == [class_of[cell] for cell in cells]
    for cell in cells:
        scores = [phi(s, cell) for s in seeds]
        row = int(maps[0][cell]) - 1
        if max(scores) > t.mask:
            assert row == int(np.argmax(scores))
        elif class_of[cell] != 2 and max(psi(*cell)) > t.stuff:
            assert segments.class_id[row] == class_of[cell]
        else:
            assert row == -1


def test_at_its_own_size_the_full_decode_equals_the_fast_one() -> None:
    outputs = scene(CELLS, {(1, 1): 0.9, (2, 4): 0.8})
    fast, [fast_segments] = maps_and_segments(outputs, IS_THING, Thresholds(), (4, 6))
    thresholds = dataclasses.replace(Thresholds(), full_resolution=True)
    full, [full_segments] = maps_and_segments(outputs, IS_THING, thresholds, (4, 6))
    assert torch.equal(fast, full)
    torch.testing.assert_close(fast_segments.embedding, full_segments.embedding)


def test_images_of_a_batch_do_not_touch_each_other() -> None:
    one = scene(CELLS, {(1, 1): 0.9})
    two = scene(CELLS[::-1], {(1, 1): 0.9, (2, 4): 0.8})
    both = {k: torch.cat([one[k], two[k]]) if one[k].ndim == 4 else one[k] for k in one}
    maps, segments = maps_and_segments(both, IS_THING, Thresholds(), (4, 6))
    for outputs, segment_map, rows in zip((one, two), maps, segments, strict=True):
        alone, [alone_rows] = maps_and_segments(outputs, IS_THING, Thresholds(), (4, 6))
        assert torch.equal(alone[0], segment_map)
        assert rows.class_id.tolist() == alone_rows.class_id.tolist()


def test_the_network_gives_unit_embeddings_and_seeds_between_0_and_1_at_a_quarter_of_the_size() -> None:
    network = Network(Hyperparameters("mobilenetv2_050", decoder_channels=16, embedding_dimension=6), [False] * 4)
    network.eval()
    with torch.no_grad():
        outputs = network(torch.randn(2, 3, 64, 96))
    assert outputs["embedding"].shape == (2, 6, 16, 24)
    torch.testing.assert_close(outputs["embedding"].norm(dim=1), torch.ones(2, 16, 24))
    torch.testing.assert_close(network.decode_parameters()["class_mean"].norm(dim=1), torch.ones(4))
    assert outputs["log_sigma"].shape == outputs["seed"].shape == (2, 1, 16, 24)
    assert 0 < outputs["seed"].min() < outputs["seed"].max() < 1


@pytest.mark.parametrize(("backbone", "width"), [("mobilenetv2_100", 128), ("resnet50", 256)])
def test_the_decoder_is_sized_to_the_backbone(backbone: str, width: int) -> None:
    network = Network(Hyperparameters(backbone), [False] * 19).eval()
    assert network.head.in_channels == width
    with torch.no_grad():
        assert network(torch.randn(1, 3, 64, 64))["embedding"].shape == (1, 12, 16, 16)
