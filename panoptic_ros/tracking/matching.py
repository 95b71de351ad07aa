"""Association of segments with tracks: two-stage Hungarian assignment (ByteTrack), and camera-motion estimation."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

# Camera motion is searched in steps of so many image heights, up to the largest.
_SHIFT_STEP, _MAX_SHIFT = 0.01, 1.5


def assign(log_phi: np.ndarray, min_affinity: float, log_gate_area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hungarian assignment: one-to-one pairs (rows, columns) of the largest product of Phi / (gate area min_affinity).

    log_phi: (M, N). log_gate_area: (M,), of the area in which a track may be: new objects are as likely everywhere, so
    one that may be anywhere must fit a segment better than one that is expected there.
    A pair below `min_affinity` is worth as much as none at all, so nothing is matched for the sake of matching.
    """
    least = log_gate_area[:, None] + np.log(min_affinity)
    # Comparing so that NaN counts as no match.
    gain = np.where(log_phi > least, log_phi - least, 0)
    possible = gain > 0
    rows, columns = np.flatnonzero(possible.any(axis=1)), np.flatnonzero(possible.any(axis=0))
    gain = gain[np.ix_(rows, columns)]
    matched_rows, matched_columns = linear_sum_assignment(gain, maximize=True)
    real = gain[matched_rows, matched_columns] > 0
    return rows[matched_rows[real]], columns[matched_columns[real]]


def assign_in_stages(log_phi: np.ndarray, min_affinity: float, log_gate_area: np.ndarray, high_score: np.ndarray,
                     in_sight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ByteTrack's two stages (Zhang et al. 2022): high-score segments with all tracks, then the others with the rest.

    high_score: (N,) bool. in_sight: (M,) bool. A low-score segment continues a track that was in sight just now,
    but does not re-identify a lost one. Returns rows and columns as `assign` does.
    """
    columns = np.flatnonzero(high_score)
    first, second = assign(log_phi[:, columns], min_affinity, log_gate_area)
    second = columns[second]
    if high_score.all():
        return first, second
    rows, columns = np.flatnonzero(in_sight), np.flatnonzero(~high_score)
    rows = np.setdiff1d(rows, first)
    third, fourth = assign(log_phi[np.ix_(rows, columns)], min_affinity, log_gate_area[rows])
    return np.concatenate([first, rows[third]]), np.concatenate([second, columns[fourth]])


def estimate_camera_shift(log_phi: np.ndarray, shift: np.ndarray, sigma: float) -> float:
    """Camera-motion estimation: the horizontal image shift, image heights, that aligns the most segments with tracks.

    log_phi: (M, N) affinity without the horizontal position. shift: (M, N) from each track to each segment.
    sigma: of the positions around the shift.
    Every pair votes for its shift with Phi, shared between the pairs of a segment: few objects in one place say as much
    as many. A shift must be worth more than none, so that a single object that moves is not taken for camera motion.
    """
    likely = (log_phi > -6) & (np.abs(shift) < _MAX_SHIFT)
    if not likely.any():
        return 0.0
    weight = np.where(likely, np.exp(np.minimum(log_phi, 0)), 0)
    weight /= np.maximum(weight.sum(0, keepdims=True), 0.5)
    half = round(_MAX_SHIFT / _SHIFT_STEP)
    bins = np.rint(shift[likely] / _SHIFT_STEP).astype(int) + half
    votes = np.bincount(bins, weight[likely], 2 * half + 1)
    reach = np.arange(-half, half + 1) * _SHIFT_STEP
    votes = np.convolve(votes, np.exp(-reach**2 / (2 * sigma**2)), "same")
    best = int(votes.argmax())
    return float(reach[best]) if votes[best] > votes[half] + 1 else 0.0
