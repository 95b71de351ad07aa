"""The table of metrics: where each number stands in a result, its name, its unit, and which direction is better."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from panoptic_ros.evaluation.video_panoptic_quality import WINDOWS


@dataclass(frozen=True)
class Metric:
    """One number of a result.

    key: where it stands, the keys of the JSON joined by dots; `*` stands for the name of a class.
    name: what a table calls it. label: the same where it stands among its kin, such as SQ below PQ things.
    unit: "%" = a fraction, shown in per cent; "m" = metres; "" = a count.
    better: None = a part of another metric that trades against its other parts, or a mere count: it is shown, but a
    worse one alone is no regression.
    """

    key: str
    name: str
    label: str = ""
    unit: Literal["%", "m", ""] = "%"
    better: Literal["higher", "lower"] | None = "higher"

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", self.label or self.name)

    def value(self, result: Mapping[str, Any], class_name: str = "") -> float | None:
        """The number in a result, of this class where it is one of classes; None where it was not measured."""
        value: Any = result
        for part in self.key.split("."):
            value = value.get(class_name if part == "*" else part) if isinstance(value, Mapping) else None
        return value if isinstance(value, (int, float)) else None

    def format(self, value: float | None) -> str:
        """For a table: per cent, metres or a whole number, a dash for None."""
        if value is None:
            return "-"
        return f"{100 * value:.1f}" if self.unit == "%" else f"{value:.2f}" if self.unit else str(round(value))


def _of_segments(place: str, ending: str) -> list[Metric]:
    return [Metric(f"{place}.pq", f"PQ{ending}", "PQ"), Metric(f"{place}.sq", f"SQ{ending}", "SQ", better=None),
            Metric(f"{place}.rq", f"RQ{ending}", "RQ", better=None)]


def _of_tracks(place: str) -> list[Metric]:
    return [Metric(f"{place}.hota", "HOTA"), Metric(f"{place}.deta", "DetA", better=None),
            Metric(f"{place}.assa", "AssA", better=None), Metric(f"{place}.smotsa", "sMOTSA"),
            Metric(f"{place}.motsa", "MOTSA"), Metric(f"{place}.motsp", "MOTSP", better=None),
            Metric(f"{place}.idf1", "IDF1"), Metric(f"{place}.id_switches", "ID switches", unit="", better="lower"),
            *(Metric(f"{place}.{key}", key.replace("_", " "), unit="", better=None)
              for key in ("fragmentations", "true_positives", "false_positives", "false_negatives"))]


# By their keys, in the order in which results have them. A segment that is found in addition raises RQ and PQ, and
# lowers SQ where it is a difficult one: parts are not judged.
METRICS: dict[str, Metric] = {metric.key: metric for metric in (
    *_of_segments("panoptic.all", ""), *_of_segments("panoptic.things", " things"),
    *_of_segments("panoptic.stuff", " stuff"), *_of_segments("panoptic.classes.*", ""),
    *(Metric(f"panoptic.classes.*.{key}", key.upper(), unit="", better=None) for key in ("tp", "fp", "fn")),
    Metric("pq_dagger", "PQ†"),
    Metric("parsing_covering", "Parsing Covering", "PC"),
    Metric("miou", "mIoU"),
    Metric("iou.*", "IoU"),
    Metric("mask_ap.ap", "Mask AP", "AP"), Metric("mask_ap.ap50", "Mask AP50", "AP50"),
    *(Metric(f"mask_ap.{size}", f"Mask AP {size}", size) for size in ("small", "medium", "large")),
    Metric("stq.stq", "STQ"), Metric("stq.aq", "AQ", better=None), Metric("stq.sq", "SQ of STQ", "SQ", better=None),
    Metric("vpq.mean", "VPQ", "mean"), *(Metric(f"vpq.{k}", f"VPQ of {k}", str(k)) for k in WINDOWS),
    *_of_tracks("mots"), *_of_tracks("mots.classes.*"),
    Metric("flicker", "Flicker", "flicker", better="lower"),
    Metric("class_change.followed", "Changes followed", "followed", better=None),
    Metric("class_change.truth_change", "Changes of the truth", "of the truth", better=None),
    Metric("class_change.predicted_change", "Changes predicted", "predicted", better=None),
    Metric("depth.rmse", "Depth RMSE", "RMSE", unit="m", better="lower"),
    Metric("depth.abs_rel", "Depth AbsRel", "AbsRel", better="lower"),
    *(Metric(f"depth.delta{k}", f"Depth δ{k}", f"δ{k}") for k in (1, 2, 3)),
    Metric("depth.classes.*.rmse", "Depth RMSE", unit="m", better="lower"),
    Metric("depth.classes.*.abs_rel", "Depth AbsRel", better="lower"), Metric("depth.classes.*.delta1", "Depth δ1"),
)}
# The first keys of all of them: what else a result has are facts of its run.
GROUPS = tuple(dict.fromkeys(key.split(".")[0] for key in METRICS))
# Columns of a table of classes.
CLASS_COLUMNS = tuple(METRICS[key] for key in (
    "panoptic.classes.*.pq", "panoptic.classes.*.sq", "panoptic.classes.*.rq", "iou.*", "panoptic.classes.*.tp",
    "panoptic.classes.*.fp", "panoptic.classes.*.fn", "mots.classes.*.smotsa", "mots.classes.*.motsa",
    "mots.classes.*.idf1", "mots.classes.*.hota", "mots.classes.*.id_switches", "depth.classes.*.abs_rel",
    "depth.classes.*.delta1"))
_OF_CLASSES = [(re.compile(re.escape(key).replace(r"\*", "(.+)")), metric)
               for key, metric in METRICS.items() if "*" in key]


def find_metric(key: str) -> tuple[Metric, str | None]:
    """The metric of a number by its full key, and the class it is of, None where it is of none.

    A key that is not in the table, of a result of another version, counts as a fraction that is better higher.
    """
    if key in METRICS:
        return METRICS[key], None
    for pattern, metric in _OF_CLASSES:
        if match := pattern.fullmatch(key):
            return metric, match[1]
    return Metric(key, key), None
