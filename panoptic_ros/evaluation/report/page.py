"""The page: what an evaluation found, put in order and filled into the template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from panoptic_ros.classes import ClassTable
from panoptic_ros.datasets.dataset import Truth
from panoptic_ros.evaluation.metrics import CLASS_COLUMNS, GROUPS, METRICS
from panoptic_ros.evaluation.report.clips import Clip, make_clip
from panoptic_ros.evaluation.report.pictures import ERROR_KINDS, as_uri
from panoptic_ros.evaluation.report.plots import MOST_ROWS, histogram, line_plot, track_plot
from panoptic_ros.evaluation.report.report import Report
from panoptic_ros.evaluation.report.tracks import TrackRow
from panoptic_ros.latency import latency_percentiles

TOTAL = "end_to_end"  # the latency of a frame as a whole, among those of its stages
MOST_CLIPPED_CAMERAS = 4

# Headline numbers by their keys: the first of a card is its large one.
_CARDS: tuple[tuple[str, ...], ...] = (
    *(tuple(f"panoptic.{group}.{key}" for key in ("pq", "sq", "rq")) for group in ("all", "things", "stuff")),
    ("pq_dagger",), ("parsing_covering",), ("miou",),
    ("mask_ap.ap", "mask_ap.ap50", "mask_ap.small", "mask_ap.medium", "mask_ap.large"),
    ("stq.stq", "stq.aq", "stq.sq"),
    ("vpq.mean", "vpq.1", "vpq.5", "vpq.10", "vpq.15"),
    ("mots.hota", "mots.deta", "mots.assa"),
    ("mots.smotsa", "mots.motsa", "mots.motsp"),
    ("mots.idf1", "mots.id_switches", "mots.fragmentations"),
    ("flicker",),
    ("class_change.followed", "class_change.truth_change", "class_change.predicted_change"),
    ("depth.rmse", "depth.abs_rel", "depth.delta1", "depth.delta2", "depth.delta3"),
)
# Facts of the run that are told in this order under these names; every other plain fact follows as it is.
_FACTS = {"input": "Input", "input_kind": "Kind of input", "bag_hash": "Hash of the input", "truth": "Truth",
          "truth_hash": "Hash of the truth", "model": "Model", "model_hash": "Hash of the model",
          "classes": "Class table", "settings": "Settings", "settings_hash": "Hash of the settings", "mode": "Mode",
          "engine": "Engine", "device": "Device", "precision": "Precision", "panoptic_ros": "panoptic_ros",
          "fps": "Frames per second"}
# What has a place of its own on the page, or is no news to its reader.
_ELSEWHERE = {*GROUPS, "frames", "latency_ms", "warnings", "notices", "problems", "files"}


@dataclass(frozen=True)
class Card:
    """A headline number with the smaller ones that belong to it: (name, value) in words."""

    name: str
    value: str
    unit: str
    rest: tuple[tuple[str, str], ...]


def render(report: Report, evaluation: Mapping[str, Any]) -> str:
    """The whole page as HTML.

    evaluation: the result as evaluation.json has it; what it lacks is not shown.
    """
    time, time_label = _time(report)
    class_columns, class_rows = class_table(report.classes, evaluation)
    return template("page.html.j2").render(
        title=f"Evaluation of {Path(str(evaluation['input'])).name}" if "input" in evaluation else "Evaluation",
        cards=list(cards(evaluation)), facts=list(facts(evaluation)), frames=frame_facts(evaluation),
        warnings=list(warnings(evaluation)), class_columns=class_columns,
        class_rows=class_rows, quality_name=_quality_name(report.truth),
        quality_plot=_quality_plot(report, time, time_label), mean_quality=_mean(report.quality),
        latency_rows=_latency_rows(report), time_plot=_frame_time_plot(report, time, time_label),
        latency_histogram=_latency_histogram(report), cameras=list(report.cameras),
        timelines=list(_timelines(report, time, time_label)), worst=report.worst, error_kinds=ERROR_KINDS,
        clips=_clips(report), time_of={w.number: f"{time[w.number]:.2f}" for w in report.worst}, time_label=time_label,
        several=len(report.cameras) > 1, version=evaluation.get("panoptic_ros"))


def template(name: str) -> Template:
    """A template of this folder; a number with the filter `percent` is a fraction."""
    # The folder itself, not the package by name: colcon puts generated messages beside the modules.
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.1f}"
    environment.filters["uri"] = as_uri
    return environment.get_template(name)


def cards(evaluation: Mapping[str, Any]) -> Iterator[Card]:
    """The headline numbers that were measured."""
    for keys in _CARDS:
        measured = [(METRICS[key], value) for key in keys if (value := METRICS[key].value(evaluation)) is not None]
        if measured:
            (first, value), *rest = measured
            yield Card(first.name, first.format(value), first.unit,
                       tuple((metric.label, metric.format(v)) for metric, v in rest))


def facts(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name, value) of all that is not empty or off; a value that is a mapping is shown as a small table."""
    for key in [*(k for k in _FACTS if k in evaluation), *(k for k in evaluation if k not in _FACTS)]:
        value = evaluation[key]
        if key not in _ELSEWHERE and not (value is None or value is False or value in ({}, [], ())):
            yield _FACTS.get(key, key.replace("_", " ").capitalize()), _told(value)


