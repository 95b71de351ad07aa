"""Centroid embedding's decode: nearest candidates against all comparisons, the merge against Painter's, one by one."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.methods.centroid_embedding import Thresholds, decode
from panoptic_ros.methods.centroid_embedding.decode import merge_candidates, nearest_candidates
from panoptic_ros.methods.centroid_embedding.network import code_of_cells
from panoptic_ros.methods.centroid_embedding.positions import cell_centers, cell_of, positional_embedding
from panoptic_ros.segments import Segments

# Stuff, thing, stuff, thing.
IS_THING = torch.tensor([False, True, False, True])
GRID = (10, 20)
PROBABILITY = math.exp(3) / (math.exp(3) + 3)


def codes(encoding: str = "positional", harmonics: int = 4, grid: tuple[int, int] = GRID) -> dict[str, Tensor]:
    return {"row_code": code_of_cells(encoding, harmonics, grid[0]),
            "column_code": code_of_cells(encoding, harmonics, grid[1])}


def embedding_of(x: float, y: float, harmonics: int = 4) -> Tensor:
    return positional_embedding(torch.tensor([x, y]), harmonics).flatten()


def scene(classes: list[str], centroids: list[str], positions: dict[str, tuple[float, float]]) -> dict[str, Tensor]:
    """Outputs for maps of class digits (logit 3 against 0) and of letters, each with x and y, -1 to 1; . is void."""
    class_id = torch.tensor([[int(c) for c in row] for row in classes])
    embedding = torch.zeros(1, 16, *class_id.shape)
    for y, row in enumerate(centroids):
        for x, letter in enumerate(row):
            if letter != ".":
                embedding[0, :, y, x] = embedding_of(*positions[letter])
    return {"class_logits": 3.0 * F.one_hot(class_id, 4).permute(2, 0, 1)[None].float(), "centroid": embedding,
            **codes()}


def run(outputs: dict[str, Tensor], thresholds: Thresholds | None = None) -> tuple[list[Any], Segments[Tensor]]:
    found = decode(outputs, IS_THING, thresholds or Thresholds(), tuple(outputs["class_logits"].shape[2:]))
    return found.segment_map[0].tolist(), found.segments[0]


def test_gamma_is_that_of_equation_3() -> None:
    expected = [math.sin(math.pi * 0.3), math.cos(math.pi * 0.3), math.sin(2 * math.pi * 0.3),
                math.cos(2 * math.pi * 0.3), math.sin(4 * math.pi * 0.3), math.cos(4 * math.pi * 0.3)]
    torch.testing.assert_close(positional_embedding(torch.tensor(0.3), 3), torch.tensor(expected))


def test_candidates_are_apart_by_the_paper_s_contrast_and_the_edges_are_none() -> None:
    code = positional_embedding(cell_centers(80), 4)
    distance = torch.cdist(code, code, compute_mode="donot_use_mm_for_euclid_dist")
    smallest = distance[~torch.eye(80, dtype=torch.bool)].min()
    assert float(distance.max() / smallest) == pytest.approx(4.9, abs=0.05)
    torch.testing.assert_close(code.norm(dim=1), torch.full((80,), 2.0))  # all at the distance sqrt(L) of void
    torch.testing.assert_close(embedding_of(-1, -1), embedding_of(1, 1), atol=1e-4, rtol=0)


def test_cells_contain_their_centres_and_the_edges() -> None:
    assert cell_of(cell_centers(7), 7).tolist() == list(range(7))
    assert cell_of(torch.tensor([-1.0, 1.0, -2.0, 2.0]), 7).tolist() == [0, 6, 0, 6]


@pytest.mark.parametrize("harmonics", [1, 3, 5])
def test_the_separable_search_finds_the_nearest_of_all_candidates_and_void(harmonics: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.rand(500, generator=generator) * 3
    centroid = torch.randn(4 * harmonics, 500, generator=generator) * scale
    row, column = codes(harmonics=harmonics).values()
    cell, confidence = nearest_candidates(centroid, row, column)

    half = 2 * harmonics
    every = torch.cat([column.repeat(GRID[0], 1), row.repeat_interleave(GRID[1], 0)], 1)  # row by row
    every = torch.cat([every, torch.zeros(1, 2 * half)])
    away = (centroid.T[:, None] - every).square()
    distance = (away[..., :half].sum(2).sqrt() + away[..., half:].sum(2).sqrt()) / 2  # Eq. 4
    best, index = distance.min(1)
    expected = torch.where(index == len(every) - 1, -1, index)
    assert 50 < int((expected < 0).sum()) < 450
    assert torch.equal(cell < 0, expected < 0)
    found = distance.gather(1, cell.clamp(min=0)[:, None])[cell >= 0, 0]
    torch.testing.assert_close(found, best[cell >= 0], rtol=1e-3, atol=0)
    torch.testing.assert_close(confidence[cell >= 0], (1 - best[cell >= 0] / harmonics ** 0.5).clamp(min=0),
                               atol=1e-3, rtol=0)


def test_direct_regression_reads_red_green_and_blue() -> None:
    #                        x = .26     y = .95
    color = torch.tensor([[0.26, 0.95, 0.9], [0.06, 0.05, 0.4], [0.02, 0.02, 0.1], [-0.2, 1.3, 1.0]]).T
    cell, confidence = nearest_candidates(color, *codes("direct").values())
    assert cell.tolist() == [9 * 20 + 5, -1, -1, 9 * 20 + 0]
    assert confidence[0].item() == pytest.approx(1 - (0.015 + 0 + 0.1), abs=1e-5)  # centres .275 and .95


def test_classification_has_void_as_its_last_class_on_both_axes() -> None:
    logits = torch.full((GRID[0] + GRID[1] + 2, 3), -20.0)
    logits[4, 0] = logits[21 + 7, 0] = 20.0
    logits[20, 1] = logits[-1, 1] = 20.0
    logits[4, 2], logits[20, 2], logits[21 + 7, 2] = 20.0, 20.0, 20.0  # half void along x, no void along y
    cell, confidence = nearest_candidates(logits, *codes("cross_entropy").values())
    assert cell.tolist() == [7 * 20 + 4, -1, 7 * 20 + 4]
    torch.testing.assert_close(confidence[[0, 2]], torch.tensor([1.0, 0.5]))


def painter(cell: Tensor, confidence: Tensor, thresholds: Thresholds) -> tuple[list[int], list[float]]:
    """Candidates, matrix NMS and merge, mask by mask and pixel by pixel."""
    pixels = [(k // GRID[1], k % GRID[1]) if k >= 0 else None for k in cell.tolist()]
    masks = []
    for y, x in sorted({p for p in pixels if p}):
        away = [math.inf if p is None else 255 * (abs(p[0] - y) / GRID[0] + abs(p[1] - x) / GRID[1]) for p in pixels]
        inside = {i for i, a in enumerate(away) if a < thresholds.distance}
        score = sum(confidence[i].item() * (1 - away[i] / (2 * thresholds.distance)) for i in inside) / len(inside)
        if score >= thresholds.score:
            masks.append((score, inside))
    masks.sort(key=lambda mask: -mask[0])

    def iou(i: int, j: int) -> float:
        return len(masks[i][1] & masks[j][1]) / len(masks[i][1] | masks[j][1])

    hidden = [max((iou(i, j) for i in range(j)), default=0.0) for j in range(len(masks))]
    scores = []
    for j, (score, inside) in enumerate(masks):
        factor = min([1.0] + [math.exp(-thresholds.sigma * iou(i, j) ** 2) / math.exp(
            -thresholds.sigma * hidden[i] ** 2) for i in range(j)])
        scores.append((score * factor, inside))
    scores.sort(key=lambda mask: -mask[0])
    scores = [mask for mask in scores if mask[0] >= thresholds.score][:thresholds.max_instances]
    instance = [0] * len(pixels)
    for number, (_, inside) in enumerate(scores, 1):
        free = {i for i in inside if not instance[i]}
        if len(inside) - len(free) <= thresholds.overlap * len(inside):
            for i in free:
                instance[i] = number
    return instance, [score for score, _ in scores]


@pytest.mark.parametrize("distance", [5.0, 19.0, 40.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_merge_is_that_of_going_through_masks_one_by_one(seed: int, distance: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    centers = torch.rand(12, 2, generator=generator) * 2 - 1
    position = centers[torch.arange(600) % 12] + 0.12 * torch.randn(600, 2, generator=generator)
    cell = cell_of(position[:, 1], GRID[0]) * GRID[1] + cell_of(position[:, 0], GRID[1])
    cell[::7] = -1
    confidence = 0.5 + 0.5 * torch.rand(600, generator=generator)
    thresholds = Thresholds(distance=distance, score=0.4)
    instance, score = merge_candidates(cell, confidence, GRID, thresholds)
    expected, scores = painter(cell, confidence, thresholds)
    torch.testing.assert_close(score, torch.tensor(scores))
    assert instance.tolist() == expected
    assert max(expected) > 3


def test_only_the_candidates_of_most_pixels_and_the_best_instances_are_kept() -> None:
    cell = torch.tensor([0] * 3 + [9] * 2 + [199] * 4 + [-1])
    confidence = torch.tensor([0.8] * 3 + [0.9] * 2 + [0.7] * 4 + [0.0])
    few = dataclasses.replace(Thresholds(), candidates=2)
    assert merge_candidates(cell, confidence, GRID, few)[0].tolist() == [1] * 3 + [0] * 2 + [2] * 4 + [0]
    best = dataclasses.replace(Thresholds(), max_instances=1)
    assert merge_candidates(cell, confidence, GRID, best)[0].tolist() == [0] * 3 + [1] * 2 + [0] * 4 + [0]


def test_an_instance_is_of_the_class_of_most_of_its_pixels_and_stuff_is_none() -> None:
    positions = {"a": (-0.55, 0.1), "b": (0.55, 0.1), "c": (0.05, 0.9)}
    segment_map, segments = run(scene(["1110033322", "1130033322"], ["aaa..bbb..", "aaa..bbbcc"], positions))
    # c is stuff to its pixels, and stays what they are; one pixel of a says it is of another class.
    assert segment_map == [[2, 2, 2, 3, 3, 1, 1, 1, 4, 4], [2, 2, 2, 3, 3, 1, 1, 1, 4, 4]]
    assert segments.class_id.tolist() == [3, 1, 0, 2]
    assert segments.embedding is None
    expected = [PROBABILITY, PROBABILITY * 5 / 6]
    torch.testing.assert_close(segments.score[:2], torch.tensor(expected), atol=1e-3, rtol=0)


def test_a_thing_s_pixel_of_no_instance_is_void() -> None:
    segment_map, segments = run(scene(["1110"], ["aa.."], {"a": (0.05, 0.1)}))
    assert segment_map == [[1, 1, 0, 2]]
    assert segments.class_id.tolist() == [1, 0]


def test_small_segments_become_void() -> None:
    outputs = scene(["1102222"], ["aa....."], {"a": (0.05, 0.1)})
    assert run(outputs, Thresholds(thing_area=3))[0] == [[0, 0, 1, 2, 2, 2, 2]]
    assert run(outputs, Thresholds(stuff_area=2))[0] == [[1, 1, 0, 2, 2, 2, 2]]


def test_depth_is_upsampled_in_metres_to_the_size_of_the_output() -> None:
    outputs = {**scene(["00", "00"], ["..", ".."], {}), "depth": torch.tensor([[[[2.0, 4.0], [2.0, 4.0]]]])}
    depth = decode(outputs, IS_THING, Thresholds(), (4, 8)).depth
    assert depth is not None
    torch.testing.assert_close(depth[0, 0], torch.tensor([2.0, 2.0, 2.25, 2.75, 3.25, 3.75, 4.0, 4.0]))
    assert decode(scene(["0"], ["."], {}), IS_THING, Thresholds(), (1, 1)).depth is None


def test_all_void_gives_stuff_alone_and_no_things() -> None:
    segment_map, segments = run(scene(["02"], [".."], {}))
    assert segment_map == [[1, 2]]
    assert not segments.is_thing.any()
