"""Appearance of segments: the vectors by which their objects are told apart and known again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.decoding.segment_pooling import pool_segments
from panoptic_ros.segments import Segments


def appearance_features(features: Tensor, segment_map: Tensor, segments: Segments[Tensor]) -> Tensor:
    """What an `AppearanceHead` is given of each thing, (N, D + 2A): its embedding, where the method has one, then mean
    and standard deviation of the network's output `appearance` (A, h, w) over it. Rows of stuff mean nothing."""
    pooled = pool_segments(features, segment_map, segments.box, segments.is_thing)
    return pooled if segments.embedding is None else torch.cat([segments.embedding, pooled], 1)


def appearance_vectors(features: Tensor, segment_map: Tensor, segments: Segments[Tensor],
                       head: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Vectors of unit length, (N, E), of the things of one image; zero for stuff, which is not known again.

    features: the network's output `appearance` (A, h, w). segment_map: (H, W). head: of the model; without one a vector
    is the mean of the features over the segment, which has half of its squared length, beside the method's embedding.
    """
    known = appearance_features(features, segment_map, segments)
    if head is not None:
        vectors = head(known)
    else:
        dimension = known.shape[1] - 2 * len(features)
        mean = F.normalize(known[:, dimension:dimension + len(features)], dim=1)
        vectors = F.normalize(torch.cat([known[:, :dimension], mean], 1), dim=1)
    return torch.where(segments.is_thing[:, None], vectors, 0)
