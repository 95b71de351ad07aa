"""What is remembered of the objects that are being followed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from panoptic_ros.association.affinity import Cues
from panoptic_ros.association.settings import TrackerSettings

# A track that is out of sight moves on for this long, seconds, and then waits: velocities are not known any better.
COAST_SECONDS = 1.0
# The largest change of the logarithm of a size that is predicted: a factor of two.
LARGEST_GROWTH = 0.7


@dataclass(frozen=True)
class Tracks:
    """M tracks, a struct of arrays.

    track_id: (M,) int32, 0 while a track is not confirmed.
    age: (M,) int32, frames since it got its id, that one included.
    hits: (M,) int32, frames in which it was seen.
    last_seen_ns: (M,) int64.
    class_id: (M,) int32, as last seen.
    place: (M, 4) float32, see `Cues.place`, as last seen.
    velocity: (M, 4) float32, change of `place` per second.
    embedding: (M, D) float32 of unit length, running mean; D = 0 where the method has none.
    """

    track_id: np.ndarray
    age: np.ndarray
    hits: np.ndarray
    last_seen_ns: np.ndarray
    class_id: np.ndarray
    place: np.ndarray
    velocity: np.ndarray
    embedding: np.ndarray

    def __len__(self) -> int:
        return int(self.track_id.shape[0])

    @staticmethod
    def born(segments: Cues, stamp_ns: int) -> Tracks:
        """One unconfirmed track per segment."""
        count = len(segments.class_id)
        embedding = np.zeros((count, 0), np.float32) if segments.embedding is None else segments.embedding
        return Tracks(np.zeros(count, np.int32), np.zeros(count, np.int32), np.ones(count, np.int32),
                      np.full(count, stamp_ns, np.int64), segments.class_id, segments.place,
                      np.zeros((count, 4), np.float32), embedding)

    @staticmethod
    def none(dimension: int) -> Tracks:
        """No tracks, with embeddings of this many dimensions."""
        return Tracks.born(Cues(np.zeros(0, np.int32), np.zeros((0, 4), np.float32),
                                np.zeros((0, dimension), np.float32)), 0)

    def select(self, rows: np.ndarray) -> Tracks:
        """The tracks of these rows (indices or a mask)."""
        return Tracks(*(getattr(self, f.name)[rows] for f in fields(self)))

    def joined(self, other: Tracks) -> Tracks:
        """These tracks, then the others."""
        return Tracks(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))

    def elapsed(self, stamp_ns: int) -> np.ndarray:
        """Seconds since each was last seen, (M,) float32."""
        return ((stamp_ns - self.last_seen_ns) * 1e-9).astype(np.float32)

    def predicted(self, stamp_ns: int) -> Cues:
        """Where and what the tracks should be at this time: constant velocity, for a while."""
        step = self.velocity * np.minimum(self.elapsed(stamp_ns), COAST_SECONDS)[:, None]
        step[:, 2:] = step[:, 2:].clip(-LARGEST_GROWTH, LARGEST_GROWTH)
        return Cues(self.class_id, self.place + step, self.embedding if self.embedding.shape[1] else None)

    def seen(self, segments: Cues, stamp_ns: int, settings: TrackerSettings) -> Tracks:
        """The tracks after each was seen as the segment of the same row."""
        elapsed = self.elapsed(stamp_ns)[:, None]
        measured = (segments.place - self.place) / np.maximum(elapsed, 1e-6)
        # The first displacement is all that is known of the velocity, unless the user wants none.
        weight = np.where((self.hits == 1) & (settings.velocity_weight > 0), 1, settings.velocity_weight)[:, None]
        velocity = np.where(elapsed > 0, self.velocity + weight * (measured - self.velocity), self.velocity)
        embedding = self.embedding
        if segments.embedding is not None:
            embedding = embedding + settings.embedding_weight * (segments.embedding - embedding)
            embedding /= np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
        return replace(self, hits=self.hits + 1, last_seen_ns=np.full_like(self.last_seen_ns, stamp_ns),
                       class_id=segments.class_id, place=segments.place, velocity=velocity.astype(np.float32),
                       embedding=embedding.astype(np.float32))
