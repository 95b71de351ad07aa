"""Scores a replay frame by frame, in process and live alike, and leaves evaluation.json and report.html behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from panoptic_ros.atomic_write import write_atomically
from panoptic_ros.bags.recording import BrokenFrame, Recording
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.content_hash import hash_settings
from panoptic_ros.evaluation.counters import counters_as_arrays
from panoptic_ros.evaluation.report import Report, render
from panoptic_ros.evaluation.report.report import WorstFrame
from panoptic_ros.evaluation.results import write_result
from panoptic_ros.evaluation.scorer import FrameScore, Scorer
from panoptic_ros.evaluation.sums import Sums
from panoptic_ros.evaluation.truth_sources import MatchedTruth
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.model import Model
from panoptic_ros.replay.accounting import ReplayAccount
from panoptic_ros.replay.result import received_frame
from panoptic_ros.tracking import TrackerSettings

OUTPUTS = ("evaluation.json", "report.html")


def evaluation_settings(model: Model) -> dict[str, Any]:
    """The `settings` of an evaluation of this model: what decides its results besides the network."""
    return {"method": model.method, "thresholds": dataclasses.asdict(model.thresholds),
            "tracking": dataclasses.asdict(TrackerSettings())}


@dataclass(frozen=True)
class ClassChangeTotals(Sums):
    """Pixels of pairs of consecutive images, and those of them whose predicted class changes."""

    pixels: int = 0
    changed: int = 0

    def result(self) -> dict[str, Any]:
        """The part of a result that says it, empty without a pair."""
        return {"class_change": {"predicted_change": self.changed / self.pixels}} if self.pixels else {}


class ReplayEvaluation:
    """The `ReplaySink` that scores; a camera is a sequence.

    truth: matched with the images of `recording`, which is its `follow()`; None where there is none: then no quality is
    measured but how much of the image changes its class from frame to frame.
    settings: what was decided before the run: thresholds, tracking. facts: what evaluation.json has to say besides,
    such as hashes.
    Of what `finish` returns and writes, only `latency_ms` and `fps` differ between two runs in process.
    """

    def __init__(self, out: Path, recording: Recording, classes: ClassTable, model_id: str,
                 truth: MatchedTruth | None, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self._out, self._recording, self._model_id = out, recording, model_id
        self._classes = classes
        self._truth, self._settings, self._facts = truth, dict(settings), dict(facts)
        self._account = ReplayAccount(recording)
        self._changes = _ClassChanges()
        self._scored = 0
        self._scorer: Scorer | None = None
        if truth is None:
            self._report = Report(classes, frozenset())
        else:
            dataset = truth.dataset
            self._scorer = Scorer(dataset.classes, dataset.truth, classes)
            self._report = Report(dataset.classes, dataset.truth)

    def add(self, frame: PanopticFrame, latency_ms: Mapping[str, float]) -> None:
        """Score a frame. Raises InputError where its truth cannot be read or does not fit."""
        self._account.add(frame, latency_ms)
        image, predicted = frame.image, PanopticLabel.of_frame(frame)
        truth: PanopticLabel | None = None
        true_depth: np.ndarray | None = None
        score: FrameScore | None = None
        if self._scorer is None or self._truth is None:
            self._changes.add(image.camera, frame.semantic_map())
        else:
            truth = self._truth.label(image)
            if truth is not None:
                true_depth = self._truth.depth(image) if frame.depth is not None else None
                score = self._scorer.add(predicted, truth, image.camera, frame.depth, true_depth,
                                         f"{image.camera} {image.moment}")
                self._scored += 1
            predicted = self._scorer.translated(predicted)
        self._report.add(frame, predicted, truth, score, latency_ms, true_depth)

    def add_received(self, image: CameraImage, cdr: Mapping[str, bytes], latency_ms: Mapping[str, float]) -> None:
        """Score what a node published for an image."""
        self.add(received_frame(image, cdr, self._classes), latency_ms)

    def drop(self, broken: BrokenFrame) -> None:
        """Count frames that have no result, and say why."""
        self._account.drop(broken)

    def finish(self, seconds: float, facts: Mapping[str, Any], interrupted: bool = False) -> dict[str, Any]:
        """Write evaluation.json and report.html and return the evaluation.

        Raises InputError where there was truth and, though not interrupted, not one frame could be scored.
        """
        summary = self._account.summary(seconds, self._model_id, facts, interrupted)
        frames: dict[str, Any] = {"in": summary.pop("frames_in"), "out": summary.pop("frames_out"),
                                  "dropped": summary.pop("dropped")}
        quality: dict[str, Any] = {}
        if self._truth is None or self._scorer is None:
            quality = self._changes.totals.result()
        else:
            unmatched = self._truth.unmatched()
            if interrupted:
                del unmatched["truth_without_frame"]  # the truth of images that were not read any more is not missing
            frames["scored"] = self._scored
            frames |= {kind: one.total for kind, one in unmatched.items()}
            try:
                if not self._scored:
                    raise InputError(self._nothing_scored(frames))
                quality = self._scorer.result()
            except InputError as error:
                if not interrupted:
                    raise
                quality = {"warnings": [str(error)]}
            # In the account, `warnings` are counted; these are told once.
            summary["notices"] += quality.pop("warnings", [])
            if listed := {kind: one.first for kind, one in unmatched.items() if one.first}:
                quality["unmatched"] = listed
        settings: dict[str, Any] = dict(self._settings)
        settings |= {key: summary[key] for key in ("mode", "rate", "engine", "device", "precision") if key in summary}
        evaluation = {**summary, "frames": frames, "settings": settings, "settings_hash": hash_settings(settings),
                      **self._facts, **quality}
        write_result(self._out / "evaluation.json", evaluation)
        write_atomically(self._out / "report.html", render(self._report, evaluation))
        return {**evaluation, "files": list(OUTPUTS)}

    def counters(self) -> dict[str, np.ndarray]:
        """All that adds up over recordings, as arrays with names: see `Scorer.state`; without truth the changes."""
        return self._scorer.state() if self._scorer else counters_as_arrays({"changes": self._changes.totals})

    @property
    def worst_frames(self) -> list[WorstFrame]:
        """Those of least quality, the worst first."""
        return self._report.worst

    def _nothing_scored(self, frames: Mapping[str, Any]) -> str:
        assert self._truth is not None
        unmatched = self._truth.unmatched()
        if not frames["out"]:
            return f"not one of the {frames['in']} images of {self._recording.path} could be segmented"
        return (f"not one of the {frames['out']} segmented images of {self._recording.path} has truth in "
                f"{self._truth.source} (matched by {self._truth.match}: {self._truth.reason}). Images: "
                f"{'; '.join(unmatched['without_truth'].first[:2])}. Truth: "
                f"{', '.join(unmatched['truth_without_frame'].first[:2])}. Choose another way with --match, or another "
                "truth with --truth")


class _ClassChanges:
    """Share of the pixels whose class is another than in the image before, over all cameras."""

    def __init__(self) -> None:
        self._before: dict[str, np.ndarray] = {}
        self.totals = ClassChangeTotals()

    def add(self, camera: str, class_map: np.ndarray) -> None:
        before = self._before.get(camera)
        if before is not None and before.shape == class_map.shape:
            self.totals += ClassChangeTotals(class_map.size, int(np.count_nonzero(before != class_map)))
        self._before[camera] = class_map
