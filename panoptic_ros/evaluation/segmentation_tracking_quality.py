"""STQ, segmentation and tracking quality (Weber et al. 2021, "STEP"), with its parts AQ and SQ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.evaluation.sums import Sums
from panoptic_ros.evaluation.tubes import PairSums, tube_keys
from panoptic_ros.labels import NO_CLASS, PanopticLabel


@dataclass(frozen=True)
class SegmentationTrackingTotals(Sums):
    """What sequences sum up to; `+` joins sequences as the paper does: AQ over all tracks, SQ over all pixels.

    association: sum over the truth's tracks of their association quality. tracks: how many there are.
    confusion: (C + 1, C + 1) int64 pixels that are not void in the truth, [truth's class, predicted class]; the last
    row is NO_CLASS, the last column void and NO_CLASS.
    """

    association: float
    tracks: int
    confusion: np.ndarray

    def result(self) -> dict[str, float]:
        """`stq`, `aq`, `sq`; without `aq` and `stq` where the truth has no track, empty where it is void throughout."""
        result = {}
        right = self.confusion.diagonal()[:-1]
        union = self.confusion.sum(0)[:-1] + self.confusion.sum(1)[:-1] - right
        if union.any():
            result["sq"] = float((right[union > 0] / union[union > 0]).mean())  # Eq. 3
        if self.tracks:
            result["aq"] = self.association / self.tracks
            result["stq"] = float(np.sqrt(result["aq"] * result["sq"]))  # Eq. 4
        return result


class SegmentationTrackingQuality:
    """Takes the images of one sequence in order; needs 24 bytes for each pair of tubes that share pixels.

    The rules are those of deeplab2's evaluation/numpy/segmentation_and_tracking_quality.py:
    a tube is a class and an object id; association (AQ) is about things alone and does not ask for equal classes;
    a truth thing that is a crowd or has no object id is ignored by AQ, with all that is predicted on its pixels; SQ
    counts it as its class. Pixels of a predicted tube on void do make the tube larger in AQ; SQ leaves void out.
    Two rules are ours: a predicted thing without an object id is a tube of its own in each image (there: one tube for
    all of a class), and a pixel predicted as void is an error of the truth's class (there: also a class of IoU 0).
    """

    def __init__(self, is_thing: np.ndarray) -> None:
        """is_thing: (C,) bool."""
        self._is_thing = np.asarray(is_thing, bool)
        self._shared = PairSums()
        self._confusion = np.zeros((len(is_thing) + 1,) * 2, np.int64)
        self._frame = 0

    def add(self, predicted: PanopticLabel, truth: PanopticLabel, shared: np.ndarray | None = None) -> None:
        """shared: (N + 1, M + 1) as `overlap` gives it; computed here where it is None."""
        if shared is None:
            shared = overlap(predicted.segment_map, truth.segment_map, len(predicted), len(truth))
        row, column = np.nonzero(shared)
        pixels = shared[row, column]
        self._add_classes(predicted, truth, row, column, pixels)

        things = np.append(self._is_thing, False)
        is_track = things[truth.class_id] & ~truth.is_crowd & (truth.object_id > 0)
        ignored = np.concatenate([[False], things[truth.class_id] & ~is_track])
        truth_tube = np.concatenate([[0], np.where(is_track, tube_keys(truth, self._is_thing, self._frame), 0)])
        predicted_tube = np.concatenate([[0], np.where(things[predicted.class_id],
                                                       tube_keys(predicted, self._is_thing, self._frame), 0)])
        kept = ~ignored[column] & ((truth_tube[column] > 0) | (predicted_tube[row] > 0))
        self._shared.add(truth_tube[column[kept]], predicted_tube[row[kept]], pixels[kept])
        self._frame += 1

    def totals(self) -> SegmentationTrackingTotals:
        truth_tube, predicted_tube, pixels = self._shared.rows()
        tubes, truth_row = np.unique(truth_tube, return_inverse=True)
        truth_size = np.bincount(truth_row, pixels)[truth_row]
        predicted_row = np.unique(predicted_tube, return_inverse=True)[1]
        predicted_size = np.bincount(predicted_row, pixels)[predicted_row]
        both = (truth_tube > 0) & (predicted_tube > 0)
        iou = pixels / np.maximum(truth_size + predicted_size - pixels, 1)
        association = float((pixels * iou / np.maximum(truth_size, 1))[both].sum())  # Eq. 2
        return SegmentationTrackingTotals(association, int(np.count_nonzero(tubes)), self._confusion.copy())

    def _add_classes(self, predicted: PanopticLabel, truth: PanopticLabel, row: np.ndarray, column: np.ndarray,
                     pixels: np.ndarray) -> None:
        none = len(self._is_thing)
        predicted_class = np.concatenate([[none], np.where(predicted.class_id == NO_CLASS, none, predicted.class_id)])
        truth_class = np.concatenate([[none], np.where(truth.class_id == NO_CLASS, none, truth.class_id)])
        known = column > 0
        cell = truth_class[column[known]] * (none + 1) + predicted_class[row[known]]
        self._confusion += np.bincount(cell, pixels[known], self._confusion.size).astype(np.int64).reshape(
            self._confusion.shape)
