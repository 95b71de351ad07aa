"""How well objects are followed, against other trackers: python -m benchmarks.tracking [--quick] [--json FILE]

On unseen drives through the synthetic city at 10, 5, 2 and 1 Hz and on KITTI 0000 (where ../shared/data has it), with
perfect segments (the truth's, with the network's embeddings over them) and with those that the model predicts. All
trackers get the same segments, which are kept in runs/association. Plots are written to out/association.

Re-identification: objects are taken out of the frames for 1 to 5 s ("hidden"), or other things hid them ("natural");
how many have the same track when they are back, of those that had one. Steadiness: what `tracking.stabilise` changes
in the predicted segmentation at 10 Hz, and the milliseconds from segments to what is shown.
ByteTrack and OC-SORT need: pip install --no-deps trackers supervision pydeprecate defusedxml requests urllib3 idna
certifi charset-normalizer
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks.command import run_benchmark
from benchmarks.tracking.baselines import Follow, all_trackers
from benchmarks.tracking.measures import Occlusion, Pairs, hide_objects, occlusions, tracking_result, tracking_totals
from benchmarks.tracking.plots import write_plot
from benchmarks.tracking.segmentations import SegmentedSequence, segmented_sequences
from benchmarks.tracking.steadiness import SteadinessTotals, steadiness
from panoptic_ros.datasets import open_dataset
from panoptic_ros.perception import Perception

ROOT = Path(__file__).parents[1]
KITTI = ROOT.parent / "shared" / "data" / "kitti_0000"
PLOTS = ROOT / "out" / "association"
DRIVES, QUICK = "city:600-603x150", "city:600x25@256x512"
KINDS = ("perfect", "predicted")
RATES = {10: 1, 5: 2, 2: 5, 1: 10}  # Hz -> every so manyth image
GAPS = (1, 2, 3, 4, 5)  # seconds


def measure(quick: bool, model: str) -> dict[str, Any]:
    """Figures: tracking by sequences, kind and rate, then by tracker; hidden and natural by kind, tracker and gap;
    steadiness without and with stabilisation."""
    cv2.setNumThreads(1)
    trackers = all_trackers()
    perception = Perception(model)
    is_thing = perception.model.classes.thing_mask
    totals: dict[str, dict[str, dict[str, Any]]] = {}
    hidden: dict[str, dict[str, list[Occlusion]]] = {kind: {name: [] for name in trackers} for kind in KINDS}
    natural: dict[str, dict[str, list[Occlusion]]] = {kind: {name: [] for name in trackers} for kind in KINDS}
    steady: dict[str, SteadinessTotals] = {}
    for sequence in segmented_sequences(perception, open_dataset(QUICK if quick else DRIVES)):
        for name, stabilise in (("off", False), ("on", True)):
            totals_of_one = steadiness(sequence.predicted, sequence.truth, is_thing, stabilise)
            steady[name] = steady[name] + totals_of_one if name in steady else totals_of_one
        for kind in tqdm(KINDS, desc=f"follow {sequence.name}", disable=None):
            for rate, step in RATES.items():
                _follow(totals.setdefault(f"city, {kind}, {rate} Hz", {}), sequence.every(step), kind, trackers,
                        is_thing)
            frames: list[Any] = getattr(sequence, kind)
            pairs, stamps = Pairs.of(frames, sequence.truth), [frame.image.stamp_ns for frame in frames]
            for name, follow in trackers.items():
                natural[kind][name] += occlusions(pairs, follow(frames), stamps, is_thing)
                for gap in GAPS[:1] if quick else GAPS:
                    hidden[kind][name] += hide_objects(frames, pairs, is_thing, follow, gap)
    if KITTI.is_dir() and not quick:
        for sequence in segmented_sequences(perception, open_dataset(str(KITTI))):
            for kind in KINDS:
                _follow(totals.setdefault(f"KITTI 0000, {kind}, 10 Hz", {}), sequence, kind, trackers, is_thing)
    elif not quick:
        print(f"KITTI 0000 is left out: {KITTI} is not there")
    result = {"model": perception.model.model_id,
              "tracking": {where: {name: tracking_result(sums) for name, sums in by_tracker.items()}
                           for where, by_tracker in totals.items()},
              **{how: {kind: {name: _by_gap(found) for name, found in by_tracker.items()}
                       for kind, by_tracker in cases.items()}
                 for how, cases in (("hidden", hidden), ("natural", natural))},
              "steadiness": {name: sums.result(is_thing) for name, sums in steady.items()}}
    _plot(result)
    return result


def _follow(totals: dict[str, dict[str, Any]], sequence: SegmentedSequence, kind: str, trackers: Mapping[str, Follow],
            is_thing: np.ndarray) -> None:
    """Add the sums of one sequence for each tracker."""
    frames = getattr(sequence, kind)
    pairs = Pairs.of(frames, sequence.truth)
    panoptic = any((~is_thing[label.class_id] & (label.class_id >= 0)).any() for label in sequence.truth)
    for name, follow in trackers.items():
        sums = tracking_totals(pairs, follow(frames), is_thing, panoptic)
        totals[name] = {metric: totals[name][metric] + value for metric, value in sums.items()} if name in totals \
            else sums


def _by_gap(found: Sequence[Occlusion]) -> dict[str, dict[str, float]]:
    """For each gap, of those within half a second of it that had a track: the share that has it again, and how many."""
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
            lines = {name: np.array([row[name].get(metric, np.nan) for row in rows]) for name in rows[0]}
            write_plot(PLOTS / f"{metric}_{kind}.svg", rates, lines, "frame rate (Hz)", label)
        lines = {name: np.array([by_gap.get(str(gap), {}).get("share", np.nan) for gap in GAPS])
                 for name, by_gap in result["hidden"][kind].items()}
        if any(np.isfinite(line).any() for line in lines.values()):
            write_plot(PLOTS / f"found_again_{kind}.svg", np.array(GAPS, float), lines, "out of sight (s)",
                       "same track (%)")


def table(result: dict[str, Any]) -> str:
    """A block for each sequence, kind and rate; then the share of objects found again after each gap."""
    lines = []
    for where, rows in result["tracking"].items():
        metrics = list(next(iter(rows.values())))
        lines += ["", f"{where:<28}" + "".join(f"{metric:>15}" for metric in metrics)]
        for name, row in rows.items():
            lines.append(f"  {name:<26}" + "".join(
                f"{row[metric]:15d}" if isinstance(row[metric], int) else f"{100 * row[metric]:15.1f}"
                for metric in metrics))
    for how in ("hidden", "natural"):
        for kind, trackers in result[how].items():
            lines += ["", f"same track after ({how}, {kind})" + "".join(f"{gap:>10} s" for gap in GAPS)]
            for name, by_gap in trackers.items():
                cells = [f"{100 * by_gap[str(gap)]['share']:.0f}% of {by_gap[str(gap)]['objects']}"
                         if str(gap) in by_gap else "-" for gap in GAPS]
                lines.append(f"  {name:<28}" + "".join(f"{cell:>12}" for cell in cells))
    metrics = list(result["steadiness"]["off"])
    lines += ["", f"{'stabilise (predicted, 10 Hz)':<28}" + "".join(f"{metric:>15}" for metric in metrics)]
    for name, row in result["steadiness"].items():
        lines.append(f"  {name:<26}" + "".join(
            f"{row[metric] * (1 if metric == 'milliseconds' else 100):15.1f}" for metric in metrics))
    return "\n".join(lines)


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, model="city")
