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

    images, sequences                         how many were scored
    classes_without_counterpart               classes of the predictions that the truth does not have
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

from panoptic_ros.errors import InputError

METRICS = ("panoptic", "pq_dagger", "parsing_covering", "miou", "iou", "mask_ap", "stq", "vpq", "mots", "flicker",
           "class_change", "depth")
COUNTS = frozenset({"tp", "fp", "fn", "true_positives", "false_positives", "false_negatives", "id_switches",
                    "fragmentations"})
METRES = frozenset({"rmse"})

# Rows of the table of headlines: title, and for each number its heading and its key.
_HEADLINES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("all classes", (("PQ", "panoptic.all.pq"), ("SQ", "panoptic.all.sq"), ("RQ", "panoptic.all.rq"))),
    ("things", (("PQ", "panoptic.things.pq"), ("SQ", "panoptic.things.sq"), ("RQ", "panoptic.things.rq"))),
    ("stuff", (("PQ", "panoptic.stuff.pq"), ("SQ", "panoptic.stuff.sq"), ("RQ", "panoptic.stuff.rq"))),
    ("pixels, segments", (("mIoU", "miou"), ("PQ-dagger", "pq_dagger"), ("PC", "parsing_covering"))),
    ("masks of things", (("AP", "mask_ap.ap"), ("AP50", "mask_ap.ap50"), ("small", "mask_ap.small"),
                         ("medium", "mask_ap.medium"), ("large", "mask_ap.large"))),
    ("video", (("STQ", "stq.stq"), ("AQ", "stq.aq"), ("SQ", "stq.sq"), ("flicker", "flicker"))),
    ("VPQ by images", (("1", "vpq.1"), ("5", "vpq.5"), ("10", "vpq.10"), ("15", "vpq.15"), ("mean", "vpq.mean"))),
    ("tracks", (("sMOTSA", "mots.smotsa"), ("MOTSA", "mots.motsa"), ("IDF1", "mots.idf1"), ("HOTA", "mots.hota"),
                ("switches", "mots.id_switches"))),
    ("depth", (("RMSE [m]", "depth.rmse"), ("AbsRel", "depth.abs_rel"), ("delta1", "depth.delta1"),
               ("delta2", "depth.delta2"), ("delta3", "depth.delta3"))),
)
# Columns of the table of classes: heading, where the classes are, and the number's key in each.
CLASS_COLUMNS = (("PQ", "panoptic.classes", "pq"), ("SQ", "panoptic.classes", "sq"), ("RQ", "panoptic.classes", "rq"),
            ("TP", "panoptic.classes", "tp"), ("FP", "panoptic.classes", "fp"), ("FN", "panoptic.classes", "fn"),
            ("IoU", "iou", ""), ("sMOTSA", "mots.classes", "smotsa"), ("MOTSA", "mots.classes", "motsa"),
            ("IDF1", "mots.classes", "idf1"), ("HOTA", "mots.classes", "hota"),
            ("switches", "mots.classes", "id_switches"))


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON. Raises InputError where a number is NaN or infinite, or the file cannot be written."""
    try:
        text = json.dumps(_rounded(result), indent=1, allow_nan=False)
    except ValueError as error:
        raise InputError(f"the result has a number that is NaN or infinite, {path} was not written: {error}") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def read_result(path: Path) -> dict[str, Any]:
    """A result that was written. Raises InputError where the file is none."""
    try:
        result = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(result, dict) or not any(name in result for name in METRICS):
        raise InputError(f"{path} is no result of an evaluation: it has none of {', '.join(METRICS)}")
    return result


def numbers(result: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    """All that was measured: the path of its keys -> the number, in the order of METRICS."""
    return {path: value for name in METRICS if name in result for path, value in _leaves((name,), result[name])}


def format_table(result: Mapping[str, Any]) -> str:
    """The result for a terminal, in per cent but for counts and metres; a dash is what could not be measured."""
    measured = {".".join(path): value for path, value in numbers(result).items()}
    lines = []
    for title, cells in _HEADLINES:
        if any(key in measured for _, key in cells):
            row = "  ".join(f"{heading} {format_number(key, measured.get(key)):>5}" for heading, key in cells)
            lines.append(f"{title:<17} {row}")
    if table := _class_table(result):
        lines += ["", *table]
    for name in ("classes_without_counterpart", "classes_not_predicted", "warnings"):
        if result.get(name):
            lines += ["", f"{name.replace('_', ' ')}: {'; '.join(result[name])}"]
    return "\n".join(lines)


def format_number(key: str, value: float | None) -> str:
    """A number as tables have it; key: its path, whose last part says whether it is a fraction, a count or metres."""
    name = key.rsplit(".", 1)[-1]
    if value is None:
        return "-"
    if name in COUNTS:
        return str(round(value))
    return f"{value:.2f}" if name in METRES else f"{100 * value:.1f}"


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, the first column to the left, the others to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join(f"{cell:<{w}}" if k == 0 else f"{cell:>{w}}"
                      for k, (cell, w) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]


def _class_table(result: Mapping[str, Any]) -> list[str]:
    columns = []
    names: dict[str, None] = {}
    for heading, place, key in CLASS_COLUMNS:
        of_class = result
        for part in place.split("."):
            of_class = of_class.get(part, {})
        values = {name: entry if not key else entry.get(key) for name, entry in of_class.items()}
        if values:
            columns.append((heading, key, values))
            names |= dict.fromkeys(values)
    if not columns:
        return []
    return align([["class", *(heading for heading, _, _ in columns)],
                  *([name, *(format_number(key, values.get(name)) for _, key, values in columns)] for name in names)])


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves((*path, str(key)), part)
    elif isinstance(value, (int, float)):
        yield path, value


def _rounded(value: Any) -> Any:
    """Numbers with nine digits after the point: what is left out is the order of a sum, not a measurement."""
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_rounded(part) for part in value]
    return round(value, 9) if isinstance(value, float) and math.isfinite(value) else value
