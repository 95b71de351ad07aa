"""HOTA, higher order tracking accuracy (Luiten et al. 2020), with its parts DetA and AssA, over mask IoU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from panoptic_ros.evaluation.sums import Sums
from panoptic_ros.evaluation.tracked_masks import TrackedMasks, tracked_masks
from panoptic_ros.evaluation.tubes import tube_class
from panoptic_ros.labels import PanopticLabel

ALPHAS = np.arange(1, 20) / 20  # thresholds of the IoU: 0.05, 0.10 .. 0.95
_TOLERANCE = np.finfo(float).eps


@dataclass(frozen=True)
class HotaTotals(Sums):
    """Sums per class and threshold, (C, 19) each; `+` joins sequences.

    association: sum over the true positives of A(c), the share of its two tracks in which they are matched (Eq. 6).
    """

    true_positive: np.ndarray
    false_positive: np.ndarray
    false_negative: np.ndarray
    association: np.ndarray

    def result(self, class_id: int | None = None) -> dict[str, float]:
        """`hota`, `deta`, `assa` of one class, or of all by their sums ("detection averaged"); means over thresholds.

        Empty where the truth has no mask.
        """
        rows = slice(None) if class_id is None else slice(class_id, class_id + 1)
        found, wrong, missed, association = (column[rows].sum(0) for column in (
            self.true_positive, self.false_positive, self.false_negative, self.association))
        if not (found + missed).any():
            return {}
        detection = found / (found + wrong + missed)  # Eq. 8
        association = association / np.maximum(found, 1)  # Eq. 9
        return {"hota": float(np.sqrt(detection * association).mean()), "deta": float(detection.mean()),
                "assa": float(association.mean())}


class HigherOrderTrackingAccuracy:
    """Takes the images of one sequence in order; which masks count says `tracked_masks`.

    The definition matches masks so that tracks agree over the whole sequence, so the matching waits for its end. What
    is kept of an image until then is 8 bytes for each mask and 24 for each pair of masks that overlap, no pixels.
    """

    def __init__(self, is_thing: np.ndarray) -> None:
        """is_thing: (C,) bool."""
        self._is_thing = np.asarray(is_thing, bool)
        self._frames: list[TrackedMasks] = []

    def add(self, predicted: PanopticLabel, truth: PanopticLabel, shared: np.ndarray | None = None) -> None:
        """shared: (N + 1, M + 1) as `overlap` gives it; computed where it is None."""
        self.add_masks(tracked_masks(predicted, truth, self._is_thing, len(self._frames), shared))

    def add_masks(self, masks: TrackedMasks) -> None:
        self._frames.append(masks)

    def totals(self) -> HotaTotals:
        return hota_totals(self._frames, len(self._is_thing))


def hota_totals(frames: list[TrackedMasks], classes: int) -> HotaTotals:
    """The sums of one sequence."""
    truth = np.concatenate([np.zeros(0, np.int64), *(f.truth for f in frames)])
    predicted = np.concatenate([np.zeros(0, np.int64), *(f.predicted for f in frames)])
    truth_tracks, truth_length = np.unique(truth, return_counts=True)
    predicted_tracks, predicted_length = np.unique(predicted, return_counts=True)

    def counted(keys: np.ndarray) -> np.ndarray:
        return np.bincount(tube_class(keys), minlength=classes)[:, None].astype(float)

    # Pairs of masks of all images, then the pairs of tracks that they are of.
    parts = [(f.truth[f.truth_row], f.predicted[f.predicted_row], f.iou, _jaccard(f)) for f in frames if len(f.iou)]
    if not parts:
        none = np.zeros((classes, len(ALPHAS)))
        return HotaTotals(none, none + counted(predicted), none + counted(truth), none)
    first, second, iou, jaccard = (np.concatenate(column) for column in zip(*parts, strict=True))
    t, p = np.searchsorted(truth_tracks, first), np.searchsorted(predicted_tracks, second)
    pairs, pair = np.unique(t * len(predicted_tracks) + p, return_inverse=True)
    t, p = np.divmod(pairs, len(predicted_tracks))
    potential = np.bincount(pair, jaccard)
    alignment = potential / (truth_length[t] + predicted_length[p] - potential)

    matched = _match(frames, alignment[pair] * iou)
    pair, iou = pair[matched], iou[matched]
    true_positive, association = np.zeros((2, classes, len(ALPHAS)))
    class_of_pair = tube_class(truth_tracks)[t]
    for a, alpha in enumerate(ALPHAS):
        matches = np.bincount(pair[iou >= alpha - _TOLERANCE], minlength=len(pairs))
        share = matches / (truth_length[t] + predicted_length[p] - matches)  # Eq. 6: TPA / (TPA + FNA + FPA)
        true_positive[:, a] = np.bincount(class_of_pair, matches, classes)
        association[:, a] = np.bincount(class_of_pair, matches * share, classes)
    return HotaTotals(true_positive, counted(predicted) - true_positive, counted(truth) - true_positive, association)


def _jaccard(masks: TrackedMasks) -> np.ndarray:
    """How much the two masks of a pair have each other for themselves, (K,): their IoU over all IoU of both."""
    of_truth = np.bincount(masks.truth_row, masks.iou)[masks.truth_row]
    of_predicted = np.bincount(masks.predicted_row, masks.iou)[masks.predicted_row]
    return masks.iou / (of_truth + of_predicted - masks.iou)


def _match(frames: list[TrackedMasks], score: np.ndarray) -> np.ndarray:
    """Which of the pairs of all images are matched, bool: one to one in each image, with the highest sum of scores."""
    matched = np.zeros(len(score), bool)
    start = 0
    for frame in frames:
        end = start + len(frame.iou)
        if end > start:
            scores = np.zeros((len(frame.truth), len(frame.predicted)))
            scores[frame.truth_row, frame.predicted_row] = score[start:end]
            chosen = np.zeros(scores.shape, bool)
            chosen[linear_sum_assignment(scores, maximize=True)] = True
            matched[start:end] = chosen[frame.truth_row, frame.predicted_row]
        start = end
    return matched
