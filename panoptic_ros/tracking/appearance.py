"""Appearance statistics of a stream: what objects of a class have in common, and how alike different ones look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A class's mean counts in full from about so many segments on; before, it is drawn to that of all things, and that to
# zero: what few objects have in common may be what tells them apart from others.
PRIOR_SEGMENTS = 10.0
# Without so many segments it is not known what all have in common: no distance can be trusted.
RELIABLE_SEGMENTS = 100.0
# Statistics forget at this rate: so many segments of a class, and so many pairs, are remembered.
MEMORY_SEGMENTS, MEMORY_PAIRS = 2000.0, 20000.0
# Cosine distances 0 to 2 of different objects, in so many bins.
BINS = 200
# What is known of them before any was seen: so many pairs, normally distributed; a false-match distance that is asked
# for at once is small.
PRIOR_PAIRS, PRIOR_MEAN, PRIOR_STD = 50.0, 1.0, 0.35


@dataclass(frozen=True)
class AppearanceStatistics:
    """Running statistics of the embeddings of things, (C classes, D dimensions).

    count: (C,) float32, segments that were seen. mean: (C, D) float32. distances: (BINS,) float32, how often two
    objects of one class in one image were so far apart, in centred embeddings.
    """

    count: np.ndarray
    mean: np.ndarray
    distances: np.ndarray

    @staticmethod
    def none(dimension: int) -> AppearanceStatistics:
        """Nothing seen yet."""
        return AppearanceStatistics(np.zeros(0, np.float32), np.zeros((0, dimension), np.float32),
                                    np.zeros(BINS, np.float32))

    @property
    def is_reliable(self) -> bool:
        """Whether enough was seen to tell what things have in common."""
        return bool(self.count.sum() >= RELIABLE_SEGMENTS)

    def centred(self, embedding: np.ndarray, class_share: np.ndarray) -> np.ndarray:
        """Embeddings (N, D) without what their classes have in common, of unit length.

        class_share: (N, C'), rows sum up to 1. A class that was never seen has the mean of all.
        """
        classes = class_share.shape[1]
        count = np.zeros(classes, np.float32)
        known = min(classes, len(self.count))
        count[:known] = self.count[:known]
        total = self.count @ self.mean / (self.count.sum() + PRIOR_SEGMENTS)
        mean = np.tile(total, (classes, 1))
        weight = (count / (count + PRIOR_SEGMENTS))[:, None]
        mean[:known] += weight[:known] * (self.mean[:known] - total)
        result = embedding - class_share @ mean
        result /= np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-6)
        return result.astype(np.float32)

    def updated(self, embedding: np.ndarray, class_share: np.ndarray) -> AppearanceStatistics:
        """With those of one image's things: (N, D) of unit length and (N, C'), one-hot. What is zero or not finite is
        left out."""
        known = np.isfinite(embedding).all(1) & embedding.any(1)
        embedding, class_share = embedding[known], class_share[known]
        classes = max(class_share.shape[1], len(self.count))
        count, mean = np.zeros(classes, np.float32), np.zeros((classes, embedding.shape[1]), np.float32)
        count[:len(self.count)], mean[:len(self.count)] = self.count, self.mean
        seen = np.zeros(classes, np.float32)
        seen[:class_share.shape[1]] = class_share.sum(0)
        sums = np.zeros_like(mean)
        sums[:class_share.shape[1]] = class_share.T @ embedding
        count = count * np.maximum(1 - seen / MEMORY_SEGMENTS, 0)
        mean = (count[:, None] * mean + sums) / np.maximum(count + seen, 1)[:, None]
        learned = AppearanceStatistics(count + seen, mean, self.distances)

        centred = learned.centred(embedding, class_share)
        class_id, row = class_share.argmax(1), np.arange(len(centred))
        pairs = np.equal.outer(class_id, class_id) & np.less.outer(row, row)
        apart = (1 - centred @ centred.T)[pairs]
        bins = np.bincount(np.clip(apart * (BINS / 2), 0, BINS - 1).astype(int), minlength=BINS)
        kept = max(1 - len(apart) / MEMORY_PAIRS, 0.0)
        return AppearanceStatistics(learned.count, mean, (self.distances * kept + bins).astype(np.float32))

    def merged(self, other: AppearanceStatistics) -> AppearanceStatistics:
        """Those of two streams together; of this one alone where the other's embeddings are of another dimension."""
        if self.mean.shape[1] != other.mean.shape[1]:
            return self
        classes = max(len(self.count), len(other.count))
        count, sums = np.zeros(classes, np.float32), np.zeros((classes, self.mean.shape[1]), np.float32)
        for one in (self, other):
            count[:len(one.count)] += one.count
            sums[:len(one.count)] += one.count[:, None] * one.mean
        return AppearanceStatistics(count, sums / np.maximum(count, 1)[:, None], self.distances + other.distances)

    def false_match_distance(self, rate: float) -> float:
        """The cosine distance that this share of the pairs of different objects of one class is below."""
        edges = np.arange(BINS + 1) * (2 / BINS)
        prior = np.exp(-((edges[:-1] + 1 / BINS - PRIOR_MEAN) / PRIOR_STD)**2 / 2)
        share = np.cumsum(self.distances + prior * (PRIOR_PAIRS / prior.sum()))
        return float(np.interp(rate, np.append(0, share / share[-1]), edges))
