"""How a result differs from an earlier one, and whether it is worse: a gate against regressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.results import COUNTS, METRES, align, format_number, numbers

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
    """For a terminal: the numbers that changed, those that are regressions marked, and how it ends."""
    cells = [[row.key, format_number(row.key, row.old), format_number(row.key, row.new), _signed(row),
              "REGRESSION" if row.is_regression else ""] for row in comparison.rows]
    changed = [cell for cell, row in zip(cells, comparison.rows, strict=True)
               if row.is_regression or row.old is None or row.new is None or float(cell[3]) != 0]
    lines = [f"note: {note}" for note in comparison.notes]
    if changed:
        lines += align([["metric", "before", "now", "change", ""], *changed])
    lines.append(f"{len(cells) - len(changed)} of {len(cells)} numbers unchanged; {len(comparison.regressions)} worse "
                 f"by more than the tolerance of {100 * comparison.tolerance:g} points")
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


def _signed(row: Change) -> str:
    if row.change is None:
        return ""
    text = format_number(row.key, row.change)
    return f"+{text}" if row.change > 0 else text
