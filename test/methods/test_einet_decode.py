"""EINet's decode against section 3.4, spelled out pixel by pixel."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.methods.einet import Thresholds, decode
from panoptic_ros.methods.einet.decode import PIXELS_AT_ONCE, find_peaks, nearest_centroid
from panoptic_ros.segments import Segments

# Two stuff classes and two things; the heatmap has a channel for each of the latter.
IS_THING = torch.tensor([False, True, False, True])
CENTRES = torch.eye(4)[:, :3] + 0.1


def scene(classes: list[str], embeddings: dict[tuple[int, int], list[float]],
          peaks: dict[tuple[int, int, int], float]) -> dict[str, Tensor]:
    """Outputs for a map of class digits (logit 3 against 0), embeddings by cell (else 0), peaks by channel and cell."""
    class_id = torch.tensor([[int(c) for c in row] for row in classes])
    embedding, heatmap = torch.zeros(1, 3, *class_id.shape), torch.full((1, 2, *class_id.shape), 0.01)
    for (y, x), values in embeddings.items():
        embedding[0, :, y, x] = torch.tensor(values)
    for (channel, y, x), value in peaks.items():
        heatmap[0, channel, y, x] = value
    return {"class_logits": 3.0 * F.one_hot(class_id, 4).permute(2, 0, 1)[None].float(), "embedding": embedding,
            "heatmap": heatmap, "class_center": F.normalize(CENTRES, dim=1)}


def run(outputs: dict[str, Tensor], thresholds: Thresholds | None = None,
        is_thing: Tensor = IS_THING) -> tuple[list[Any], Segments[Tensor]]:
    found = decode(outputs, is_thing, thresholds or Thresholds(), tuple(outputs["class_logits"].shape[2:]))
    return found.segment_map[0].tolist(), found.segments[0]


PROBABILITY = math.exp(3) / (math.exp(3) + 3)
A, B, C = [5.0, 0, 0], [0, 4.0, 0], [0, 0, 3.0]
ROW = [(0, x) for x in range(10)]


def test_thing_pixels_go_to_the_nearest_centroid_embedding_of_their_own_class() -> None:
    vectors = [A, [3.0, 1, 0], [1.0, 3, 0], B, [1.0, 1, 1], C, C, [4.0, 0, 1], A, A]
    peaks = {(0, 0, 0): 0.9, (0, 0, 3): 0.8, (1, 0, 5): 0.7}
    outputs = scene(["1111333302"], dict(zip(ROW, vectors, strict=True)), peaks)
    # The window of the max-pooling has three cells to each side, so that these two peaks would be one.
    wide = {name: F.interpolate(x, (1, 40)) if x.ndim == 4 else x for name, x in outputs.items()}
    segment_map, segments = run(wide)
    assert segment_map[0][::4] == [1, 1, 2, 2, 3, 3, 3, 3, 4, 5]
    assert segments.class_id.tolist() == [1, 1, 3, 0, 2]
    assert segments.is_thing.tolist() == [True, True, True, False, False]


def test_offsets_tell_apart_what_looks_the_same() -> None:
    outputs = scene(["1111111100"], dict.fromkeys(ROW, A), {(0, 0, 1): 0.9, (0, 0, 6): 0.8})
    assert run(outputs)[0] == [[1] * 8 + [2] * 2]
    # To cell 1 from the first three, to cell 6 from the others, in quarters; y is the same for all.
    outputs["offset"] = torch.zeros(1, 2, 1, 10)
    outputs["offset"][0, 0, 0] = torch.tensor([((1 if x < 3 else 6) - x) / 4 for x in range(10)])
    segment_map, segments = run(outputs)
    assert segment_map == [[1] * 3 + [2] * 5 + [3] * 2]
    torch.testing.assert_close(segments.embedding[:2], torch.tensor([[1.0, 0, 0]] * 2))  # it says nothing of the place


def test_a_score_is_the_peak_times_the_mean_class_probability_and_the_best_comes_first() -> None:
    outputs = scene(["1111111111"], {c: A if c[1] < 5 else B for c in ROW}, {(0, 0, 2): 0.9, (0, 0, 8): 0.8})
    outputs["class_logits"][0, 1, 0, :5] = torch.tensor([1.0, 1, 1, 3, 3])
    unsure = math.exp(1) / (math.exp(1) + 3)
    segment_map, segments = run(outputs)
    assert segment_map == [[2] * 5 + [1] * 5]  # the higher peak has the less likely mask
    assert segments.score.tolist() == pytest.approx([0.8 * PROBABILITY, 0.9 * (3 * unsure + 2 * PROBABILITY) / 5])


def test_the_embedding_is_that_at_the_centroid_and_for_stuff_the_centre_of_the_class() -> None:
    vectors = {(0, 0): [0.0, 3, 4], (0, 1): [9.0, 0, 0]}
    _, segments = run(scene(["1102"], vectors, {(0, 0, 0): 0.9}))
    torch.testing.assert_close(segments.embedding[0], torch.tensor([0, 0.6, 0.8]))
    torch.testing.assert_close(segments.embedding[1:], F.normalize(CENTRES[[0, 2]], dim=1))


def test_a_peak_where_another_class_is_likelier_is_no_instance() -> None:
    outputs = scene(["1111000033"], dict.fromkeys(ROW, A), {(0, 0, 1): 0.5, (1, 0, 6): 0.9, (0, 0, 9): 0.9})
    segment_map, segments = run(outputs)
    assert segment_map == [[1, 1, 1, 1, 2, 2, 2, 2, 0, 0]]  # things without a centroid of their class are void
    assert segments.class_id.tolist() == [1, 0]


def test_a_peak_must_be_above_the_threshold() -> None:
    outputs = scene(["1111111111"], {c: A if c[1] < 5 else B for c in ROW}, {(0, 0, 1): 0.5, (0, 0, 8): 0.29})
    assert run(outputs)[0] == [[1] * 10]
    assert run(outputs, Thresholds(score=0.2))[0] == [[1] * 5 + [2] * 5]


def test_of_more_than_top_k_objects_of_a_class_the_best_take_the_others_pixels() -> None:
    cells = {(0, 4 * n): [float(n), 0, 0] for n in range(6)}
    row = [[max((at for at in cells if at[1] <= x), key=lambda at: at[1]) for x in range(24)]]
    peaks = {(0, 0, 4 * n): 0.4 + 0.1 * n for n in range(6)}
    outputs = scene(["1" * 24], {(0, x): cells[row[0][x]] for x in range(24)}, {**peaks, (1, 0, 2): 0.35})
    segment_map, segments = run(outputs, Thresholds(top_k=2))
    assert segment_map[0][::4] == [2, 2, 2, 2, 2, 1]
    assert segments.score.tolist() == pytest.approx([0.9 * PROBABILITY, 0.8 * PROBABILITY])


def test_top_k_is_of_each_class() -> None:
    heatmap = torch.zeros(2, 1, 40)
    heatmap[0, 0, [0, 10, 20]] = torch.tensor([0.5, 0.7, 0.6])
    heatmap[1, 0, [5, 35]] = torch.tensor([0.4, 0.9])
    cell, channel, height = find_peaks(heatmap, 0.3, 2)
    assert cell.tolist() == [10, 20, 35, 5]
    assert channel.tolist() == [0, 0, 1, 1]
    assert height.tolist() == pytest.approx([0.7, 0.6, 0.9, 0.4])


def test_a_plateau_is_one_peak_and_does_not_use_up_top_k() -> None:
    heatmap = torch.zeros(1, 9, 40)
    heatmap[0, 3:6, 10:13] = 1.0  # as a heatmap in half precision saturates
    heatmap[0, 4, 30] = 0.8
    assert find_peaks(heatmap, 0.3, 5)[0].tolist() == [3 * 40 + 10, 4 * 40 + 30]


def test_an_instance_that_is_split_by_occlusion_is_one_segment() -> None:
    outputs = scene(["1110001112"], dict.fromkeys(ROW, A), {(0, 0, 1): 0.9})
    segment_map, segments = run(outputs)
    assert segment_map == [[1, 1, 1, 2, 2, 2, 1, 1, 1, 3]]
    assert segments.box[0].tolist() == [0, 0, 9, 1]


def test_an_instance_of_one_pixel_is_found() -> None:
    outputs = scene(["0000100000"], {(0, 4): A}, {(0, 0, 4): 0.9})
    assert run(outputs)[0] == [[2, 2, 2, 2, 1, 2, 2, 2, 2, 2]]


def test_segments_smaller_than_the_areas_become_void() -> None:
    outputs = scene(["1111330000"], dict.fromkeys(ROW, A), {(0, 0, 1): 0.9, (1, 0, 5): 0.9})
    assert run(outputs, Thresholds(thing_area=3, stuff_area=5))[0] == [[1, 1, 1, 1, 0, 0, 0, 0, 0, 0]]


def test_a_table_without_things_has_no_heatmap() -> None:
    outputs = scene(["0022"], {}, {})
    del outputs["heatmap"], outputs["embedding"]
    segment_map, segments = run(outputs, is_thing=torch.zeros(4, dtype=torch.bool))
    assert segment_map == [[1, 1, 2, 2]]
    assert segments.class_id.tolist() == [0, 2]


@pytest.mark.parametrize("pixels_at_once", [1, 7, 1 << 12])
def test_the_nearest_centroid_equals_that_of_brute_force(pixels_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PIXELS_AT_ONCE, "cpu", pixels_at_once)
    generator = torch.Generator().manual_seed(0)
    embedding, centroid = torch.randn(5, 60, generator=generator), torch.randn(9, 5, generator=generator)
    class_id = torch.randint(0, 6, (60,), generator=generator)
    centroid_class = torch.tensor([1, 1, 1, 2, 4, 4, 4, 4, 5])
    expected = []
    for i in range(60):
        candidates = [k for k in range(9) if centroid_class[k] == class_id[i]]
        nearest = min(candidates, key=lambda k: float((embedding[:, i] - centroid[k]).norm()), default=-1)
        expected.append(nearest + 1)
    assert nearest_centroid(embedding, class_id, centroid, centroid_class, 6).tolist() == expected
    assert {0, 1, 4, 9} <= set(expected)
