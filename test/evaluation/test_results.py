"""Results as files and tables, and the comparison that finds what is worse."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.comparison import compare, format_comparison
from panoptic_ros.evaluation.results import format_table, numbers, read_result, write_result


def result(pq: float = 0.5, **metrics: Any) -> dict[str, Any]:
    return {"panoptic": {"all": {"pq": pq, "sq": 0.8, "rq": 0.6},
                         "classes": {"car": {"pq": pq, "sq": 0.8, "rq": 0.6, "tp": 3, "fp": 1, "fn": 2}}}, **metrics}


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "result.json"
    write_result(file, {**result(1 / 3), "images": 4, "warnings": ["one"]})
    again = read_result(file)
    assert again["panoptic"]["all"]["pq"] == pytest.approx(1 / 3, abs=1e-9)
    assert (again["images"], again["warnings"]) == (4, ["one"])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_is_not_written(tmp_path: Path, bad: float) -> None:
    with pytest.raises(InputError, match="NaN or infinite"):
        write_result(tmp_path / "result.json", {"flicker": bad})
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(("text", "message"), [("{", "no JSON"), ("[1]", "no result"), ('{"a": 1}', "no result")])
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_result(tmp_path / "other.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_result(tmp_path / "absent.json")


def test_only_metrics_count_as_numbers() -> None:
    assert set(numbers({"images": 3, "latency_ms": {"network": 5.0}, "miou": 0.5, "vpq": {"1": 0.25}})) == {
        ("miou",), ("vpq", "1")}


def test_a_result_from_before_a_stage_was_renamed_is_compared_as_any_other(tmp_path: Path) -> None:
    for name, stage in (("old", "associate"), ("new", "track")):
        write_result(tmp_path / f"{name}.json", {**result(0.5), "latency_ms": {stage: {"p50": 1.0}}})
    comparison = compare(read_result(tmp_path / "new.json"), read_result(tmp_path / "old.json"), 0.01)
    assert not comparison.regressions
    assert not any("latency" in row.key for row in comparison.rows)


def test_the_table_has_per_cents_counts_and_dashes() -> None:
    table = format_table({**result(0.5), "mots": {"motsa": -0.25, "id_switches": 3}, "depth": {"rmse": 4.256},
                          "iou": {"car": 0.5, "sky": 1.0}, "classes_not_predicted": ["tram"]})
    lines = table.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["all"] == ["classes", "PQ", "50.0", "SQ", "80.0", "RQ", "60.0"]
    assert rows["tracks"] == ["sMOTSA", "-", "MOTSA", "-25.0", "IDF1", "-", "HOTA", "-", "ID", "switches", "3"]
    assert rows["depth"][:3] == ["RMSE", "[m]", "4.26"]
    assert rows["class"] == ["PQ", "SQ", "RQ", "IoU", "TP", "FP", "FN"]
    assert rows["car"] == ["50.0", "80.0", "60.0", "50.0", "3", "1", "2"]
    assert rows["sky"] == ["-", "-", "-", "100.0", "-", "-", "-"]
    assert "VPQ" not in rows
    assert lines[-1] == "classes not predicted: tram"


def regressions(new: dict[str, Any], old: dict[str, Any], tolerance: float = 0.01) -> list[str]:
    return [row.key for row in compare(new, old, tolerance).regressions]


def test_a_fall_beyond_the_tolerance_is_a_regression_and_a_rise_is_none() -> None:
    assert regressions(result(0.49), result(0.50)) == []  # as much as is tolerated, in floating point
    assert regressions(result(0.489), result(0.50)) == ["panoptic.all.pq", "panoptic.classes.car.pq"]
    assert regressions(result(0.489), result(0.50), 0.02) == []
    assert regressions(result(0.9), result(0.50)) == []
    assert regressions(result(0.4999), result(0.50), 0) != []


def test_less_is_better_where_a_number_counts_mistakes() -> None:
    def other(flicker: float, switches: int, rmse: float) -> dict[str, Any]:
        return {"flicker": flicker, "mots": {"id_switches": switches}, "depth": {"rmse": rmse}}

    assert regressions(other(0.02, 90, 3.0), other(0.05, 100, 4.0)) == []
    assert regressions(other(0.07, 102, 4.05), other(0.05, 100, 4.0)) == ["mots.id_switches", "flicker", "depth.rmse"]
    assert regressions(other(0.055, 101, 4.03), other(0.05, 100, 4.0)) == []  # within 1 point, 1 % and 1 %
    assert regressions(other(0.05, 1, 4.0), other(0.05, 0, 4.0)) == ["mots.id_switches"]


def test_parts_of_a_metric_alone_are_no_regression() -> None:
    new, old = result(), result()
    new["panoptic"]["all"]["sq"], new["panoptic"]["classes"]["car"]["fp"] = 0.5, 9
    assert regressions(new, old) == []


def test_what_is_no_longer_measured_is_a_regression() -> None:
    assert regressions(result(), result(miou=0.5)) == ["miou"]
    assert regressions(result(), result(flicker=0.0)) == ["flicker"]
    assert regressions(result(miou=0.5), result()) == []
    # A class that was predicted though the truth has none had 0, and is absent where that no longer happens.
    old = result()
    old["panoptic"]["classes"]["bus"] = {"pq": 0.0, "sq": 0.0, "rq": 0.0, "tp": 0, "fp": 2, "fn": 0}
    assert regressions(result(), old) == []


def test_results_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(InputError, match="different data"):
        compare(result(bag_hash="a"), result(bag_hash="b"), 0.01)
    with pytest.raises(InputError, match="no metric in common"):
        compare({"miou": 0.5}, {"flicker": 0.5}, 0.01)
    for tolerance in (-0.1, math.nan):
        with pytest.raises(InputError, match="tolerance"):
            compare(result(), result(), tolerance)


def test_the_comparison_shows_what_changed_by_class() -> None:
    text = format_comparison(compare(result(0.48, images=3), result(0.5, images=4), 0.01))
    lines = [line.split() for line in text.splitlines()]
    assert ["panoptic.all.pq", "50.0", "48.0", "-2.0", "REGRESSION"] in lines
    assert ["car", "48.0", "(-2.0)!"] in lines
    assert ["note:", "images:", "4", "before,", "3", "now"] in lines
    assert "2 are worse by more than the tolerance (1 points)" in text
    assert "panoptic.all.sq" not in text
    same = format_comparison(compare(result(), json.loads(json.dumps(result())), 0.01))
    assert same.strip() == "0 of 9 numbers changed visibly; none is worse by more than the tolerance (1 points)"


def test_notes_of_earlier_results_are_shown_too() -> None:
    for key, words in (("unmapped_classes", "unmapped classes"),
                       ("classes_without_counterpart", "classes without counterpart")):
        assert format_table({**result(), key: ["boat", "cow"]}).splitlines()[-1] == f"{words}: boat; cow"


def test_without_truth_the_table_has_how_often_classes_change() -> None:
    assert format_table({"class_change": {"predicted_change": 0.059}}).split() == [
        "changes", "of", "class", "predicted", "5.9", "of", "the", "truth", "-", "followed", "-"]
