"""The fleet's report.html: numbers of all, a table and a plot of the recordings, the worst of them and their frames."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from panoptic_ros.classes import ClassTable
from panoptic_ros.evaluation.comparison import Comparison
from panoptic_ros.evaluation.metrics import METRICS, find_metric
from panoptic_ros.evaluation.report.page import TOTAL, cards, class_table, facts, frame_facts, template, warnings
from panoptic_ros.evaluation.report.plots import MOST_ROWS, bar_plot
from panoptic_ros.evaluation.scorer import Scorer
from panoptic_ros.fleet.merge import OK, Fleet, headline, merged_latency, percentile_row, rank
from panoptic_ros.fleet.storage import is_url, recording_name
from panoptic_ros.fleet.work import HEADLINES

WORST_FRAMES = 20
_PAGES = {"evaluate": "report.html", "replay": "summary.json", "label": "contact_sheet.jpg"}


def render_fleet(fleet: Fleet, result: Mapping[str, Any], out: str, comparison: Comparison | None = None,
                 lost: Sequence[str] = (), skipped: int | None = None) -> str:
    """The page as HTML.

    result: of `merge`. out: where the page will be, for its links. lost: see `Merged`. skipped: recordings that were
    done by an earlier run.
    """
    command = fleet.facts["command"]
    rows = [_row(fleet, row, out) for row in fleet.rows]
    columns = [(name, is_fraction) for name, is_fraction in _columns() if any(
        row["values"].get(name) is not None for row in rows)]
    for row in rows:
        row["values"] = {name: row["values"].get(name) for name, _ in columns}
    rows.sort(key=lambda row: (row["status"] == OK, row["rank"]))
    counts = [*result["recordings"].items(), *([("of these done before", skipped)] if skipped is not None else [])]
    class_columns, class_rows = class_table(_classes(fleet), result) if _has_classes(result) else ([], [])
    plot, plot_title = _plot(rows)
    told = {name: value for name, value in result.items() if name not in ("rows", "recordings", "labels")}
    return template("fleet.html.j2").render(
        title=f"{command.capitalize()}: {len(fleet.rows)} recordings", counts=counts, cards=list(cards(result)),
        facts=list(facts(told)), frames=frame_facts(result), warnings=list(warnings(result)), columns=columns,
        rows=rows, plot=plot, plot_title=plot_title, worst=_worst_frames(fleet, out), class_columns=class_columns,
        class_rows=class_rows, latency_rows=_latency_rows(fleet), comparison=_told(comparison, lost),
        version=fleet.facts["panoptic_ros"])


def _row(fleet: Fleet, row: Mapping[str, Any], out: str) -> dict[str, Any]:
    frames, timing = row.get("frames", {}), fleet.timing.get(row["key"], {})
    values: dict[str, Any] = {METRICS[key].name: value for key, value in row.get("quality", {}).items()}
    values |= {"frames": frames.get("out"), "dropped": sum(frames["dropped"].values()) if frames else None,
               "tracks": row.get("tracks"), "seconds": timing.get("seconds") if row["status"] == OK else None}
    found = headline(row)
    page = _PAGES[fleet.facts["command"]] if row["status"] == OK else "log.txt"
    return {"name": recording_name(row["recording"]), "path": row["recording"], "status": row["status"],
            "reason": row.get("reason", ""), "values": values, "headline": found,
            "rank": rank(row),
            "link": _link(fleet, row["key"], page, out)}


def _columns() -> list[tuple[str, bool]]:
    return [*((METRICS[key].name, METRICS[key].unit == "%") for key in HEADLINES),
            *((name, False) for name in ("frames", "dropped", "tracks", "seconds"))]


def _plot(rows: Sequence[Mapping[str, Any]]) -> tuple[Markup | None, str]:
    """Bars of the recordings' quality, the worst first; of their seconds where no quality was measured."""
    ranked = [row for row in rows if row["headline"]]
    if ranked:
        metric = METRICS[ranked[0]["headline"][0]]
        bars = [(row["name"], row["headline"][1], row["link"]) for row in ranked[:MOST_ROWS]]
        title = f"{metric.name} of the recordings" + f", the worst {MOST_ROWS}" * (len(ranked) > MOST_ROWS)
        return Markup(bar_plot(bars, metric.name, percent=metric.unit == "%")), title
    timed = sorted((row for row in rows if row["values"].get("seconds")), key=lambda row: -row["values"]["seconds"])
    bars = [(row["name"], row["values"]["seconds"], row["link"]) for row in timed[:MOST_ROWS]]
    return (Markup(bar_plot(bars, "seconds")) if bars else None), "Seconds of the recordings, the longest first"


def _worst_frames(fleet: Fleet, out: str) -> list[dict[str, Any]]:
    frames = [{**frame, "recording": recording_name(row["recording"]),
               "link": _link(fleet, row["key"], f"{_PAGES['evaluate']}#frame-{frame['frame']}", out)}
              for row in fleet.of_status(OK) for frame in row.get("worst_frames", ())]
    return sorted(frames, key=lambda frame: frame["quality"])[:WORST_FRAMES]


def _latency_rows(fleet: Fleet) -> list[dict[str, Any]]:
    latency = merged_latency(fleet)
    return [{"stage": stage.replace("_", " "), "total": stage == TOTAL, **percentile_row(latency[stage].values())}
            for stage in sorted(latency, key=lambda stage: stage == TOTAL)]


def _told(comparison: Comparison | None, lost: Sequence[str]) -> dict[str, Any] | None:
    if comparison is None:
        return None
    rows = []
    for row in comparison.rows:
        metric, class_name = find_metric(row.key)
        if class_name is None and metric.better is not None or row.is_regression:
            change = metric.format(row.change)
            rows.append({"name": f"{metric.name} {class_name or ''}", "old": metric.format(row.old),
                         "new": metric.format(row.new), "worse": row.is_regression,
                         "change": f"+{change}" if (row.change or 0) > 0 else change})
    return {"rows": rows, "worse": len(comparison.regressions), "tolerance": f"{100 * comparison.tolerance:g}",
            "notes": comparison.notes, "lost": lost}


def _has_classes(result: Mapping[str, Any]) -> bool:
    return "panoptic" in result or "iou" in result or "mots" in result or "classes" in result.get("depth", {})


def _classes(fleet: Fleet) -> ClassTable:
    """The truth's."""
    store, folder = fleet.places[fleet.of_status(OK)[0]["key"]]
    return Scorer.of_state(store.read_counters(folder)).classes


def _link(fleet: Fleet, key: str, file: str, out: str) -> str:
    if key not in fleet.places:
        return ""
    store, folder = fleet.places[key]
    if store.place != out:
        folder = f"{store.place}/{folder}"
        if is_url(store.place) or is_url(out):
            return f"{folder}/{file}"
        folder = os.path.relpath(folder, out)
    return f"{quote(folder, errors='surrogateescape')}/{file}"
