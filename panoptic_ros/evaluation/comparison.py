"""How a result differs from an earlier one, and whether it is worse: a gate against regressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.metrics import CLASS_COLUMNS, find_metric
from panoptic_ros.evaluation.results import align, numbers


@dataclass(frozen=True)
class Change:
    """One number, before and now; None where it was not measured.

    key: its path, such as panoptic.classes.car.pq. is_regression: worse by more than the tolerance, or no longer there.
    """

    key: str
    old: float | None
    new: float | None
    is_regression: bool

    @property
    def change(self) -> float | None:
        return None if self.old is None or self.new is None else self.new - self.old


@dataclass(frozen=True)
class Comparison:
    """All numbers of two results. notes: what else is different between them."""

    rows: tuple[Change, ...]
    tolerance: float
    notes: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Change, ...]:
        return tuple(row for row in self.rows if row.is_regression)


def compare(result: Mapping[str, Any], other: Mapping[str, Any], tolerance: float) -> Comparison:
    """Compare a result with the `other`, earlier one.

    tolerance: by how much a quality may fall, a fraction of 1 (0.01: one point of PQ); identity switches and metres may
    rise by that share of what they were. What was measured before and is absent now is a regression, unless it was 0.
    Raises InputError where the results are of different data, have nothing in common, or the tolerance is below 0.
    """
    if not tolerance >= 0:
        raise InputError(f"the tolerance is {tolerance}; it is a fraction, such as 0.01 for one point, and not below 0")
    for name in ("bag_hash", "truth_hash"):
        if name in result and name in other and result[name] != other[name]:
            raise InputError(f"the results are of different data ({name} {str(result[name])[:12]} and "
                             f"{str(other[name])[:12]}): compare results of the same")
    new, old = ({".".join(path): value for path, value in numbers(r).items()} for r in (result, other))
    if not new.keys() & old.keys():
        raise InputError("the two results have no metric in common: compare results that have the same truth")
    keys = [*new, *(key for key in old if key not in new)]
    rows = tuple(Change(key, old.get(key), new.get(key), _is_regression(key, old.get(key), new.get(key), tolerance))
                 for key in keys)
    notes = [f"{name}: {other[name]} before, {result[name]} now" for name in ("images", "sequences", "model_hash",
             "settings_hash") if name in result and name in other and result[name] != other[name]]
    return Comparison(rows, tolerance, tuple(notes))


def format_comparison(comparison: Comparison) -> str:
    """For a terminal: the headline numbers that changed, the classes that did, and how it ends."""
    lines = [f"note: {note}" for note in comparison.notes]
    headlines = [row for row in comparison.rows if find_metric(row.key)[1] is None and _is_visible(row)]
    if headlines:
        lines += align([["metric", "before", "now", "change", ""],
                        *([row.key, _format(row.key, row.old), _format(row.key, row.new), _signed(row),
                           "REGRESSION" if row.is_regression else ""] for row in headlines)])
    if table := _class_table(comparison.rows):
        lines += ["", *table, "(now, and its change; ! is a regression)"]
    worse = len(comparison.regressions)
    lines += ["", f"{sum(map(_is_visible, comparison.rows))} of {len(comparison.rows)} numbers changed visibly; "
              f"{worse or 'none'} {'are' if worse > 1 else 'is'} worse by more than the tolerance "
              f"({100 * comparison.tolerance:g} points)"]
    return "\n".join(lines)


def _is_regression(key: str, old: float | None, new: float | None, tolerance: float) -> bool:
    metric, _ = find_metric(key)
    if old is None or metric.better is None:
        return False
    if new is None:
        # A class that is neither in the truth nor predicted any more had 0.
        return metric.better == "lower" or old > 0
    allowed = tolerance if metric.unit == "%" else tolerance * old
    worse_by = new - old if metric.better == "lower" else old - new
    return worse_by > allowed + 1e-9  # results are written with nine digits


def _is_visible(row: Change) -> bool:
    return row.is_regression or _format(row.key, row.old) != _format(row.key, row.new)


def _class_table(rows: Sequence[Change]) -> list[str]:
    """The judged numbers of each class of which one changed."""
    cells: dict[str, dict[str, Change]] = {}
    columns = [metric for metric in CLASS_COLUMNS if metric.better is not None]
    for row in rows:
        metric, name = find_metric(row.key)
        if name is not None and metric in columns:
            cells.setdefault(name, {})[metric.label] = row
    changed = {name: row for name, row in cells.items() if any(map(_is_visible, row.values()))}
    headings = [metric.label for metric in columns if any(metric.label in row for row in changed.values())]
    return align([["class", *headings], *([name, *(_cell(row.get(heading)) for heading in headings)]
                                          for name, row in changed.items())]) if changed else []


def _cell(row: Change | None) -> str:
    if row is None:
        return "-"
    if row.new is None:
        return f"- (was {_format(row.key, row.old)})" + "!" * row.is_regression
    change = "new" if row.old is None else _signed(row)
    return f"{_format(row.key, row.new)} ({change})" + "!" * row.is_regression


def _signed(row: Change) -> str:
    if row.change is None:
        return ""
    text = _format(row.key, row.change)
    return f"+{text}" if row.change > 0 else text


def _format(key: str, value: float | None) -> str:
    return find_metric(key)[0].format(value)
