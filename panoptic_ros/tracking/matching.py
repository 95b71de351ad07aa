"""Which segment is which track: one-to-one assignment, in two stages, and the turn of the camera between two frames."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

# The turn is looked for in steps of so many image heights, up to the largest.
_TURN_STEP, _LARGEST_TURN = 0.01, 1.5


def assign(log_phi: np.ndarray, min_affinity: float, log_spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one pairs (rows, columns) that together have the largest product of Phi / (spread min_affinity).

    log_phi: (M, N). log_spread: (M,), of the area in which a track may be: new objects are as likely everywhere, so
    one that may be anywhere must fit a segment better than one that is expected there.
    A pair below `min_affinity` is worth as much as none at all, so nothing is matched for the sake of matching.
    """
    least = log_spread[:, None] + np.log(min_affinity)
    # Comparing so that NaN counts as no match.
    gain = np.where(log_phi > least, log_phi - least, 0)
    possible = gain > 0
    rows, columns = np.flatnonzero(possible.any(axis=1)), np.flatnonzero(possible.any(axis=0))
    gain = gain[np.ix_(rows, columns)]
    matched_rows, matched_columns = linear_sum_assignment(gain, maximize=True)
    real = gain[matched_rows, matched_columns] > 0
    return rows[matched_rows[real]], columns[matched_columns[real]]


def assign_in_stages(log_phi: np.ndarray, min_affinity: float, log_spread: np.ndarray, sure: np.ndarray,
                     in_sight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First the segments that are sure (N,) with all tracks, then the others with what is left of those in sight (M,).

    As ByteTrack does (Zhang et al. 2022): a doubtful segment continues a track but does not bring one back.
    """
    columns = np.flatnonzero(sure)
    first, second = assign(log_phi[:, columns], min_affinity, log_spread)
    second = columns[second]
    if sure.all():
        return first, second
    rows, columns = np.flatnonzero(in_sight), np.flatnonzero(~sure)
    rows = np.setdiff1d(rows, first)
    third, fourth = assign(log_phi[np.ix_(rows, columns)], min_affinity, log_spread[rows])
    return np.concatenate([first, rows[third]]), np.concatenate([second, columns[fourth]])


def camera_turn(log_phi: np.ndarray, shift: np.ndarray, spread: float) -> float:
    """The horizontal shift, image heights, that brings the most segments to where tracks are expected.

    log_phi: (M, N) affinity without the horizontal place. shift: (M, N) from each track to each segment.
    spread: sigma of the places around the shift.
    Every pair votes for its shift with Phi, shared between the pairs of a segment: few objects in one place say as much
    as many. A turn must be worth more than staying, so that a single object that moves does not turn the camera.
    """
    likely = (log_phi > -6) & (np.abs(shift) < _LARGEST_TURN)
    if not likely.any():
        return 0.0
    weight = np.where(likely, np.exp(np.minimum(log_phi, 0)), 0)
    weight /= np.maximum(weight.sum(0, keepdims=True), 0.5)
    half = round(_LARGEST_TURN / _TURN_STEP)
    bins = np.rint(shift[likely] / _TURN_STEP).astype(int) + half
    votes = np.bincount(bins, weight[likely], 2 * half + 1)
    reach = np.arange(-half, half + 1) * _TURN_STEP
    votes = np.convolve(votes, np.exp(-reach**2 / (2 * spread**2)), "same")
    best = int(votes.argmax())
    return float(reach[best]) if votes[best] > votes[half] + 1 else 0.0
