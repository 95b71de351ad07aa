"""Replays a recording in process: every frame, in order, with the same results each time."""

from __future__ import annotations

from threading import Event
from time import perf_counter
from typing import Any

from tqdm import tqdm

from panoptic_ros.bags.recording import BrokenFrame, Recording
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.perception import Perception
from panoptic_ros.replay.accounting import ReplaySink


def replay(recording: Recording, perception: Perception, result: ReplaySink, stop: Event) -> dict[str, Any]:
    """Segment and track every image of the recording; returns the summary of `result`.

    Latencies are those of the perception: reading images and what `result` does is not in them, nor in `fps`.
    A broken frame is reported and skipped. When `stop` is set, the files are completed with what there is.
    """
    seconds, sizes = 0.0, set()
    engine = perception.engine
    facts = {"mode": "in process", "engine": engine.name, "device": str(engine.device), "precision": engine.precision}
    try:
        for item in tqdm(recording.frames(), total=recording.frame_count, unit="frame", disable=None):
            if stop.is_set():
                break
            if isinstance(item, BrokenFrame):
                result.drop(item)
                continue
            if (item.height, item.width) not in sizes:
                sizes.add((item.height, item.width))
                perception.warm_up(item.height, item.width)
            start = perf_counter()
            try:
                frame = perception(item)
            except InputError as error:
                result.drop(_unusable(item, error))
                continue
            spent = perf_counter() - start
            seconds += spent
            result.add(frame, {**frame.timings_ms, "end_to_end": 1e3 * spent})
    except BaseException:
        result.finish(seconds, facts, interrupted=True)
        raise
    return result.finish(seconds, facts, interrupted=stop.is_set())


def _unusable(image: CameraImage, error: InputError) -> BrokenFrame:
    return BrokenFrame(image.camera, "image cannot be segmented", f"{image.moment}: {error}")
