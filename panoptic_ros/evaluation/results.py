"""The layout that all results share, as JSON and as a table.

Quality is a fraction from 0 to 1 (MOTSA and sMOTSA may fall below 0); what could not be measured is absent, never 0.

    panoptic.all|things|stuff.{pq, sq, rq}    means over the classes that occur
    panoptic.classes.NAME.{pq, sq, rq, tp, fp, fn}
    pq_dagger, parsing_covering, miou
    iou.NAME                                  IoU of each class
    mask_ap.{ap, ap50, small, medium, large}  of things; ranked alike where no prediction has a score
    stq.{stq, aq, sq}
    vpq.{1, 5, 10, 15, mean}                  by the number of images in a window
    mots.{motsa, smotsa, motsp, idf1, hota, deta, assa, id_switches, fragmentations, true_positives, ...}
    mots.classes.NAME.{the same}
    flicker                                   share of the pixels of unchanged truth whose predicted class changes
    class_change.{truth_change, predicted_change, followed}   to judge flicker by
    depth.{rmse, abs_rel, delta1, delta2, delta3}             rmse in metres
    depth.classes.NAME.{rmse, abs_rel, delta1}                of the pixels of each class of the truth

    images, sequences                         how many were scored
    unmapped_classes                          classes of the predictions that the truth does not have
    classes_not_predicted                     classes of the truth that the predictions cannot have
    warnings                                  what else a reader must know

Beside these a result has the facts of its run: `panoptic_ros` (the version), `input`, hashes, settings, latencies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from panoptic_ros.atomic_write import write_atomically
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.metrics import CLASS_COLUMNS, GROUPS, METRICS, Metric, find_metric

# Rows of the table of headlines: title and keys.
_HEADLINES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("all classes", ("panoptic.all.pq", "panoptic.all.sq", "panoptic.all.rq")),
    ("things", ("panoptic.things.pq", "panoptic.things.sq", "panoptic.things.rq")),
    ("stuff", ("panoptic.stuff.pq", "panoptic.stuff.sq", "panoptic.stuff.rq")),
    ("pixels, segments", ("miou", "pq_dagger", "parsing_covering")),
    ("masks of things", ("mask_ap.ap", "mask_ap.ap50", "mask_ap.small", "mask_ap.medium", "mask_ap.large")),
    ("video", ("stq.stq", "stq.aq", "stq.sq", "flicker")),
    ("VPQ by images", ("vpq.1", "vpq.5", "vpq.10", "vpq.15", "vpq.mean")),
    ("tracks", ("mots.smotsa", "mots.motsa", "mots.idf1", "mots.hota", "mots.id_switches")),
    ("changes of class", ("class_change.predicted_change", "class_change.truth_change", "class_change.followed")),
    ("depth", ("depth.rmse", "depth.abs_rel", "depth.delta1", "depth.delta2", "depth.delta3")),
)
# Notes below the tables; earlier results have the first under the second name.
_NOTES = ("unmapped_classes", "classes_without_counterpart", "classes_not_predicted", "warnings")


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON. Raises InputError where a number is NaN or infinite, or the file cannot be written."""
    try:
        text = json.dumps(rounded(result), indent=1, allow_nan=False)
    except ValueError as error:
        raise InputError(f"the result has a number that is NaN or infinite, {path} was not written: {error}") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
    write_atomically(path, text + "\n")


def read_result(path: Path) -> dict[str, Any]:
    """A result that was written. Raises InputError where the file is none."""
    try:
        result = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(result, dict) or not any(name in result for name in GROUPS):
        raise InputError(f"{path} is no result of an evaluation: it has none of {', '.join(GROUPS)}")
    return result


def numbers(result: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    """All that was measured: the path of its keys -> the number, in the order of the table of metrics."""
    return {path: value for name in GROUPS if name in result for path, value in _leaves((name,), result[name])}


def format_table(result: Mapping[str, Any]) -> str:
    """The result for a terminal, in per cent but for counts and metres; a dash is what could not be measured."""
    lines = []
    for title, keys in _HEADLINES:
        values = {METRICS[key]: METRICS[key].value(result) for key in keys}
        if any(value is not None for value in values.values()):
            row = "  ".join(f"{metric.label}{' [m]' * (metric.unit == 'm')} {metric.format(value):>5}"
                            for metric, value in values.items())
            lines.append(f"{title:<17} {row}")
    if table := _class_table(result):
        lines += ["", *table]
    for name in _NOTES:
        if result.get(name):
            lines += ["", f"{name.replace('_', ' ')}: {'; '.join(result[name])}"]
    return "\n".join(lines)


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, the first column to the left, the others to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{w}}" if k == 0 else f"{cell:>{w}}"
                      for k, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]


def _class_table(result: Mapping[str, Any]) -> list[str]:
    cells: dict[str, dict[Metric, float]] = {}
    for path, value in numbers(result).items():
        metric, name = find_metric(".".join(path))
        if name is not None and metric in CLASS_COLUMNS:
            cells.setdefault(name, {})[metric] = value
    columns = [metric for metric in CLASS_COLUMNS if any(metric in row for row in cells.values())]
    return align([["class", *(metric.label for metric in columns)],
                  *([name, *(metric.format(row.get(metric)) for metric in columns)]
                    for name, row in cells.items())]) if cells else []


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves((*path, str(key)), part)
    elif isinstance(value, (int, float)):
        yield path, value


def rounded(value: Any) -> Any:
    """Numbers with nine digits after the point: what is left out is the order of a sum, not a measurement."""
    if isinstance(value, Mapping):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [rounded(part) for part in value]
    return round(value, 9) if isinstance(value, float) and math.isfinite(value) else value
