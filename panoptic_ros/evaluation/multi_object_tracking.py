"""MOTSA, sMOTSA, MOTSP, identity switches, fragmentations (Voigtlaender et al. 2019) and IDF1 (Ristani et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.optimize import linear_sum_assignment

from panoptic_ros.evaluation.sums import Sums
from panoptic_ros.evaluation.tracked_masks import TrackedMasks, tracked_masks
from panoptic_ros.evaluation.tubes import PairSums, tube_class
from panoptic_ros.labels import PanopticLabel


@dataclass(frozen=True)
class MultiObjectTrackingTotals(Sums):
    """Counts per class, (C,) each, of one image, of a sequence or of several; `+` joins them.

    iou: sum of the IoU of matched masks. id_true_positive: masks on which truth track and predicted track agree, under
    the one-to-one assignment of tracks in a sequence that has most of them (0 in the counts of one image).
    """

    iou: np.ndarray
    true_positive: np.ndarray
    false_positive: np.ndarray
    false_negative: np.ndarray
    id_switches: np.ndarray
    fragmentations: np.ndarray
    id_true_positive: np.ndarray

    @staticmethod
    def zeros(classes: int) -> MultiObjectTrackingTotals:
        return MultiObjectTrackingTotals(*np.zeros((len(fields(MultiObjectTrackingTotals)), classes)))

    def result(self, class_id: int | None = None) -> dict[str, float]:
        """Of one class, or of all by the sums of their counts; empty where the truth has no mask.

        `motsa`, `smotsa` (both fall below 0 where errors outnumber the truth's masks), `motsp` (absent without a
        match), `idf1`, and the counts `id_switches`, `fragmentations`, `true_positives`, `false_positives`,
        `false_negatives`.
        """
        rows = slice(None) if class_id is None else slice(class_id, class_id + 1)
        iou, found, wrong, missed, switches, fragmentations, same = (
            float(getattr(self, f.name)[rows].sum()) for f in fields(self))
        masks = found + missed
        if not masks:
            return {}
        result = {"motsa": (found - wrong - switches) / masks, "smotsa": (iou - wrong - switches) / masks}
        if found:
            result["motsp"] = iou / found
        return result | {"idf1": 2 * same / (masks + found + wrong), "id_switches": int(switches),
                         "fragmentations": int(fragmentations), "true_positives": int(found),
                         "false_positives": int(wrong), "false_negatives": int(missed)}


class MultiObjectTracking:
    """Takes the images of one sequence in order; which masks count says `tracked_masks`.

    A truth mask and a predicted mask of its class with an IoU above 0.5 are a match; masks do not overlap, so each has
    one at most. An identity switch is a match by another track than that of the truth track's last match, however
    long ago. A fragmentation is a truth track that was matched, then was there unmatched, and is matched again; images
    in which it is absent do not count (as in py-motmetrics; trackeval counts absence too).
    Needs a few bytes for each truth track and each pair of tracks that matched, none for an image.
    """

    def __init__(self, is_thing: np.ndarray) -> None:
        """is_thing: (C,) bool."""
        self._is_thing = np.asarray(is_thing, bool)
        self._totals = MultiObjectTrackingTotals.zeros(len(is_thing))
        self._matched = PairSums()
        self._frame = 0
        # Of each truth track, in the order of the keys: the track of its last match (0 = none), whether it was matched
        # in the last image that it was in.
        self._tracks = np.zeros(0, np.int64)
        self._last = np.zeros(0, np.int64)
        self._followed = np.zeros(0, bool)

    def add(self, predicted: PanopticLabel, truth: PanopticLabel,
            shared: np.ndarray | None = None) -> MultiObjectTrackingTotals:
        """The counts of this image. shared: (N + 1, M + 1) as `overlap` gives it; computed where it is None."""
        masks = tracked_masks(predicted, truth, self._is_thing, self._frame, shared)
        self._frame += 1
        return self.add_masks(masks)

    def add_masks(self, masks: TrackedMasks) -> MultiObjectTrackingTotals:
        """The counts of this image."""
        matches = masks.iou > 0.5
        truth_row, predicted_row = masks.truth_row[matches], masks.predicted_row[matches]
        self._matched.add(masks.truth[truth_row], masks.predicted[predicted_row], np.ones(len(truth_row), np.int64))

        match = np.zeros(len(masks.truth), np.int64)
        match[truth_row] = masks.predicted[predicted_row]
        track = self._rows(masks.truth)
        last, found = self._last[track], match > 0
        switched = found & (last > 0) & (match != last)
        resumed = found & (last > 0) & ~self._followed[track]
        self._last[track] = np.where(found, match, last)
        self._followed[track] = found

        truth_class = tube_class(masks.truth)
        extra = np.ones(len(masks.predicted), bool)
        extra[predicted_row] = False
        counts = MultiObjectTrackingTotals(
            self._count(truth_class[truth_row], masks.iou[matches]), self._count(truth_class[found]),
            self._count(tube_class(masks.predicted)[extra]), self._count(truth_class[~found]),
            self._count(truth_class[switched]), self._count(truth_class[resumed]), np.zeros(len(self._is_thing)))
        self._totals += counts
        return counts

    def totals(self) -> MultiObjectTrackingTotals:
        truth, predicted, images = self._matched.rows()
        truth, _, images = _assign(truth, predicted, images)
        same = MultiObjectTrackingTotals.zeros(len(self._is_thing))
        same.id_true_positive[:] = self._count(tube_class(truth), images)
        return self._totals + same

    def _count(self, class_id: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(class_id, weights, len(self._is_thing)).astype(float)

    def _rows(self, keys: np.ndarray) -> np.ndarray:
        """Rows of these truth tracks, that of new ones too; keys are in order, each once."""
        new = np.setdiff1d(keys, self._tracks, assume_unique=True)
        if len(new):
            place = np.searchsorted(self._tracks, new)
            self._tracks = np.insert(self._tracks, place, new)
            self._last = np.insert(self._last, place, 0)
            self._followed = np.insert(self._followed, place, False)
        return np.searchsorted(self._tracks, keys)


def _assign(truth: np.ndarray, predicted: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Those of the pairs (K,) that assign tracks one to one and have the most images in sum."""
    if not len(images):
        return truth, predicted, images
    # A predicted track that matched one truth track alone competes only with others of that kind: the best one of each
    # truth track is enough. Without this, things without a track id would make the matrix below very large.
    index, degree = np.unique(predicted, return_inverse=True, return_counts=True)[1:]
    single = degree[index] == 1
    order = np.lexsort((-images, ~single, truth))
    best = order[np.r_[True, truth[order][1:] != truth[order][:-1]]]
    kept = ~single
    kept[best] = True
    truth, predicted, images = truth[kept], predicted[kept], images[kept]

    truth_row = np.unique(truth, return_inverse=True)[1]
    predicted_row = np.unique(predicted, return_inverse=True)[1]
    weight = np.zeros((truth_row.max() + 1, predicted_row.max() + 1))
    weight[truth_row, predicted_row] = images
    chosen = np.zeros(weight.shape, bool)
    chosen[linear_sum_assignment(weight, maximize=True)] = True
    rows = chosen[truth_row, predicted_row]
    return truth[rows], predicted[rows], images[rows]
