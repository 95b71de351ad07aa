"""Camera motion, estimated from the objects alone: the yaw between two images, and the motion forward in new tracks."""

from __future__ import annotations

import numpy as np

# Yaw is searched in steps of so many image heights, up to the largest.
_SHIFT_STEP, _MAX_SHIFT = 0.01, 1.5
# Fewer moving tracks than this say nothing about the camera.
FEWEST_TRACKS = 3


def estimate_camera_shift(log_phi: np.ndarray, shift: np.ndarray, sigma: float) -> float:
    """Camera-motion estimation: the horizontal image shift, image heights, that aligns the most segments with tracks.

    log_phi: (M, N) affinity without the horizontal position. shift: (M, N) from each track to each segment.
    sigma: of the positions around the shift.
    Every pair votes for its shift with Phi, shared between the pairs of a segment: few objects in one place say as much
    as many. A shift must be worth more than none, so that a single object that moves is not taken for camera motion.
    """
    rows, columns = np.nonzero((log_phi > -6) & (np.abs(shift) < _MAX_SHIFT))
    if not len(rows):
        return 0.0
    weight = np.exp(np.minimum(log_phi[rows, columns], 0))
    weight /= np.maximum(np.bincount(columns, weight, log_phi.shape[1]), 0.5)[columns]
    half = round(_MAX_SHIFT / _SHIFT_STEP)
    bins = np.rint(shift[rows, columns] / _SHIFT_STEP).astype(int) + half
    votes = np.bincount(bins, weight, 2 * half + 1)
    reach = np.arange(-half, half + 1) * _SHIFT_STEP
    votes = np.convolve(votes, np.exp(-reach**2 / (2 * sigma**2)), "same")
    best = int(votes.argmax())
    return float(reach[best]) if votes[best] > votes[half] + 1 else 0.0


def scene_velocity(box_state: np.ndarray, velocity: np.ndarray, new_box_state: np.ndarray,
                   focus_of_expansion: tuple[float, float]) -> np.ndarray | None:
    """How boxes move because the camera does, where they have not moved yet: (N, 4) of `new_box_state`, per second.

    box_state, velocity: (M, 4) of tracks that are in sight, see `Cues.box_state`. focus_of_expansion: (x, y) in image
    heights, the point that the camera moves towards. None where there are fewer than FEWEST_TRACKS.

    A point at a depth Z, an offset r from that focus, moves with r V / Z as a camera moves forward with V, and what is
    around it grows at the rate V / Z. Objects of the street are about equally high, so that V / Z is proportional to
    the height of the box, with one factor for all: the median of the tracks'. Yaw, and what moves along, adds one
    horizontal velocity for all: the median of what is left.
    """
    if len(box_state) < FEWEST_TRACKS:
        return None
    height = np.exp(box_state[:, 3])
    factor = np.median(velocity[:, 2:].mean(1) / height)
    yaw = np.median(velocity[:, 0] - factor * height * (box_state[:, 0] - focus_of_expansion[0]))
    growth = factor * np.exp(new_box_state[:, 3:])
    offset = new_box_state[:, :2] - np.array(focus_of_expansion, np.float32)
    result = np.concatenate([growth * offset, growth, growth], axis=1)
    result[:, 0] += yaw
    return result.astype(np.float32)