def _told(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key).replace("_", " "): _told(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return ", ".join(str(v) for v in value)
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def frame_facts(evaluation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of what came of the frames."""
    names = {"in": "frames in", "out": "segmented"}
    return [(names.get(key, str(key).replace("_", " ")),
             ", ".join(f"{count} {reason}" for reason, count in value.items()) or "0" if isinstance(value, Mapping)
             else _told(value)) for key, value in (evaluation.get("frames") or {}).items()]


def warnings(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must know, in words."""
    for key in ("notices", "warnings", "problems"):
        entries = evaluation.get(key) or ()
        if isinstance(entries, Mapping):
            entries = [f"{text} ({count} {'frame' if count == 1 else 'frames'})" for text, count in entries.items()]
        yield from (str(entry) for entry in entries)


def class_table(classes: ClassTable, evaluation: Mapping[str, Any],
                ) -> tuple[list[tuple[str, bool]], list[dict[str, Any]]]:
    """(heading, is it a fraction) of each column, and a row for each class; those in which anything was measured."""
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(classes.names):
        values = {metric.label: metric.value(evaluation, name) for metric in CLASS_COLUMNS}
        if any(value is not None for value in values.values()):
            rows.append({"name": name, "thing": classes.is_thing[k], "color": classes.colors[k],
                         "values": values})
    columns = [(metric.label, metric.unit == "%") for metric in CLASS_COLUMNS
               if any(row["values"][metric.label] is not None for row in rows)]
    return columns, rows


def _time(report: Report) -> tuple[np.ndarray, str]:
    """When each frame was taken, (N,) seconds since the first; its number where stamps are missing or do not go on."""
    stamps = np.array([stamp for stamp in report.stamps_ns if stamp is not None], np.int64)
    count = len(report.stamps_ns)
    if len(stamps) == count > 1 and (np.diff(stamps) >= 0).all() and stamps[-1] > stamps[0]:
        return (stamps - stamps[0]) / 1e9, "time (s)"
    return np.arange(count, dtype=float), "frame"


def _quality_name(truth: frozenset[Truth]) -> str:
    """What a frame's own quality is."""
    if Truth.PANOPTIC in truth:
        return "PQ of the frame"
    return "PQ of the frame's objects" if Truth.SEMANTIC not in truth else "mIoU of the frame"


def _mean(values: Any) -> float | None:
    known = np.array(values)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else None


def _quality_plot(report: Report, time: np.ndarray, time_label: str) -> Markup | None:
    quality, camera = np.array(report.quality), np.array(report.camera_of)
    if np.isnan(quality).all():
        return None
    lines = {name: np.where(camera == k, quality, np.nan) for k, name in enumerate(report.cameras)}
    return Markup(line_plot(time, lines, time_label, f"{_quality_name(report.truth)} (%)", percent=True))


def _frame_time(report: Report) -> np.ndarray:
    """Milliseconds of each frame, (N,), NaN where it was not measured: the whole, else the sum of its stages."""
    if TOTAL in report.latency_ms:
        return np.array(report.latency_ms[TOTAL])
    stages = np.array(list(report.latency_ms.values()))
    return stages.sum(axis=0) if len(stages) else np.full(len(report.stamps_ns), np.nan)


def _frame_time_plot(report: Report, time: np.ndarray, time_label: str) -> Markup | None:
    frame_time, camera = _frame_time(report), np.array(report.camera_of)
    if np.isnan(frame_time).all():
        return None
    lines = {name: np.where(camera == k, frame_time, np.nan) for k, name in enumerate(report.cameras)}
    return Markup(line_plot(time, lines, time_label, "frame time (ms)"))


def _latency_rows(report: Report) -> list[dict[str, Any]]:
    """Percentiles of each stage, and of the whole at the end."""
    rows = []
    for stage in sorted(report.latency_ms, key=lambda stage: stage == TOTAL):
        values = np.array(report.latency_ms[stage])
        values = values[~np.isnan(values)]
        if len(values):
            rows.append({"stage": stage.replace("_", " "), "total": stage == TOTAL, "mean": float(values.mean()),
                         **latency_percentiles(values), "max": float(values.max())})
    return rows


def _latency_histogram(report: Report) -> Markup | None:
    values = _frame_time(report)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return None
    return Markup(histogram(values, "frame time (ms)", latency_percentiles(values)))


def _timelines(report: Report, time: np.ndarray, time_label: str) -> Iterator[dict[str, Any]]:
    for is_truth, rows in ((False, report.timeline.tracks), (True, report.timeline.objects)):
        shown: list[TrackRow] = rows[:MOST_ROWS]
        if shown:
            plot = track_plot(shown, time, time_label, report.classes, len(report.cameras) > 1, is_truth)
            yield {"is_truth": is_truth, "plot": Markup(plot), "shown": len(shown), "all": len(rows)}


def _clips(report: Report) -> list[Clip]:
    """The beginning of each camera's recording, and the worst stretch of all."""
    several = len(report.cameras) > 1
    clips = [make_clip(f"The beginning of {camera}" if several else "The beginning", keeper.beginning)
             for camera, keeper in list(report.cameras.items())[:MOST_CLIPPED_CAMERAS]]
    camera, keeper = max(report.cameras.items(), key=lambda entry: entry[1].worst_shortfall, default=("", None))
    if keeper is not None and keeper.has_worse_than_beginning():
        clips.append(make_clip(f"The worst stretch, of {camera}" if several else "The worst stretch", keeper.worst))
    return clips
