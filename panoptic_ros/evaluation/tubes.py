"""Tubes: the segments of a sequence that are one object, or one stuff class, and sums over pairs of tubes."""

from __future__ import annotations

import numpy as np

from panoptic_ros.errors import InputError
from panoptic_ros.labels import PanopticLabel

# A key is (class + 2) << 40 | object id, so that 0 is free for void and NO_CLASS has the class bits 1.
_ID_BITS = 40
_ALONE = 1 << 39  # object ids from here on are of things that no track claims: 16 bits of row, 23 bits of frame
CROWD = (1 << _ID_BITS) - 1  # `key | CROWD` is the one crowd tube of the key's class


def tube_keys(label: PanopticLabel, is_thing: np.ndarray, frame: int) -> np.ndarray:
    """The tube that each of the N segments of one image belongs to, (N,) int64, never 0.

    is_thing: (C,) bool. frame: number of the image in its sequence, from 0.
    Segments of one thing class with one object id have one key, in all images and within one (an object that is split
    into several segments is one object); segments of one stuff class have one key, and so have those of NO_CLASS. A
    thing without an object id is a tube of its own, of this image alone.
    Raises InputError for object ids that are negative or above 2^39.
    """
    if len(label) and (label.object_id.min() < 0 or label.object_id.max() >= _ALONE):
        raise InputError(f"object ids must be from 0 to {_ALONE - 1}; there are {label.object_id.min()} to "
                         f"{label.object_id.max()}")
    thing = np.append(is_thing, False)[label.class_id]  # the last one is of NO_CLASS
    alone = _ALONE + (frame << 16) + np.arange(len(label))
    object_id = np.where(thing, np.where(label.object_id > 0, label.object_id, alone), 0)
    return (label.class_id.astype(np.int64) + 2) << _ID_BITS | object_id


def tube_class(keys: np.ndarray) -> np.ndarray:
    """The class id (or NO_CLASS) in each key, int64."""
    return (keys >> _ID_BITS) - 2


class PairSums:
    """Sums of values for pairs of keys; takes 24 bytes for each pair that ever occurred, not for each addition."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._compacted = 0
        self._pending = 0

    def add(self, first: np.ndarray, second: np.ndarray, value: np.ndarray) -> None:
        """Add value (K,) to the sums of the pairs first (K,), second (K,) int64; a pair may be there several times."""
        self._parts.append((first, second, value))
        self._pending += len(first)
        if self._pending > 65536 + self._compacted:  # each row is sorted a few times at most, however many there are
            self.rows()

    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Each pair once, in order of its keys, with its sum."""
        if not self._parts:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        first, second, value = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.lexsort((second, first))
        first, second = first[order], second[order]
        starts = np.flatnonzero(np.r_[True, (first[1:] != first[:-1]) | (second[1:] != second[:-1])][:len(first)])
        sums = np.add.reduceat(value[order], starts) if len(starts) else value
        self._parts = [(first[starts], second[starts], sums)]
        self._compacted, self._pending = len(starts), 0
        return self._parts[0]
