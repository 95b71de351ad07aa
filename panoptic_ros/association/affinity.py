"""How likely a segment and a track are one object: HLE's kernel Phi (Sec. 3.5), taken between frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from panoptic_ros.association.settings import TrackerSettings


@dataclass(frozen=True)
class Cues:
    """What segments and tracks are compared by, N rows.

    class_id: (N,) int.
    place: (N, 4) float32, centre x, centre y (image heights), log width, log height of the box.
    embedding: (N, D) float32 of unit length, or None.
    """

    class_id: np.ndarray
    place: np.ndarray
    embedding: np.ndarray | None


def place_of_boxes(box: np.ndarray, image_height: int) -> np.ndarray:
    """Boxes (N, 4) x0, y0, x1, y1 in pixels -> (N, 4) float32 as in `Cues.place`."""
    corners = box.astype(np.float32) / image_height
    size = np.maximum(corners[:, 2:] - corners[:, :2], 1e-4)
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, np.log(size)], axis=1)


def log_affinity(tracks: Cues, segments: Cues, elapsed: np.ndarray, interval: float,
                 settings: TrackerSettings) -> np.ndarray:
    """Logarithm of Phi between M predicted tracks and N segments, (M, N) float32.

    elapsed: (M,) seconds since each track was last seen.
    interval: seconds since the last frame.

    Phi = exp(-d_cos / (2 sigma_e^2) - d_place^2 / (2 sigma_s^2)) as in Eq. 7 and 8 with two additions for time.
    Sigma_s grows while a track is out of sight, and then the kernel is divided by the area this spreads over: a track
    that may be anywhere does not outbid the one that is expected here. Sizes are compared in the same way as places.
    """
    x, y, width, height = (_squared_differences(tracks.place[:, i], segments.place[:, i]) for i in range(4))
    variance = settings.sigma_position**2 + (settings.sigma_speed * elapsed[:, None])**2
    variance_in_sight = settings.sigma_position**2 + (settings.sigma_speed * interval)**2
    result: np.ndarray = (x + y) / (-2 * variance)
    result -= np.log(variance / variance_in_sight)
    result -= (width + height) / (2 * settings.sigma_size**2)
    if tracks.embedding is not None and segments.embedding is not None:
        result -= (1 - tracks.embedding @ segments.embedding.T) / (2 * settings.sigma_embedding**2)
    else:
        result -= (1 - box_iou(tracks.place, segments.place)) / (2 * settings.sigma_overlap**2)
    with np.errstate(divide="ignore"):
        result[tracks.class_id[:, None] != segments.class_id[None]] += np.log(np.float32(settings.class_change))
    return result


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (M, N) of boxes given as places (M, 4) and (N, 4)."""
    overlaps = []
    for axis in (0, 1):
        (low_a, high_a), (low_b, high_b) = _extent(first, axis), _extent(second, axis)
        overlaps.append(np.maximum(np.minimum.outer(high_a, high_b) - np.maximum.outer(low_a, low_b), 0))
    inside: np.ndarray = overlaps[0] * overlaps[1]
    area_a, area_b = (np.exp(place[:, 2] + place[:, 3]) for place in (first, second))
    iou: np.ndarray = inside / (np.add.outer(area_a, area_b) - inside)
    return iou


def _extent(place: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    half = np.exp(place[:, 2 + axis]) / 2
    return place[:, axis] - half, place[:, axis] + half


def _squared_differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    difference: np.ndarray = np.subtract.outer(first, second)
    return difference * difference


def assign(log_phi: np.ndarray, min_affinity: float) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one pairs (rows, columns) that together have the largest product of Phi / min_affinity.

    A pair below `min_affinity` is worth as much as none at all, so nothing is matched for the sake of matching.
    """
    # Comparing so that NaN counts as no match.
    gain = np.where(log_phi > np.log(min_affinity), log_phi - np.log(min_affinity), 0)
    possible = gain > 0
    rows, columns = np.flatnonzero(possible.any(axis=1)), np.flatnonzero(possible.any(axis=0))
    gain = gain[np.ix_(rows, columns)]
    matched_rows, matched_columns = linear_sum_assignment(gain, maximize=True)
    real = gain[matched_rows, matched_columns] > 0
    return rows[matched_rows[real]], columns[matched_columns[real]]
