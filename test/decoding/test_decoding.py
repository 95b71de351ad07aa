"""The shared steps of the decodes against brute force."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from panoptic_ros.decoding.peaks import greedy_suppression, local_maxima
from panoptic_ros.decoding.segments import make_segments, segments_of_cells
from panoptic_ros.decoding.upsampling import upsample_labels


def test_local_maxima_come_best_first_and_above_the_threshold() -> None:
    score = torch.tensor([[0.9, 0.1, 0.1, 0.6],
                          [0.1, 0.1, 0.1, 0.1],
                          [0.7, 0.2, 0.1, 0.3]])
    assert local_maxima(score, 0.5, 10).tolist() == [0, 8, 3]
    assert local_maxima(score, 0.65, 10).tolist() == [0, 8]
    assert local_maxima(score, 0.5, 1).tolist() == [0]
    assert local_maxima(score, 0.95, 10).tolist() == []


def test_a_plateau_and_the_rim_count_in_windows_of_any_size() -> None:
    score = torch.rand(9, 11, generator=torch.Generator().manual_seed(0))
    score[4, 4:7] = 2.0
    for kernel in (3, 5):
        pooled = F.max_pool2d(score[None, None], kernel, stride=1, padding=kernel // 2)[0, 0]
        expected = ((score == pooled) & (score > 0.5)).flatten().nonzero()[:, 0].tolist()
        assert sorted(local_maxima(score, 0.5, 100, kernel).tolist()) == expected


def test_more_segments_than_a_byte_counts_keep_their_numbers() -> None:
    instance, area = torch.arange(1, 301), 300
    one = torch.ones(area)
    segment_map, segments, _ = segments_of_cells(instance, torch.ones(area).long(), one, torch.ones(area).long(), one,
                                                 one, torch.tensor([False, True]), (15, 20), (30, 40), 0, 0)
    assert segment_map.dtype == torch.int32
    assert len(segments) == area
    assert torch.equal(segment_map[::2, ::2].flatten(), instance.int())
    assert (segments.area == 4).all()


def test_suppression_equals_the_greedy_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    for trial in range(50):
        n = trial % 12
        same = torch.rand(n, n, generator=generator) < 0.3
        kept: list[int] = []
        for j in range(n):
            if not any(same[i, j] for i in kept):
                kept.append(j)
        assert greedy_suppression(same).nonzero()[:, 0].tolist() == kept


def test_a_suppressed_candidate_suppresses_nobody() -> None:
    same = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]]).bool()
    assert greedy_suppression(same).tolist() == [True, False, True]


def test_upsampled_labels_are_the_argmax_of_the_upsampled_score_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    for size, output_size in [((5, 7), (20, 28)), ((4, 6), (12, 18)), ((6, 5), (6, 5)), ((2, 9), (16, 18))]:
        labels = torch.randint(0, 4, size, generator=generator)
        score = torch.rand(size, generator=generator) + 0.1
        maps = torch.stack([score * (labels == k) for k in range(4)])
        expected = F.interpolate(maps[None], output_size, mode="bilinear", align_corners=False)[0].argmax(0)
        assert torch.equal(upsample_labels(labels, score, output_size), expected)


def test_other_sizes_are_reached_from_the_nearest_multiple() -> None:
    labels = torch.tensor([[1, 2, 2], [1, 2, 2]])
    assert upsample_labels(labels, torch.ones(2, 3), (3, 10)).tolist() == [[1, 1, 1, 2, 2, 2, 2, 2, 2, 2]] * 3
    assert upsample_labels(torch.arange(16).view(4, 4), torch.ones(4, 4), (2, 2)).tolist() == [[5, 7], [13, 15]]


def test_segments_are_measured_and_those_without_a_pixel_are_dropped() -> None:
    segment_map = torch.tensor([[0, 1, 1, 0], [3, 1, 0, 0], [3, 3, 0, 3]], dtype=torch.int32)
    renumbered, segments = make_segments(segment_map, torch.tensor([5, 6, 7]), torch.tensor([True, True, False]),
                                         torch.tensor([0.9, 0.8, 0.7]), torch.eye(3))
    assert renumbered.tolist() == [[0, 1, 1, 0], [2, 1, 0, 0], [2, 2, 0, 2]]
    assert renumbered.dtype == torch.int32
    assert segments.class_id.tolist() == [5, 7]
    assert segments.area.tolist() == [3, 4]
    assert segments.box.tolist() == [[1, 0, 3, 2], [0, 1, 4, 3]]
    assert segments.embedding.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert segments.is_thing.tolist() == [True, False]


def test_a_map_of_void_has_no_segments() -> None:
    none = torch.zeros(0)
    renumbered, segments = make_segments(torch.zeros(3, 4, dtype=torch.int32), none.long(), none.bool(), none, None)
    assert renumbered.sum() == 0
    assert len(segments) == 0
    assert segments.box.shape == (0, 4)


def test_where_a_stuff_segment_lies_the_semantic_map_has_its_class_and_it_is_upsampled_like_labels() -> None:
    generator, size, is_thing = torch.Generator().manual_seed(0), (6, 8), torch.tensor([False, True, False])
    class_id = torch.randint(0, 3, (48,), generator=generator)
    class_score, instance = torch.rand(48, generator=generator), torch.randint(0, 3, (48,), generator=generator) // 2
    arguments = (instance, torch.tensor([1]), torch.tensor([0.9]), class_id, class_score, class_score, is_thing, size)
    segment_map, segments, semantic_map = segments_of_cells(*arguments, size, 0, 0, 0.3, with_semantics=True)
    assert semantic_map is not None
    assert semantic_map.flatten().tolist() == class_id.tolist()
    for number in (~segments.is_thing).nonzero()[:, 0].tolist():
        assert (semantic_map[segment_map == number + 1] == segments.class_id[number]).all()
    assert ((segment_map == 0) & (semantic_map == 1)).any()
    larger = segments_of_cells(*arguments, (24, 32), 0, 0, 0.3, with_semantics=True).semantic_map
    assert larger is not None
    assert torch.equal(larger, upsample_labels(class_id.view(size), class_score.view(size), (24, 32)).to(torch.uint8))
