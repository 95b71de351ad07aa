"""How a result differs from an earlier one, and whether it is worse: a gate against regressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.results import CLASS_COLUMNS, COUNTS, METRES, align, format_number, numbers

# Parts of another metric that trade against each other, and counts: shown, but worse ones alone are no regression.
# A segment that is found in addition raises RQ and PQ, and lowers SQ where it is a difficult one.
_PARTS = frozenset({"sq", "rq", "aq", "motsp", "deta", "assa", "fragmentations", "truth_change", "predicted_change",
                    "followed"}) | (COUNTS - {"id_switches"})
_LOWER_IS_BETTER = frozenset({"flicker", "id_switches", "rmse", "abs_rel"})


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
    headlines = [row for row in comparison.rows if not _is_of_class(row.key) and _is_visible(row)]
    if headlines:
        lines += align([["metric", "before", "now", "change", ""],
                        *([row.key, format_number(row.key, row.old), format_number(row.key, row.new), _signed(row),
                           "REGRESSION" if row.is_regression else ""] for row in headlines)])
    if table := _class_table(comparison.rows):
        lines += ["", *table, "(now, and its change; ! is a regression)"]
    worse = len(comparison.regressions)
    lines += ["", f"{sum(map(_is_visible, comparison.rows))} of {len(comparison.rows)} numbers changed visibly; "
              f"{worse or 'none'} {'are' if worse > 1 else 'is'} worse by more than the tolerance "
              f"({100 * comparison.tolerance:g} points)"]
    return "\n".join(lines)


def _is_regression(key: str, old: float | None, new: float | None, tolerance: float) -> bool:
    name = key.rsplit(".", 1)[-1]
    if old is None or name in _PARTS:
        return False
    lower_is_better = name in _LOWER_IS_BETTER
    if new is None:
        # A class that is neither in the truth nor predicted any more had 0.
        return lower_is_better or old > 0
    allowed = tolerance * old if name in COUNTS | METRES else tolerance
    worse_by = new - old if lower_is_better else old - new
    return worse_by > allowed + 1e-9  # results are written with nine digits


def _is_of_class(key: str) -> bool:
    return ".classes." in key or key.startswith("iou.")


def _is_visible(row: Change) -> bool:
    return row.is_regression or format_number(row.key, row.old) != format_number(row.key, row.new)


def _class_table(rows: Sequence[Change]) -> list[str]:
    """The judged numbers of each class of which one changed."""
    by_key = {row.key: row for row in rows}
    columns = [(heading, place, "." + key if key else "") for heading, place, key in CLASS_COLUMNS if key not in _PARTS]
    cells: dict[str, dict[str, Change]] = {}
    for heading, place, end in columns:
        for key, row in by_key.items():
            if key.startswith(place + ".") and key.endswith(end):
                cells.setdefault(key[len(place) + 1:len(key) - len(end)], {})[heading] = row
    changed = {name: row for name, row in cells.items() if any(map(_is_visible, row.values()))}
    headings = [heading for heading, _, _ in columns if any(heading in row for row in changed.values())]
    return align([["class", *headings], *([name, *(_cell(row.get(heading)) for heading in headings)]
                                          for name, row in changed.items())]) if changed else []


def _cell(row: Change | None) -> str:
    if row is None:
        return "-"
    if row.new is None:
        return f"- (was {format_number(row.key, row.old)})" + "!" * row.is_regression
    change = "new" if row.old is None else _signed(row)
    return f"{format_number(row.key, row.new)} ({change})" + "!" * row.is_regression


def _signed(row: Change) -> str:
    if row.change is None:
        return ""
    text = format_number(row.key, row.change)
    return f"+{text}" if row.change > 0 else text
