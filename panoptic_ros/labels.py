"""PanopticLabel: the segments of one image as ground truth or prediction; what metrics compare."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from panoptic_ros.classes import VOID
from panoptic_ros.frame import PanopticFrame

NO_CLASS = -1  # class of a segment that is known to be none of the table's classes: the background of KITTI-MOTS


@dataclass(frozen=True)
class PanopticLabel:
    """The N segments of one image.

    segment_map: (H, W) integers; 0 = void (unlabelled), never scored; k = row k - 1 of the arrays below.
    class_id: (N,) int32, index into a class table, or NO_CLASS.
    object_id: (N,) int64, the same for the same object in every image of a sequence; 0 = none (stuff, an image alone).
    is_crowd: (N,) bool, several objects of the class that are not told apart.
    score: (N,) float32, confidence of a prediction, NaN where it has none; 1 in a truth.
    semantics: (H, W) uint8, the class of each pixel as a prediction has it besides its segments, VOID where it has
        none; None: the segments' classes are all there is. Mean IoU and flicker take it, no other metric does.
    """

    segment_map: np.ndarray
    class_id: np.ndarray
    object_id: np.ndarray
    is_crowd: np.ndarray
    score: np.ndarray
    semantics: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.class_id)

    @staticmethod
    def of(segment_map: np.ndarray, class_id: np.ndarray, object_id: np.ndarray | None = None,
           is_crowd: np.ndarray | None = None, score: np.ndarray | None = None) -> PanopticLabel:
        """A label whose left-out columns are: no object ids, no crowds, scores of 1."""
        count = len(class_id)
        return PanopticLabel(segment_map, np.asarray(class_id, np.int32),
                             np.zeros(count, np.int64) if object_id is None else np.asarray(object_id, np.int64),
                             np.zeros(count, bool) if is_crowd is None else np.asarray(is_crowd, bool),
                             np.ones(count, np.float32) if score is None else np.asarray(score, np.float32))

    @staticmethod
    def of_frame(frame: PanopticFrame) -> PanopticLabel:
        """The prediction of a frame; its track ids are the object ids."""
        segments = frame.segments
        label = PanopticLabel.of(frame.segment_map, segments.class_id, segments.track_id, score=segments.score)
        return replace(label, semantics=frame.semantics)

    @staticmethod
    def of_maps(class_map: np.ndarray, instance_map: np.ndarray | None = None) -> PanopticLabel:
        """From class ids (H, W) with VOID, and object ids (H, W), 0 = none, or None where there are only classes."""
        instance = 0 if instance_map is None else instance_map.astype(np.int64) << 8
        key = np.where(class_map == VOID, -1, class_map.astype(np.int64) + instance).reshape(-1)
        # Segments are wide: sorting runs of equal pixels takes a tenth of the time of sorting pixels.
        start = np.flatnonzero(np.diff(key, prepend=key[0] - 1))
        values, index = np.unique(key[start], return_inverse=True)
        has_void = int(values[0] == -1)
        values = values[has_void:]
        number = np.repeat((index + 1 - has_void).astype(np.int32), np.diff(start, append=key.size))
        return PanopticLabel.of(number.reshape(class_map.shape), values & 255, values >> 8)

    def class_map(self, void: int = VOID) -> np.ndarray:
        """Class ids (H, W) uint8: `semantics`, else the classes of the segments; `void` where there is none."""
        if self.semantics is not None:
            return self.semantics if void == VOID else np.where(self.semantics == VOID, np.uint8(void), self.semantics)
        table = np.concatenate([[void], np.where(self.class_id == NO_CLASS, void, self.class_id)])
        return table.astype(np.uint8)[self.segment_map]

    def translated(self, mapping: np.ndarray, is_thing: np.ndarray) -> PanopticLabel:
        """The label in another class table.

        mapping: (C,) the other table's class for each class of this one, or NO_CLASS; see `classes.class_mapping`.
        is_thing: (C',) of the other table. Stuff segments that come to be of one class become one segment; a segment
        whose class is not mapped becomes one of NO_CLASS, so that its pixels count as not found. In `semantics` such
        pixels become VOID.
        """
        class_id = np.concatenate([mapping, [NO_CLASS]])[self.class_id].astype(np.int32)
        is_stuff = (class_id != NO_CLASS) & ~np.concatenate([is_thing, [True]])[class_id]
        first = np.arange(len(self))
        for k in np.unique(class_id[is_stuff]):  # at most one turn for each class
            rows = np.nonzero(is_stuff & (class_id == k))[0]
            first[rows] = rows[0]
        kept, row = np.unique(first, return_inverse=True)
        table = np.concatenate([[0], row + 1]).astype(self.segment_map.dtype)
        semantics = self.semantics
        if semantics is not None:
            other = np.full(VOID + 1, VOID, np.uint8)
            other[:len(mapping)] = np.where(mapping == NO_CLASS, VOID, mapping)
            semantics = other[semantics]
        return replace(self, segment_map=table[self.segment_map], class_id=class_id[kept],
                       object_id=np.where(is_stuff, 0, self.object_id)[kept], is_crowd=self.is_crowd[kept],
                       score=self.score[kept], semantics=semantics)
