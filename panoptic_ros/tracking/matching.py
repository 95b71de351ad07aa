"""Association of segments with tracks: two-stage Hungarian assignment (ByteTrack)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


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
    rows, columns = unmatched(in_sight, first), np.flatnonzero(~high_score)
    third, fourth = assign(log_phi[np.ix_(rows, columns)], min_affinity, log_gate_area[rows])
    return np.concatenate([first, rows[third]]), np.concatenate([second, columns[fourth]])


def unmatched(candidates: np.ndarray, matched: np.ndarray) -> np.ndarray:
    """The rows of `candidates`, (M,) bool, that are not among the rows `matched`."""
    left = candidates.copy()
    left[matched] = False
    return np.flatnonzero(left)
