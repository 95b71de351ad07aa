"""Which images of a recording are labelled: those in which something has moved, and that show something new."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from panoptic_ros.labelling.predictions import Prediction


def select_key_frames(predictions: Iterable[Prediction], motion: float, novelty: float, count: int = 0) -> list[int]:
    """The numbers of the key frames.

    motion: the motion since the camera's last key frame, summed up, must be this share of the image's width.
    novelty: 1 - the cosine similarity to the most similar key frame of the camera must be at least this.
    count: so many at most, evenly spread over those, 0 = all. The first image of each camera is one.
    """
    chosen: list[int] = []
    moved: dict[str, float] = {}
    seen: dict[str, list[np.ndarray]] = {}
    for one in predictions:
        moved[one.camera] = moved.get(one.camera, 0.0) + one.motion
        known = seen.setdefault(one.camera, [])
        if known and (moved[one.camera] < motion or 1 - max(float(k @ one.thumbnail) for k in known) < novelty):
            continue
        chosen.append(one.number)
        known.append(one.thumbnail)
        moved[one.camera] = 0.0
    if count and len(chosen) > count:
        chosen = [chosen[i] for i in np.linspace(0, len(chosen) - 1, count).round().astype(int)]
    return chosen
