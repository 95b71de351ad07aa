"""Pooling over segments and the vectors made of it, against loops and numbers worked by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from panoptic_ros.decoding.appearance import appearance_features, appearance_vectors
from panoptic_ros.decoding.segment_pooling import pool_segments
from panoptic_ros.decoding.segments import make_segments
from panoptic_ros.model import load_model
from panoptic_ros.networks.appearance_head import AppearanceHead
from panoptic_ros.perception import Perception
from panoptic_ros.segments import Segments


def two_segments(embedding: torch.Tensor | None = None) -> tuple[torch.Tensor, Segments[torch.Tensor]]:
    """8 x 16 pixels, 4 x 4 to a cell: the left half, and a square of 2 x 2 pixels that is in no cell's middle."""
    segment_map = torch.zeros(8, 16, dtype=torch.int32)
    segment_map[:, :8] = 1
    segment_map[0:2, 12:14] = 2
    return make_segments(segment_map, torch.tensor([13, 13]), torch.tensor([True, True]), torch.ones(2), embedding)


def test_pooling_is_the_mean_and_the_deviation_over_the_cells_of_each_segment() -> None:
    torch.manual_seed(0)
    segment_map = torch.randint(0, 6, (24, 40)).repeat_interleave(4, 0).repeat_interleave(4, 1).int()
    segments = make_segments(segment_map, torch.full((5,), 13), torch.ones(5, dtype=torch.bool), torch.ones(5), None)[1]
    features = torch.randn(3, 24, 40)
    pooled = pool_segments(features, segment_map, segments.box)
    for k in range(5):
        values = features[:, segment_map[::4, ::4] == k + 1]
        torch.testing.assert_close(pooled[k], torch.cat([values.mean(1), values.std(1, correction=0)]))
    wanted = torch.tensor([False, True, False, True, True])
    torch.testing.assert_close(pool_segments(features, segment_map, segments.box, wanted)[wanted], pooled[wanted])


def test_a_segment_in_no_cells_middle_has_the_features_in_the_middle_of_its_box() -> None:
    segment_map, segments = two_segments()
    features = torch.arange(8.0).view(1, 2, 4)
    pooled = pool_segments(features, segment_map, segments.box)
    # Cells 0, 1, 4 and 5: mean 2.5, squares 0, 1, 16, 25 of mean 10.5.
    np.testing.assert_allclose(pooled, [[2.5, (10.5 - 6.25)**0.5], [3, 0]], rtol=1e-6)


def test_without_a_head_a_vector_is_the_embedding_beside_the_pooled_features() -> None:
    segment_map, segments = two_segments(torch.tensor([[0.6, 0.8], [1, 0]]))
    features = torch.stack([torch.ones(2, 4), torch.zeros(2, 4)])
    vectors = appearance_vectors(features, segment_map, segments, None)
    np.testing.assert_allclose(vectors * 2**0.5, [[0.6, 0.8, 1, 0], [1, 0, 1, 0]], atol=1e-6)
    alone = appearance_vectors(features, *two_segments(), None)
    np.testing.assert_allclose(alone, [[1, 0], [1, 0]], atol=1e-6)


def test_a_head_is_given_embedding_mean_and_deviation_and_its_vectors_have_unit_length() -> None:
    segment_map, segments = two_segments(torch.tensor([[0.6, 0.8], [1, 0]]))
    features = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    known = appearance_features(features, segment_map, segments)
    np.testing.assert_array_equal(known, torch.cat([segments.embedding,  # type: ignore[list-item]
                                                    pool_segments(features, segment_map, segments.box)], 1))
    head = AppearanceHead(8, dimension=4, hidden=5).eval()
    head.feature_mean.fill_(0.5)
    head.feature_std.fill_(2.0)
    vectors = appearance_vectors(features, segment_map, segments, head)
    expected = head.output(F.gelu(head.hidden((known - 0.5) / 2)))
    torch.testing.assert_close(vectors, expected / expected.norm(dim=1, keepdim=True))


def test_a_model_gives_its_segments_vectors_of_the_kind_that_it_says(model_folder: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    model = load_model(model_folder)
    channels = model.network.backbone.channels[1]
    frame = Perception(model, "torch", "cpu")(image)
    assert len(frame) > 1
    assert frame.embedding_kind == "pooled"
    assert frame.segments.embedding is not None
    assert frame.segments.embedding.shape[1] == 12 + channels
    head = AppearanceHead(12 + 2 * channels, dimension=7).eval()
    with_head = Perception(dataclasses.replace(model, appearance=head), "torch", "cpu")(image)
    assert with_head.embedding_kind == "appearance"
    assert with_head.segments.embedding is not None
    assert with_head.segments.embedding.shape[1] == 7
    np.testing.assert_allclose(np.linalg.norm(with_head.segments.embedding, axis=1), frame.segments.is_thing, rtol=1e-5)
    assert frame.segments.is_thing.any()
    assert not frame.segments.is_thing.all()
    np.testing.assert_array_equal(with_head.segment_map, frame.segment_map)


def test_a_network_has_no_features_of_segments_in_training(model_folder: Path) -> None:
    network = load_model(model_folder).network
    image = torch.zeros(1, 3, 64, 128)
    assert network.eval()(image)["appearance"].shape == (1, network.backbone.channels[1], 8, 16)
    assert "appearance" not in network.train()(image.repeat(2, 1, 1, 1))


@pytest.mark.parametrize("channels", [1, 24])
def test_pooling_of_no_segments_is_empty(channels: int) -> None:
    pooled = pool_segments(torch.zeros(channels, 2, 4), torch.zeros(8, 16, dtype=torch.int32),
                           torch.zeros(0, 4, dtype=torch.int32))
    assert pooled.shape == (0, 2 * channels)
