"""Which pixels of a prediction are not sure enough to be a label: they become void."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from panoptic_ros.classes import VOID
from panoptic_ros.labelling.predictions import Prediction


class Doubt(IntEnum):
    """Why a pixel is void: the first reason that applies."""

    NONE = 0
    UNSEGMENTED = 1  # no segment has it
    SCORE = 2  # its segment's score is too low
    UNTRACKED = 3  # its segment is a thing that no track follows: seen once
    CLASS = 4  # its segment's class is not the likeliest of the pixel, or not the track's
    TIME = 5  # an image before or after says another class of the same place
    REMNANT = 6  # most of its segment is void


def doubts_of(prediction: Prediction, segment_map: np.ndarray, semantics: np.ndarray, neighbours: Sequence[np.ndarray],
              track_class: dict[tuple[str, int], int], min_score: float, min_left: float) -> np.ndarray:
    """(H, W) uint8, values of `Doubt`.

    segment_map, semantics: (H, W) of the prediction. neighbours: class maps (H, W) uint8 of the images before and
    after, carried over to this one, VOID where they say nothing. track_class: class of each (camera, track).
    min_score: of a segment. min_left: share of a segment that must be without doubt, else all of it is void.
    """
    # By segment, row 0 being void.
    track = [track_class.get((prediction.camera, int(number)), int(class_id))
             for number, class_id in zip(prediction.track_id, prediction.class_id, strict=True)]
    of_segment = np.select(
        [prediction.score < min_score, prediction.is_thing & (prediction.track_id == 0),
         np.array(track, np.int64) != prediction.class_id],
        [int(Doubt.SCORE), int(Doubt.UNTRACKED), int(Doubt.CLASS)], int(Doubt.NONE))
    doubt = np.concatenate([[int(Doubt.UNSEGMENTED)], of_segment]).astype(np.uint8)[segment_map]
    class_map = np.concatenate([[VOID], prediction.class_id]).astype(np.uint8)[segment_map]
    doubt[(doubt == Doubt.NONE) & (semantics != class_map)] = Doubt.CLASS
    for other in neighbours:
        doubt[(doubt == Doubt.NONE) & (other != VOID) & (other != class_map)] = Doubt.TIME
    rows = len(prediction.class_id) + 1
    area = np.bincount(segment_map.ravel(), minlength=rows)
    left = np.bincount(segment_map[doubt == Doubt.NONE], minlength=rows)
    doubt[(left < min_left * area)[segment_map] & (doubt == Doubt.NONE)] = Doubt.REMNANT
    return doubt


def classes_of_tracks(predictions: Sequence[Prediction]) -> dict[tuple[str, int], int]:
    """The class that each track of a camera has in most images, by score."""
    votes: dict[tuple[str, int], dict[int, float]] = {}
    for one in predictions:
        for number, class_id, score in zip(one.track_id.tolist(), one.class_id.tolist(), one.score.tolist(),
                                           strict=True):
            if number:
                cast = votes.setdefault((one.camera, number), {})
                cast[class_id] = cast.get(class_id, 0.0) + score
    return {track: max(sorted(cast), key=cast.__getitem__) for track, cast in votes.items()}
