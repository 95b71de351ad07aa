"""Affinity of tracks and segments for matching: HLE's kernel Phi (Sec. 3.5), taken between frames, as a logarithm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.tracking.settings import TrackerSettings

# A lost track's object is not so many standard deviations from where it is predicted.
LARGEST_DEVIATION = 4.0
# Side of a box, image heights, that is left at least of one that leaves the image.
SMALLEST_VISIBLE = 0.02


@dataclass(frozen=True)
class Cues:
    """Class, box state and appearance by which N segments or tracks are compared.

    class_share: (N, C) float32, how much of the evidence is for which class, rows sum up to 1; C as large as need be.
    box_state: (N, 4) float32, centre x, centre y (image heights), log width, log height of the box.
    embedding: (N, D) float32 of unit length, the appearance, or None.
    """

    class_share: np.ndarray
    box_state: np.ndarray
    embedding: np.ndarray | None

    def __len__(self) -> int:
        return len(self.box_state)

    def select(self, rows: np.ndarray) -> Cues:
        """These rows (indices or a mask)."""
        embedding = None if self.embedding is None else self.embedding[rows]
        return Cues(self.class_share[rows], self.box_state[rows], embedding)


def box_states(box: np.ndarray, image_height: int) -> np.ndarray:
    """Boxes (N, 4) x0, y0, x1, y1 in pixels -> (N, 4) float32 as in `Cues.box_state`."""
    corners = box.astype(np.float32) / image_height
    size = np.maximum(corners[:, 2:] - corners[:, :2], 1e-4)
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, np.log(size)], axis=1)


def visible_box_states(box_state: np.ndarray, aspect_ratio: float) -> np.ndarray:
    """Of predicted boxes, box states (M, 4), the part inside an image of this width in image heights: what a segment
    can show of an object that leaves the image. Boxes that lie outside of it stay as they are."""
    half = np.exp(box_state[:, 2:]) / 2
    border = np.array([aspect_ratio, 1.0], np.float32)
    low, high = np.maximum(box_state[:, :2] - half, 0), np.minimum(box_state[:, :2] + half, border)
    size = high - low
    visible = np.concatenate([(low + high) / 2, np.log(np.maximum(size, SMALLEST_VISIBLE))], axis=1)
    return np.where((size > 0).all(1, keepdims=True), visible, box_state)


def yaw_invariant_log_affinity(tracks: Cues, segments: Cues, elapsed: np.ndarray, missed: np.ndarray,
                               settings: TrackerSettings) -> np.ndarray:
    """log Phi of M predicted tracks and N segments by class, appearance, height, size: what camera yaw leaves alone.

    elapsed: (M,) seconds since each track was last seen. missed: (M,) seconds since a frame first lacked it.
    Returns (M, N) float32; 0 for what is exactly as expected.

    Phi = exp(-d_cos / (2 sigma_e^2) - d_position^2 / (2 sigma_s^2)) as in Eq. 7 and 8, with additions for time: the
    sigmas grow with the time a track is out of sight, and the longer it is, the less likely it comes back. Sizes are
    compared in the same way as positions; the horizontal position is for `position_log_affinity`.
    """
    y, width, height = (_squared_differences(tracks.box_state[:, i], segments.box_state[:, i]) for i in (1, 2, 3))
    result: np.ndarray = y / (-2 * position_variance(tracks.box_state, 1, elapsed, settings))[:, None]
    width += height
    result += width / (-2 * (settings.sigma_size**2 + (settings.sigma_size_rate * elapsed)**2))[:, None]
    if tracks.embedding is not None and segments.embedding is not None:
        distance = 1 - tracks.embedding @ segments.embedding.T
        result -= distance / (2 * embedding_variance(
            np.minimum.outer(box_areas(tracks.box_state), box_areas(segments.box_state)), elapsed[:, None], settings))
    result -= np.log1p(missed[:, None] / settings.lost_half_life)
    with np.errstate(divide="ignore"):
        result += np.log(np.maximum(tracks.class_share @ segments.class_share.T,
                                    np.float32(settings.class_mismatch_factor)))
    return result


def position_log_affinity(tracks: Cues, segments: Cues, elapsed: np.ndarray, iou: np.ndarray, log_gate: np.ndarray,
                          settings: TrackerSettings) -> np.ndarray:
    """The rest of log Phi, (M, N): horizontal position and mask IoU, after camera-motion compensation.

    iou: (M, N) IoU of the predicted masks with the segments; 1 - IoU is taken as d_cos is. log_gate: (M,) that of
    `log_gate_area`: the less is known where a mask should be, the less it says that it is not there.
    """
    x = _squared_differences(tracks.box_state[:, 0], segments.box_state[:, 0])
    result: np.ndarray = x / (-2 * position_variance(tracks.box_state, 0, elapsed, settings))[:, None]
    result -= (1 - iou) * (np.exp(-log_gate) / (2 * settings.sigma_iou**2))[:, None]
    return result


def embedding_variance(area: np.ndarray, elapsed: np.ndarray, settings: TrackerSettings) -> np.ndarray:
    """sigma_e^2 of Eq. 7 for pairs of views, in the shape of the arguments.

    area: of the smaller box of a pair, image heights squared: the mean over few pixels is noise. elapsed: seconds
    between the views: an object's embedding wanders as its view changes.
    """
    result: np.ndarray = settings.sigma_embedding**2 * (1 + elapsed / settings.embedding_drift_time) * (
        1 + settings.embedding_noise_size**2 / area)
    return result


def box_areas(box_state: np.ndarray) -> np.ndarray:
    """Areas (M,) of boxes (M, 4), image heights squared."""
    areas: np.ndarray = np.exp(box_state[:, 2] + box_state[:, 3])
    return areas


def position_variance(box_state: np.ndarray, axis: int, elapsed: np.ndarray | float,
                      settings: TrackerSettings) -> np.ndarray:
    """Variance (M,) of the position that box states (M, 4) predict, after this time; axis 0 is x, 1 is y.

    The centre of what is large and partly hidden jumps further than that of what is small.
    """
    extent = settings.sigma_position_relative * np.exp(box_state[:, 2 + axis])
    velocity = settings.sigma_velocity_y if axis else settings.sigma_velocity_x
    result: np.ndarray = settings.sigma_position**2 + extent**2 + (velocity * elapsed)**2
    return result


def is_possible_motion(tracks: Cues, segments: Cues, elapsed: np.ndarray, settings: TrackerSettings) -> np.ndarray:
    """Whether M tracks can have moved to where N segments are, (M, N) bool: centre and size within LARGEST_DEVIATION
    standard deviations of the predicted ones. elapsed: (M,) seconds since each was last seen."""
    squares = [_squared_differences(tracks.box_state[:, i], segments.box_state[:, i]) for i in range(4)]
    size_variance = settings.sigma_size**2 + (settings.sigma_size_rate * elapsed)**2
    variances = [*(position_variance(tracks.box_state, axis, elapsed, settings) for axis in (0, 1)),
                 size_variance, size_variance]
    possible = [square <= LARGEST_DEVIATION**2 * variance[:, None]
                for square, variance in zip(squares, variances, strict=True)]
    return np.logical_and.reduce(possible)


def log_gate_area(box_state: np.ndarray, elapsed: np.ndarray, interval: float, settings: TrackerSettings) -> np.ndarray:
    """Log area of each track's gate (where it may be), relative to that of one seen in the last frame, (M,).

    interval: seconds since the last frame.
    """
    ratios = [position_variance(box_state, axis, elapsed, settings)
              / position_variance(box_state, axis, interval, settings) for axis in (0, 1)]
    result: np.ndarray = np.log(ratios[0] * ratios[1]) / 2
    return result


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (M, N) of boxes given as box states (M, 4) and (N, 4)."""
    intersections = []
    for axis in (0, 1):
        (low_a, high_a), (low_b, high_b) = _extent(first, axis), _extent(second, axis)
        intersections.append(np.maximum(np.minimum.outer(high_a, high_b) - np.maximum.outer(low_a, low_b), 0))
    intersection: np.ndarray = intersections[0] * intersections[1]
    area_a, area_b = (box_areas(box_state) for box_state in (first, second))
    iou: np.ndarray = intersection / (np.add.outer(area_a, area_b) - intersection)
    return iou


def _extent(box_state: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    half = np.exp(box_state[:, 2 + axis]) / 2
    return box_state[:, axis] - half, box_state[:, axis] + half


def _squared_differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    difference: np.ndarray = np.subtract.outer(first, second)
    return difference * difference
