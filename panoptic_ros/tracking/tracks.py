"""What is remembered of the objects that are being followed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from panoptic_ros.tracking.affinity import Cues
from panoptic_ros.tracking.matching import assign
from panoptic_ros.tracking.settings import TrackerSettings

# A track that is out of sight moves on for this long, seconds, and then waits: velocities are not known any better.
COAST_SECONDS = 1.0
# The largest change of the logarithm of a size that is predicted: a factor of two.
LARGEST_GROWTH = 0.7
# Weight of the newest class in a track's evidence: a wrong one must be seen in four frames in a row to win.
CLASS_WEIGHT = 0.2
# `velocity_weight` is that of a displacement over this time, seconds; a longer one weighs more, as it is known better.
VELOCITY_INTERVAL = 0.1
# An embedding further away than this, as d / (2 sigma^2), is not averaged in ..
OUTLIER = 3.0
# .. until so many frames in a row say that the object looks different now.
OUTLIERS_TO_BELIEVE = 3


@dataclass(frozen=True)
class Tracks:
    """M tracks, a struct of arrays.

    track_id: (M,) int32, 0 while a track is not confirmed.
    age: (M,) int32, frames since it got its id, that one included.
    hits: (M,) int32, frames in which it was seen.
    is_part: (M,) bool, whether it came off another object and so is no new one before it was seen often enough.
    outliers: (M,) int32, frames in a row in which its embedding was not its own.
    last_seen_ns: (M,) int64.
    class_share: (M, C) float32, running mean of the classes it was seen as.
    place: (M, 4) float32, see `Cues.place`, as last seen; where it is not seen, moved with the camera.
    velocity: (M, 4) float32, change of `place` per second.
    embedding: (M, D) float32 of unit length, running mean; D = 0 where the method has none.
    """

    track_id: np.ndarray
    age: np.ndarray
    hits: np.ndarray
    is_part: np.ndarray
    outliers: np.ndarray
    last_seen_ns: np.ndarray
    class_share: np.ndarray
    place: np.ndarray
    velocity: np.ndarray
    embedding: np.ndarray

    def __len__(self) -> int:
        return int(self.track_id.shape[0])

    @property
    def class_id(self) -> np.ndarray:
        """(M,) the class that most of the evidence is for."""
        return self.class_share.argmax(axis=1) if len(self) else np.zeros(0, np.int64)

    @staticmethod
    def born(segments: Cues, stamp_ns: int, is_part: np.ndarray | None = None,
             velocity: np.ndarray | None = None) -> Tracks:
        """One unconfirmed track per segment; velocity: (4,) that of the scene, until they show their own."""
        count = len(segments)
        embedding = np.zeros((count, 0), np.float32) if segments.embedding is None else segments.embedding
        motion = np.zeros((count, 4), np.float32)
        if velocity is not None:
            motion += velocity
        return Tracks(np.zeros(count, np.int32), np.zeros(count, np.int32), np.ones(count, np.int32),
                      np.zeros(count, bool) if is_part is None else is_part, np.zeros(count, np.int32),
                      np.full(count, stamp_ns, np.int64), segments.class_share, segments.place, motion, embedding)

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

    def knowing(self, classes: int) -> Tracks:
        """The same with evidence for at least this many classes."""
        missing = max(0, classes - self.class_share.shape[1])
        return replace(self, class_share=np.pad(self.class_share, ((0, 0), (0, missing)))) if missing else self

    def elapsed(self, stamp_ns: int) -> np.ndarray:
        """Seconds since each was last seen, (M,) float32."""
        return ((stamp_ns - self.last_seen_ns) * 1e-9).astype(np.float32)

    def predicted(self, stamp_ns: int) -> Cues:
        """Where and what the tracks should be at this time: constant velocity, for a while."""
        step = self.velocity * np.minimum(self.elapsed(stamp_ns), COAST_SECONDS)[:, None]
        step[:, 2:] = step[:, 2:].clip(-LARGEST_GROWTH, LARGEST_GROWTH)
        return Cues(self.class_share, self.place + step, self.embedding if self.embedding.shape[1] else None)

    def moved(self, turn: float) -> Tracks:
        """The same, all of them further right by so many image heights."""
        return replace(self, place=self.place + np.array([turn, 0, 0, 0], np.float32))

    def seen(self, segments: Cues, stamp_ns: int, settings: TrackerSettings,
             merged: np.ndarray | None = None) -> Tracks:
        """The tracks after each was seen as the segment of the same row.

        merged: (M,) bool, where the segment shows other objects as well: its place counts, its looks and motion do not.
        """
        elapsed = self.elapsed(stamp_ns)
        alone = np.ones(len(self), bool) if merged is None else ~merged
        measured = (segments.place - self.place) / np.maximum(elapsed, 1e-6)[:, None]
        # The first displacement is all that is known of the velocity, unless the user wants none.
        weight = 1 - (1 - settings.velocity_weight)**(elapsed / VELOCITY_INTERVAL)
        weight = np.where((self.hits == 1) & (settings.velocity_weight > 0), 1, weight)
        weight = (weight * ((elapsed > 0) & alone))[:, None]
        velocity = self.velocity + weight * (measured - self.velocity)

        embedding, outliers = self.embedding, self.outliers
        if segments.embedding is not None:
            distance = (1 - (embedding * segments.embedding).sum(1)) / (
                2 * settings.sigma_embedding**2 * (1 + elapsed / settings.embedding_memory))
            # Comparing so that NaN is an outlier for ever.
            outliers = np.where(alone & ~(distance < OUTLIER), outliers + 1, 0).astype(np.int32)
            believed = alone & ((outliers == 0) | (outliers > OUTLIERS_TO_BELIEVE)) & np.isfinite(distance)
            weight = np.where(outliers > OUTLIERS_TO_BELIEVE, 1, settings.embedding_weight) * believed
            step = np.where(believed[:, None], segments.embedding - embedding, 0)
            embedding = embedding + weight[:, None] * step
            embedding /= np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
            outliers = np.where(believed, 0, outliers).astype(np.int32)
        share = self.class_share + CLASS_WEIGHT * alone[:, None] * (segments.class_share - self.class_share)
        return replace(self, hits=self.hits + 1, outliers=outliers,
                       last_seen_ns=np.full_like(self.last_seen_ns, stamp_ns),
                       class_share=share.astype(np.float32), place=segments.place,
                       velocity=velocity.astype(np.float32), embedding=embedding.astype(np.float32))

    def alike(self, others: Tracks, distance: float) -> tuple[np.ndarray, np.ndarray]:
        """Rows of these and of the others that look the same, one to one: of one class, and no further apart than this
        cosine distance."""
        if not self.embedding.shape[1] or self.embedding.shape[1] != others.embedding.shape[1]:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        closeness = self.embedding @ others.embedding.T - (1 - distance)
        closeness[self.class_id[:, None] != others.class_id] = -1
        return assign(closeness, 1.0, np.zeros(len(self)))
