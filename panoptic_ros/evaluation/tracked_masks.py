"""The masks of tracked things in one image, truth against prediction: what MOTSA, IDF1 and HOTA are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.evaluation.tubes import tube_class, tube_keys
from panoptic_ros.labels import NO_CLASS, PanopticLabel


@dataclass(frozen=True)
class TrackedMasks:
    """The T truth masks and P predicted masks of one image that count, and the K pairs of one class that overlap.

    truth: (T,), predicted: (P,) int64 keys of tubes, each once.
    truth_row, predicted_row: (K,) rows of the two. iou: (K,) in (0, 1].
    """

    truth: np.ndarray
    predicted: np.ndarray
    truth_row: np.ndarray
    predicted_row: np.ndarray
    iou: np.ndarray


def tracked_masks(predicted: PanopticLabel, truth: PanopticLabel, is_thing: np.ndarray, frame: int,
                  shared: np.ndarray | None = None) -> TrackedMasks:
    """The masks of one image, by the rules of KITTI-MOTS (Voigtlaender et al. 2019) as trackeval has them.

    is_thing: (C,) bool. frame: the image's number in its sequence. shared: (N + 1, M + 1) as `overlap` gives it.
    Truth masks are the things with an object id that are no crowd. What else the truth has of things, and void, is to
    be ignored: a predicted mask that lies by more than half on void and on ignored things of its own class does not
    count (it cannot match: its IoU is below 0.5 with any truth mask). The IoU is that of the whole masks, void
    included, as there.
    Several predicted segments with one object id and class are one mask; a predicted thing without an object id is a
    track of its own in each image. A row without pixels is no mask.
    """
    if shared is None:
        shared = overlap(predicted.segment_map, truth.segment_map, len(predicted), len(truth))
    things = np.append(is_thing, False)
    is_track = things[truth.class_id] & ~truth.is_crowd & (truth.object_id > 0)
    truth_keys, truth_index = _masks(truth, is_track & shared[:, 1:].any(0), is_thing, frame)
    predicted_keys, predicted_index = _masks(predicted, things[predicted.class_id] & shared[1:].any(1), is_thing, frame)

    row, column = np.nonzero(shared)
    pixels = shared[row, column]
    p, t = predicted_index[row], truth_index[column]
    predicted_area = np.bincount(p[p >= 0], pixels[p >= 0], len(predicted_keys))
    truth_area = np.bincount(t[t >= 0], pixels[t >= 0], len(truth_keys))

    both = (p >= 0) & (t >= 0)
    cells = np.bincount(p[both] * len(truth_keys) + t[both], pixels[both], len(predicted_keys) * len(truth_keys))
    cells = cells.reshape(len(predicted_keys), len(truth_keys))
    predicted_row, truth_row = np.nonzero(
        cells * (tube_class(predicted_keys)[:, None] == tube_class(truth_keys)[None]))
    common = cells[predicted_row, truth_row]
    iou = common / (predicted_area[predicted_row] + truth_area[truth_row] - common)

    ignored_class = np.concatenate([[NO_CLASS], np.where(is_track, NO_CLASS, truth.class_id)])[column]
    own_class = np.concatenate([[NO_CLASS], predicted.class_id])[row]
    ignored = (p >= 0) & ((column == 0) | (ignored_class == own_class))
    ignored_area = np.bincount(p[ignored], pixels[ignored], len(predicted_keys))
    counts = ignored_area * 2 <= predicted_area
    kept = counts[predicted_row]
    return TrackedMasks(truth_keys, predicted_keys[counts], truth_row[kept],
                        (np.cumsum(counts) - 1)[predicted_row[kept]], iou[kept])


def _masks(label: PanopticLabel, chosen: np.ndarray, is_thing: np.ndarray,
           frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys of the chosen segments, each once, and the row among them of each pixel value 0..N, -1 = not chosen."""
    keys, inverse = np.unique(tube_keys(label, is_thing, frame)[chosen], return_inverse=True)
    index = np.full(len(label) + 1, -1)
    index[1:][chosen] = inverse
    return keys, index
