"""How likely a segment and a track are one object: HLE's kernel Phi (Sec. 3.5), taken between frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.tracking.settings import TrackerSettings


@dataclass(frozen=True)
class Cues:
    """What segments and tracks are compared by, N rows.

    class_share: (N, C) float32, how much of the evidence is for which class, rows sum up to 1; C as large as need be.
    place: (N, 4) float32, centre x, centre y (image heights), log width, log height of the box.
    embedding: (N, D) float32 of unit length, or None.
    """

    class_share: np.ndarray
    place: np.ndarray
    embedding: np.ndarray | None

    def __len__(self) -> int:
        return len(self.place)

    def select(self, rows: np.ndarray) -> Cues:
        """These rows (indices or a mask)."""
        return Cues(self.class_share[rows], self.place[rows], None if self.embedding is None else self.embedding[rows])


def place_of_boxes(box: np.ndarray, image_height: int) -> np.ndarray:
    """Boxes (N, 4) x0, y0, x1, y1 in pixels -> (N, 4) float32 as in `Cues.place`."""
    corners = box.astype(np.float32) / image_height
    size = np.maximum(corners[:, 2:] - corners[:, :2], 1e-4)
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, np.log(size)], axis=1)


def log_likeness(tracks: Cues, segments: Cues, elapsed: np.ndarray, hidden: np.ndarray,
                 settings: TrackerSettings) -> np.ndarray:
    """Logarithm of Phi between M predicted tracks and N segments by all that a turn of the camera does not change.

    elapsed: (M,) seconds since each track was last seen. hidden: (M,) how many of these it was missed in a frame.
    Returns (M, N) float32; 0 for what is exactly as expected.

    Phi = exp(-d_cos / (2 sigma_e^2) - d_place^2 / (2 sigma_s^2)) as in Eq. 7 and 8, with additions for time: the
    sigmas grow with the time a track is out of sight, and the longer it is, the less likely it comes back. Sizes are
    compared in the same way as places; the horizontal place is for `log_position`.
    """
    y, width, height = (_squared_differences(tracks.place[:, i], segments.place[:, i]) for i in (1, 2, 3))
    result: np.ndarray = y / (-2 * place_variance(tracks.place, 1, elapsed, settings))[:, None]
    width += height
    result += width / (-2 * (settings.sigma_size**2 + (settings.sigma_growth * elapsed)**2))[:, None]
    if tracks.embedding is not None and segments.embedding is not None:
        result -= embedding_distance(tracks.embedding, segments.embedding, elapsed, settings)
    result -= np.log1p(hidden[:, None] / settings.patience)
    with np.errstate(divide="ignore"):
        result += np.log(np.maximum(tracks.class_share @ segments.class_share.T, np.float32(settings.class_change)))
    return result


def log_position(tracks: Cues, segments: Cues, elapsed: np.ndarray, overlap: np.ndarray, spread: np.ndarray,
                 settings: TrackerSettings) -> np.ndarray:
    """The rest of Phi's logarithm (M, N): horizontal place, and overlap of the masks.

    overlap: (M, N) IoU of the predicted masks with the segments; 1 - IoU is taken as d_cos is. spread: (M,) that of
    `log_spread`: the less is known where a mask should be, the less it says that it is not there.
    """
    x = _squared_differences(tracks.place[:, 0], segments.place[:, 0])
    result: np.ndarray = x / (-2 * place_variance(tracks.place, 0, elapsed, settings))[:, None]
    result -= (1 - overlap) * (np.exp(-spread) / (2 * settings.sigma_overlap**2))[:, None]
    return result


def embedding_distance(tracks: np.ndarray, segments: np.ndarray, elapsed: np.ndarray,
                       settings: TrackerSettings) -> np.ndarray:
    """d_cos / (2 sigma_e^2) of Eq. 7 between (M, D) and (N, D) of unit length -> (M, N).

    sigma_e^2 grows in proportion to the time: an object's embedding wanders as its view changes.
    """
    variance = settings.sigma_embedding**2 * (1 + elapsed[:, None] / settings.embedding_memory)
    result: np.ndarray = (1 - tracks @ segments.T) / (2 * variance)
    return result


def place_variance(place: np.ndarray, axis: int, elapsed: np.ndarray | float, settings: TrackerSettings) -> np.ndarray:
    """Square of the sigma of each track's place (M, 4) after this time, (M,); axis 0 is x, 1 is y.

    The centre of what is large and partly hidden jumps further than that of what is small.
    """
    extent = settings.sigma_extent * np.exp(place[:, 2 + axis])
    speed = settings.sigma_climb if axis else settings.sigma_speed
    result: np.ndarray = settings.sigma_position**2 + extent**2 + (speed * elapsed)**2
    return result


def log_spread(place: np.ndarray, elapsed: np.ndarray, interval: float, settings: TrackerSettings) -> np.ndarray:
    """How many times larger the area is where each track may be than for one seen in the last frame, (M,), logarithm.

    interval: seconds since the last frame.
    """
    ratios = [place_variance(place, axis, elapsed, settings) / place_variance(place, axis, interval, settings)
              for axis in (0, 1)]
    result: np.ndarray = np.log(ratios[0] * ratios[1]) / 2
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
