"""Track states as a struct of arrays: box state, velocity, appearance, class; prediction and update."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from panoptic_ros.tracking.affinity import Cues, box_areas, embedding_variance
from panoptic_ros.tracking.appearance import AppearanceStatistics
from panoptic_ros.tracking.matching import assign
from panoptic_ros.tracking.settings import TrackerSettings

# A track that is out of sight moves on for this long, seconds, and then waits: velocities are not known any better.
COAST_SECONDS = 1.0
# The largest change of a size that is predicted, or taken for a velocity: a factor of two.
MAX_SIZE_FACTOR = 2.0
# EMA weight of the newest class in a track's `class_share`: a wrong one must be seen in four frames in a row to win.
CLASS_EMA_WEIGHT = 0.2
# `velocity_ema_weight` is for a displacement over this time, seconds; one over a longer time weighs more, as it is
# known better.
VELOCITY_INTERVAL = 0.1
# Appearance outlier: an embedding further away than this, as d / (2 sigma^2), is not averaged in ..
OUTLIER_DISTANCE = 3.0
# .. until so many frames in a row say that the object looks different now.
OUTLIERS_TO_ACCEPT = 3


@dataclass(frozen=True)
class Tracks:
    """M tracks, a struct of arrays.

    track_id: (M,) int32, 0 while a track is not confirmed.
    age: (M,) int32, frames since it got its id, that one included.
    hits: (M,) int32, frames in which it was seen.
    is_part: (M,) bool, whether it split off another object and so is no new one before it was seen often enough.
    outliers: (M,) int32, frames in a row in which its embedding was an outlier.
    last_seen_ns: (M,) int64.
    class_share: (M, C) float32, EMA of the classes it was seen as, one-hot.
    box_state: (M, 4) float32, see `Cues.box_state`, as last seen, then shifted by camera-motion compensation.
    velocity: (M, 4) float32, at that time: of the centre in image heights per second, of width and height relative to
        them, per second.
    embedding: (M, D) float32 of unit length, the appearance as EMA; D = 0 where the method has none.
    """

    track_id: np.ndarray
    age: np.ndarray
    hits: np.ndarray
    is_part: np.ndarray
    outliers: np.ndarray
    last_seen_ns: np.ndarray
    class_share: np.ndarray
    box_state: np.ndarray
    velocity: np.ndarray
    embedding: np.ndarray

    def __len__(self) -> int:
        return int(self.track_id.shape[0])

    @property
    def class_id(self) -> np.ndarray:
        """(M,) the class with the largest `class_share`."""
        return self.class_share.argmax(axis=1) if len(self) else np.zeros(0, np.int64)

    @staticmethod
    def born(segments: Cues, stamp_ns: int, is_part: np.ndarray | None = None,
             velocity: np.ndarray | None = None) -> Tracks:
        """One unconfirmed track per segment; velocity: (N, 4) that of the scene, until they show their own."""
        count = len(segments)
        embedding = np.zeros((count, 0), np.float32) if segments.embedding is None else segments.embedding
        motion = np.zeros((count, 4), np.float32) if velocity is None else velocity
        return Tracks(np.zeros(count, np.int32), np.zeros(count, np.int32), np.ones(count, np.int32),
                      np.zeros(count, bool) if is_part is None else is_part, np.zeros(count, np.int32),
                      np.full(count, stamp_ns, np.int64), segments.class_share, segments.box_state, motion, embedding)

    @staticmethod
    def none(dimension: int) -> Tracks:
        """No tracks, with embeddings of this many dimensions."""
        return Tracks.born(Cues(np.zeros((0, 1), np.float32), np.zeros((0, 4), np.float32),
                                np.zeros((0, dimension), np.float32)), 0)

    def select(self, rows: np.ndarray) -> Tracks:
        """The tracks of these rows (indices or a mask)."""
        return Tracks(*(getattr(self, f.name)[rows] for f in fields(self)))

    def joined(self, other: Tracks) -> Tracks:
        """These tracks, then the others; both know the same number of classes."""
        return Tracks(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))

    def with_classes(self, classes: int) -> Tracks:
        """The same with `class_share` for at least this many classes."""
        missing = max(0, classes - self.class_share.shape[1])
        return replace(self, class_share=np.pad(self.class_share, ((0, 0), (0, missing)))) if missing else self

    def elapsed(self, stamp_ns: int) -> np.ndarray:
        """Seconds since each was last seen, (M,) float32."""
        return ((stamp_ns - self.last_seen_ns) * 1e-9).astype(np.float32)

    def predicted(self, stamp_ns: int) -> Cues:
        """Predicted box states at this time with the other cues; tracks move for COAST_SECONDS at most.

        As an object moves at constant velocity against the camera: with a depth that falls from Z to Z - V t its size,
        and with it its offset from where the camera moves to, grow by 1 / (1 - V t / Z), not by equal steps.
        """
        step = self.velocity * np.minimum(self.elapsed(stamp_ns), COAST_SECONDS)[:, None]
        step[:, 2:] = -np.log1p(-step[:, 2:].clip(1 - MAX_SIZE_FACTOR, 1 - 1 / MAX_SIZE_FACTOR))
        step[:, :2] *= np.exp(step[:, 2:].mean(1, keepdims=True))
        return Cues(self.class_share, self.box_state + step, self.embedding if self.embedding.shape[1] else None)

    def shifted(self, camera_shift: float) -> Tracks:
        """Camera-motion compensation: the same, all of them further right by so many image heights."""
        return replace(self, box_state=self.box_state + np.array([camera_shift, 0, 0, 0], np.float32))

    def updated(self, segments: Cues, stamp_ns: int, settings: TrackerSettings,
                merged: np.ndarray | None = None, distance: np.ndarray | None = None) -> Tracks:
        """The tracks after the update of each with its matched segment, that of the same row.

        merged: (M,) bool, where the segment shows other objects as well: its box state counts, the rest does not.
        distance: (M,) cosine distance of their appearances, of the embeddings as they are where it is not given.
        """
        elapsed = self.elapsed(stamp_ns)
        alone = np.ones(len(self), bool) if merged is None else ~merged
        # Velocity at the end of the interval: the inverse of `predicted`.
        change = segments.box_state - self.box_state
        limit = math.log(MAX_SIZE_FACTOR)
        change[:, 2:] = np.expm1(change[:, 2:].clip(-limit, limit))
        change[:, :2] *= 1 + change[:, 2:].mean(1, keepdims=True)
        measured = change / np.maximum(elapsed, 1e-6)[:, None]
        # The first displacement is all that is known of the velocity, unless the user wants none.
        weight = 1 - (1 - settings.velocity_ema_weight)**(elapsed / VELOCITY_INTERVAL)
        weight = np.where((self.hits == 1) & (settings.velocity_ema_weight > 0), 1, weight)
        weight = (weight * ((elapsed > 0) & alone))[:, None]
        velocity = self.velocity + weight * (measured - self.velocity)

        embedding, outliers = self.embedding, self.outliers
        if segments.embedding is not None:
            if distance is None:
                distance = 1 - (embedding * segments.embedding).sum(1)
            area = np.minimum(box_areas(self.box_state), box_areas(segments.box_state))
            distance = distance / (2 * embedding_variance(area, elapsed, settings))
            # Comparing so that NaN is an outlier for ever.
            outliers = np.where(alone & ~(distance < OUTLIER_DISTANCE), outliers + 1, 0).astype(np.int32)
            accepted = alone & ((outliers == 0) | (outliers > OUTLIERS_TO_ACCEPT)) & np.isfinite(distance)
            weight = np.where(outliers > OUTLIERS_TO_ACCEPT, 1, settings.embedding_ema_weight) * accepted
            step = np.where(accepted[:, None], segments.embedding - embedding, 0)
            embedding = embedding + weight[:, None] * step
            embedding /= np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
            outliers = np.where(accepted, 0, outliers).astype(np.int32)
        share = self.class_share + CLASS_EMA_WEIGHT * alone[:, None] * (segments.class_share - self.class_share)
        return replace(self, hits=self.hits + 1, outliers=outliers,
                       last_seen_ns=np.full_like(self.last_seen_ns, stamp_ns),
                       class_share=share.astype(np.float32), box_state=segments.box_state,
                       velocity=velocity.astype(np.float32), embedding=embedding.astype(np.float32))

    def centred(self, statistics: AppearanceStatistics) -> Tracks:
        """With embeddings without what their classes have in common."""
        if not len(self) or self.embedding.shape[1] != statistics.mean.shape[1]:
            return self
        return replace(self, embedding=statistics.centred(self.embedding, self.class_share))

    def match_appearance(self, others: Tracks, distance: float) -> tuple[np.ndarray, np.ndarray]:
        """Appearance matching: rows of these and of the others, one to one, of one class and no further apart than this
        cosine distance."""
        if not self.embedding.shape[1] or self.embedding.shape[1] != others.embedding.shape[1]:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        closeness = self.embedding @ others.embedding.T - (1 - distance)
        closeness[self.class_id[:, None] != others.class_id] = -1
        return assign(closeness, 1.0, np.zeros(len(self)))
