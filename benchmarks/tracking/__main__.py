"""Tracking quality against baselines: python -m benchmarks.tracking [--quick] [--recordings FOLDER] [--json FILE]

On unseen sequences of the synthetic city at 10, 5, 2 and 1 Hz and on KITTI 0000 (where --recordings has it), with
ground-truth segments ("oracle", with the network's embeddings over them) and with those that the model predicts. All
trackers get the same segments, which are kept in runs/tracking; "perfect ids" is what the best association of them
would reach. Plots are written to out/tracking.

Top-1: of the objects beside others of their class, how many have their own embedding of before as the nearest.

Re-identification: objects are taken out of the frames for 1 to 10 s ("simulated" occlusions), or other things hid them
("natural"); how many have the same track when they are back, of those that had one. Temporal smoothing: what
`tracking.temporal_smoothing` changes in the predicted segmentation at 10 Hz, and the milliseconds that tracking takes.
ByteTrack, OC-SORT, BoT-SORT and McByte are left out unless there is: pip install --no-deps trackers supervision
pydeprecate defusedxml requests urllib3 idna certifi charset-normalizer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.command import run_benchmark
from benchmarks.tracking.baselines import TrackFunction, all_trackers
from benchmarks.tracking.metrics import (
    Known,
    Occlusion,
    Pairs,
    hide_objects,
    known_again,
    occlusions,
    perfect_ids,
    tracking_result,
    tracking_totals,
)
from benchmarks.tracking.plots import write_plot
from benchmarks.tracking.segmentations import SegmentedSequence, segmented_sequences
from benchmarks.tracking.temporal_smoothing import SmoothingTotals, smoothing_totals
from panoptic_ros.datasets import open_dataset
from panoptic_ros.perception import Perception

PLOTS = Path(__file__).parents[2] / "out" / "tracking"
SEQUENCES, QUICK = "city:600-603x150", "city:600x25@256x512"
KINDS = ("oracle", "predicted")
RATES = {10: 1, 5: 2, 2: 5, 1: 10}  # Hz -> every so manyth image
PLOTTED = ("ours", "mask IoU", "ByteTrack", "OC-SORT", "BoT-SORT", "perfect ids")
GAPS = (1, 2, 5, 10)  # seconds out of sight
TOP1_AFTER = (0.2, 0.8, 1.6)  # seconds


def measure(quick: bool, model: str, recordings: str) -> dict[str, Any]:
    """Metrics: tracking by sequences, kind and rate, then by tracker; simulated and natural occlusions by kind, tracker
    and gap; the segmentation without and with temporal smoothing."""
    cv2.setNumThreads(1)
    trackers = all_trackers()
    perception = Perception(model)
    is_thing = perception.model.classes.thing_mask
    totals: dict[str, dict[str, dict[str, Any]]] = {}
    simulated: dict[str, dict[str, list[Occlusion]]] = {kind: {name: [] for name in trackers} for kind in KINDS}
    natural: dict[str, dict[str, list[Occlusion]]] = {kind: {name: [] for name in trackers} for kind in KINDS}
    smoothing: dict[str, SmoothingTotals] = {}
    known: dict[str, dict[float, Known]] = {}
    for sequence in segmented_sequences(perception, open_dataset(QUICK if quick else SEQUENCES)):
        for name, smooth in (("off", False), ("on", True)):
            totals_of_one = smoothing_totals(sequence.predicted, sequence.truth, is_thing, smooth)
            smoothing[name] = smoothing[name] + totals_of_one if name in smoothing else totals_of_one
        for kind in tqdm(KINDS, desc=f"track {sequence.name}", disable=None):
            for rate, step in RATES.items():
                _track(totals.setdefault(f"city, {kind}, {rate} Hz", {}), sequence.every(step), kind, trackers,
                       is_thing)
            frames: list[Any] = getattr(sequence, kind)
            known.setdefault(kind, {gap: Known(0, 0, 0.0) for gap in TOP1_AFTER})
            pairs, stamps = Pairs.of(frames, sequence.truth), [frame.image.stamp_ns for frame in frames]
            for after in TOP1_AFTER:
                known[kind][after] += known_again(frames, pairs, is_thing, after)
            for name, track in trackers.items():
                natural[kind][name] += occlusions(pairs, track(frames), stamps, is_thing)
                for gap in GAPS[:1] if quick else GAPS:
                    simulated[kind][name] += hide_objects(frames, pairs, is_thing, track, gap)
    kitti = Path(recordings) / "kitti_0000"
    if kitti.is_dir() and not quick:
        for sequence in segmented_sequences(perception, open_dataset(str(kitti))):
            for kind in KINDS:
                _track(totals.setdefault(f"KITTI 0000, {kind}, 10 Hz", {}), sequence, kind, trackers, is_thing)
    elif not quick:
        print(f"left out: KITTI 0000, there is no {kitti}")
    result = {"model": perception.model.model_id,
              "tracking": {where: {name: tracking_result(sums) for name, sums in by_tracker.items()}
                           for where, by_tracker in totals.items()},
              **{how: {kind: {name: _by_gap(found) for name, found in by_tracker.items()}
                       for kind, by_tracker in cases.items()}
                 for how, cases in (("simulated", simulated), ("natural", natural))},
              "top1": {kind: {str(after): {"share": one.hits / max(one.asked, 1), "objects": one.asked,
                                           "by_chance": one.by_chance / max(one.asked, 1)}
                              for after, one in by_gap.items()} for kind, by_gap in known.items()},
              "temporal_smoothing": {name: sums.result(is_thing) for name, sums in smoothing.items()}}
    _plot(result)
    return result


def _track(totals: dict[str, dict[str, Any]], sequence: SegmentedSequence, kind: str,
           trackers: Mapping[str, TrackFunction], is_thing: np.ndarray) -> None:
    """Add the totals of one sequence for each tracker."""
    frames = getattr(sequence, kind)
    pairs = Pairs.of(frames, sequence.truth)
    panoptic = any((~is_thing[label.class_id] & (label.class_id >= 0)).any() for label in sequence.truth)
    for name, tracks in [*((name, track(frames)) for name, track in trackers.items()),
                         ("perfect ids", perfect_ids(pairs, is_thing))]:
        sums = tracking_totals(pairs, tracks, is_thing, panoptic)
        totals[name] = {metric: totals[name][metric] + value for metric, value in sums.items()} if name in totals \
            else sums


def _by_gap(found: Sequence[Occlusion]) -> dict[str, dict[str, float]]:
    """Re-identification by gap: the share with the same id, of the objects that were lost for that long (+- 0.5 s)."""
    result = {}
    for gap in GAPS:
        asked = [case for case in found if abs(case.seconds - gap) <= 0.5 and case.before and case.after is not None]
        if asked:
            result[str(gap)] = {"share": float(np.mean([case.before == case.after for case in asked])),
                                "objects": len(asked)}
    return result


def _plot(result: dict[str, Any]) -> None:
    """Quality over frame rate, re-identification over the time out of sight."""
    rates = np.array(sorted(RATES), float)
    for kind in KINDS:
        rows = [result["tracking"][f"city, {kind}, {rate:.0f} Hz"] for rate in rates]
        for metric, label in (("aq", "AQ (%)"), ("hota", "HOTA (%)"), ("idf1", "IDF1 (%)")):
            lines = {name: np.array([row[name].get(metric, np.nan) for row in rows])
                     for name in rows[0] if name in PLOTTED}
            write_plot(PLOTS / f"{metric}_{kind}.svg", rates, lines, "frame rate (Hz)", label)
        lines = {name: np.array([by_gap.get(str(gap), {}).get("share", np.nan) for gap in GAPS])
                 for name, by_gap in result["simulated"][kind].items() if name in PLOTTED}
        if any(np.isfinite(line).any() for line in lines.values()):
            write_plot(PLOTS / f"reidentified_{kind}.svg", np.array(GAPS, float), lines, "out of sight (s)",
                       "same track (%)")


def table(result: dict[str, Any]) -> str:
    """A block for each sequence, kind and rate; then re-identification after each gap, and temporal smoothing."""
    lines = []
    for where, rows in result["tracking"].items():
        metrics = list(next(iter(rows.values())))
        lines += ["", f"{where:<28}" + "".join(f"{metric:>15}" for metric in metrics)]
        for name, row in rows.items():
            lines.append(f"  {name:<26}" + "".join(
                f"{row[metric]:15d}" if isinstance(row[metric], int) else f"{100 * row[metric]:15.1f}"
                for metric in metrics))
    for how in ("simulated", "natural"):
        for kind, trackers in result[how].items():
            lines += ["", f"same id after ({how}, {kind})" + "".join(f"{gap:>10} s" for gap in GAPS)]
            for name, by_gap in trackers.items():
                cells = [f"{100 * by_gap[str(gap)]['share']:.0f}% of {by_gap[str(gap)]['objects']}"
                         if str(gap) in by_gap else "-" for gap in GAPS]
                lines.append(f"  {name:<28}" + "".join(f"{cell:>12}" for cell in cells))
    for kind, by_gap in result["top1"].items():
        lines += ["", f"top-1 of the same class after ({kind})"[:40].ljust(40) + "".join(
            f"{after:>8} s" for after in by_gap)]
        lines.append(f"  {'embedding':<38}" + "".join(f"{100 * row['share']:10.1f}" for row in by_gap.values()))
        lines.append(f"  {'chance':<38}" + "".join(f"{100 * row['by_chance']:10.1f}" for row in by_gap.values()))
    metrics = list(result["temporal_smoothing"]["off"])
    lines += ["", f"{'smoothing (predicted, 10 Hz)':<28}" + "".join(f"{metric:>15}" for metric in metrics)]
    for name, row in result["temporal_smoothing"].items():
        lines.append(f"  {name:<26}" + "".join(
            f"{row[metric] * (1 if metric == 'milliseconds' else 100):15.1f}" for metric in metrics))
    return "\n".join(lines)


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, model="city", recordings="../shared/data")
