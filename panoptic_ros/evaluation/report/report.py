"""Report: takes the frames of an evaluation one by one and keeps what report.html shows of them."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from panoptic_ros.classes import ClassTable
from panoptic_ros.datasets.dataset import Truth
from panoptic_ros.evaluation.report.clips import CLIP_WIDTH, ClipKeeper
from panoptic_ros.evaluation.report.pictures import error_map, painted, painted_errors, scaled_image, webp
from panoptic_ros.evaluation.report.tracks import TrackTimeline
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.viewing.depth import LARGEST_ERROR, draw_depth, draw_depth_errors

if TYPE_CHECKING:
    from panoptic_ros.evaluation.scorer import FrameScore

WORST_FRAMES = 10
PICTURE_WIDTH = 720
_WEBP_QUALITY = 78
DEPTH_ERRORS = f"depth errors, from none (blue) to {LARGEST_ERROR:.0%} of the depth and more (red)"


@dataclass(frozen=True)
class WorstFrame:
    """A frame with its pictures as WebP files: name -> file, in the order in which they are shown."""

    number: int
    camera: str
    stamp_ns: int | None
    quality: float
    void_share: float
    pictures: dict[str, bytes]


class Report:
    """Collects what `render` shows; what it keeps of a frame are some numbers, and images of few frames.

    classes: the table that predictions and truths are in.
    truth: what the truth's labels can judge; where they are not PANOPTIC, objects are not told apart.
    """

    def __init__(self, classes: ClassTable,
                 truth: frozenset[Truth] = frozenset({Truth.PANOPTIC, Truth.TRACKS})) -> None:
        self.classes, self.truth = classes, truth
        tells_objects = bool(truth & {Truth.PANOPTIC, Truth.TRACKS})
        self._is_thing = classes.thing_mask & tells_objects
        self.stamps_ns: list[int | None] = []
        self.quality = array("d")  # NaN where there is no score
        self.camera_of = array("H")  # index into `cameras`
        self.cameras: dict[str, ClipKeeper] = {}
        self.latency_ms: dict[str, array[float]] = {}  # NaN where a frame lacks the stage
        self.timeline = TrackTimeline(classes)
        self._worst: list[tuple[float, int, WorstFrame]] = []  # a heap whose first is the best of the worst

    def add(self, frame: PanopticFrame, predicted: PanopticLabel, truth: PanopticLabel | None,
            score: FrameScore | None, latency_ms: Mapping[str, float], true_depth: np.ndarray | None = None) -> None:
        """Take the next frame; the frames of several cameras may come interleaved.

        predicted, truth: its labels, in the table of the report. latency_ms: milliseconds per stage.
        true_depth: (H, W) metres, where the frame's is judged by it.
        """
        image, number = frame.image, len(self.stamps_ns)
        quality = None if score is None else score.quality
        clips = self.cameras.setdefault(image.camera, ClipKeeper())
        self.camera_of.append(list(self.cameras).index(image.camera))
        self.stamps_ns.append(image.stamp_ns)
        self.quality.append(np.nan if quality is None else quality)
        self._note_latency(latency_ms, number)
        self.timeline.add(number, image.camera, predicted, truth if Truth.TRACKS in self.truth else None)
        if clips.wants(image.stamp_ns):
            overlay = painted(scaled_image(image, CLIP_WIDTH), predicted, self.classes)
            clips.add(overlay, number, image.stamp_ns, quality)
        if truth is not None and score is not None and quality is not None and self._is_among_worst(quality):
            worst = WorstFrame(number, image.camera, image.stamp_ns, quality, score.void_share,
                               self._pictures(frame, predicted, truth, true_depth))
            push = heapq.heappush if len(self._worst) < WORST_FRAMES else heapq.heapreplace
            push(self._worst, (-quality, -number, worst))

    @property
    def worst(self) -> list[WorstFrame]:
        """The frames of least quality, the worst first."""
        return [worst for _, _, worst in sorted(self._worst, key=lambda entry: (-entry[0], -entry[1]))]

    def _is_among_worst(self, quality: float) -> bool:
        # Of two equally bad frames the earlier one stays.
        return len(self._worst) < WORST_FRAMES or quality < -self._worst[0][0]

    def _note_latency(self, latency_ms: Mapping[str, float], number: int) -> None:
        for stage in latency_ms:
            if stage not in self.latency_ms:
                self.latency_ms[stage] = array("d", [np.nan]) * number
        for stage, values in self.latency_ms.items():
            values.append(latency_ms.get(stage, np.nan))

    def _pictures(self, frame: PanopticFrame, predicted: PanopticLabel, truth: PanopticLabel,
                  true_depth: np.ndarray | None) -> dict[str, bytes]:
        image = scaled_image(frame.image, PICTURE_WIDTH)
        errors = error_map(predicted, truth, self._is_thing)
        pictures = {"image": image.pixels, "truth": painted(image, truth, self.classes),
                    "prediction": painted(image, predicted, self.classes), "errors": painted_errors(image, errors)}
        if frame.depth is not None and true_depth is not None:
            size = image.width, image.height
            true, found = (cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)
                           for depth in (true_depth, frame.depth))
            pictures |= {"true depth": draw_depth(true), "predicted depth": draw_depth(found),
                         DEPTH_ERRORS: draw_depth_errors(found, true)}
        return {name: webp(picture, _WEBP_QUALITY) for name, picture in pictures.items()}
