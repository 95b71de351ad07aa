"""What a worker does with one recording: evaluate, replay or label it -> files, a row and counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.recording import BrokenFrame, Recording
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.metrics import METRICS
from panoptic_ros.evaluation.replay_evaluation import ReplayEvaluation, evaluation_settings
from panoptic_ros.evaluation.truth_sources import open_truth
from panoptic_ros.fleet.job import Job
from panoptic_ros.fleet.storage import recording_name
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labelling.label_recording import LabelSettings, label_recording, labelling_perception
from panoptic_ros.latency import LatencyHistogram
from panoptic_ros.model import Model
from panoptic_ros.perception import Perception
from panoptic_ros.replay.accounting import ReplaySink
from panoptic_ros.replay.in_process import replay
from panoptic_ros.replay.result import ResultWriter

# Columns of a fleet's table, as far as they were measured; the first that was ranks the recordings.
HEADLINES = ("panoptic.all.pq", "miou", "mask_ap.ap", "stq.stq", "vpq.mean", "mots.hota", "mots.idf1",
             "mots.id_switches", "flicker", "depth.abs_rel", "class_change.predicted_change")


@dataclass
class Work:
    """What came out of one recording.

    row: counts, and the quality of the recording alone; the same in every run. counters: see `Scorer.state`.
    latency: by stage.
    """

    row: dict[str, Any]
    counters: dict[str, np.ndarray] = field(default_factory=dict)
    latency: dict[str, LatencyHistogram] = field(default_factory=dict)


def make_perception(job: Job, model: Model) -> Perception:
    """What a worker keeps between recordings. Raises InputError where the model cannot be run so on this machine."""
    if job.command == "label":
        return labelling_perception(model, LabelSettings(**job.options), job.engine, job.device, job.precision)
    return Perception(model, job.engine, job.device, job.precision, with_semantics=job.command == "evaluate")


def work_on(job: Job, place: Path, name: str, perception: Perception, out: Path, facts: Mapping[str, Any]) -> Work:
    """Do the job with the recording at `place`, into the folder `out`.

    name: what the recording is called. facts: what results have to say besides.
    Raises InputError where the recording or its truth cannot be used, or nothing came out.
    """
    perception.start_recording()
    recording = open_recording(place, job.topics)
    if job.focal_length is not None:
        recording = recording.with_focal_length(job.focal_length)
    if job.command == "label":
        return _label(job, recording, perception, out)
    return _evaluate(job, recording, name, perception, out, facts) if job.command == "evaluate" else _replay(
        job, recording, perception, out)


def _evaluate(job: Job, recording: Recording, name: str, perception: Perception, out: Path,
              facts: Mapping[str, Any]) -> Work:
    model, truth_name = perception.model, job.options["truth"]
    truth = open_truth(truth_name and truth_name.replace("{name}", recording_name(name)), recording, model.classes,
                       job.options["match"])
    recording = recording if truth is None else truth.matched_recording()
    evaluation = ReplayEvaluation(out, recording, model.classes, model.model_id, truth, evaluation_settings(model),
                                  {**facts, "truth": truth.facts() if truth else None})
    work, summary = _counted(recording, perception, evaluation)
    work.counters = evaluation.counters()
    work.row["frames"] = summary["frames"]
    work.row["quality"] = {key: value for key in HEADLINES if (value := METRICS[key].value(summary)) is not None}
    work.row["worst_frames"] = [{"frame": w.number, "camera": w.camera, "stamp_ns": w.stamp_ns, "quality": w.quality}
                                for w in evaluation.worst_frames]
    return work


def _replay(job: Job, recording: Recording, perception: Perception, out: Path) -> Work:
    model = perception.model
    writer = ResultWriter(out, recording, model.classes, model.model_id, job.options["overlay"])
    work, summary = _counted(recording, perception, writer)
    work.row["frames"] = {"in": summary["frames_in"], "out": summary["frames_out"], "dropped": summary["dropped"]}
    return work


def _label(job: Job, recording: Recording, perception: Perception, out: Path) -> Work:
    report = label_recording(recording, perception.model, out, LabelSettings(**job.options), Event(), job.engine,
                             job.device, job.precision, perception)
    assert report is not None  # nobody stops it
    pixels = report["pixels"]
    return Work({
        "frames": {"in": report["images"], "out": report["labelled"], "dropped": {}},
        "labels": {"pixels": pixels, "void_pixels": {k: round(v * pixels) for k, v in report["void"].items()},
                   "classes": {name: {"segments": one["segments"], "pixels": round(one["pixel_share"] * pixels)}
                               for name, one in report["classes"].items()}}})


def _counted(recording: Recording, perception: Perception, sink: ReplaySink) -> tuple[Work, dict[str, Any]]:
    counting = _CountingSink(sink)
    summary = replay(recording, perception, counting, Event())
    frames_out = counting.frames
    if not frames_out:
        problems = "; ".join(summary["problems"][:2])
        raise InputError(f"not one image of {recording.path.name} could be segmented" + (f": {problems}" * bool(
            problems)))
    return Work({"tracks": summary["tracks"], "segments": counting.segments,
                 "warnings": summary["warnings"]}, latency=counting.latency), summary


class _CountingSink:
    """A `ReplaySink` that counts what adds up over recordings, and gives everything to another."""

    def __init__(self, sink: ReplaySink) -> None:
        self._sink = sink
        self.frames = self.segments = 0
        self.latency: dict[str, LatencyHistogram] = {}

    def add(self, frame: PanopticFrame, latency_ms: Mapping[str, float]) -> None:
        self.frames += 1
        self.segments += len(frame.segments)
        for stage, value in latency_ms.items():
            self.latency.setdefault(stage, LatencyHistogram()).add(value)
        self._sink.add(frame, latency_ms)

    def add_received(self, image: CameraImage, cdr: Mapping[str, bytes], latency_ms: Mapping[str, float]) -> None:
        self._sink.add_received(image, cdr, latency_ms)

    def drop(self, broken: BrokenFrame) -> None:
        self._sink.drop(broken)

    def finish(self, seconds: float, facts: Mapping[str, Any], interrupted: bool = False) -> dict[str, Any]:
        return self._sink.finish(seconds, facts, interrupted)
