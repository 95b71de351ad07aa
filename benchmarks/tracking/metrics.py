"""Metrics: tracking quality (STQ, AQ, HOTA, IDF1), and re-identification after occlusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.tracking.baselines import TrackFunction
from panoptic_ros.evaluation.hota import HigherOrderTrackingAccuracy
from panoptic_ros.evaluation.multi_object_tracking import MultiObjectTracking
from panoptic_ros.evaluation.overlap import mask_iou, overlap
from panoptic_ros.evaluation.segmentation_tracking_quality import SegmentationTrackingQuality
from panoptic_ros.evaluation.tracked_masks import tracked_masks
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.tracking.appearance import AppearanceStatistics

# A truth mask of fewer pixels is not in sight: 20 x 20 of 512 x 1024.
SMALLEST_IN_SIGHT = 400
# What is hidden was seen for so many seconds before; such a trial begins every so many seconds, with one in so many.
SEEN_BEFORE, TRIAL_INTERVAL, HIDDEN_SHARE = 1.0, 1.5, 3


@dataclass(frozen=True)
class Pairs:
    """Intersections of a sequence's predicted and ground-truth segments, which no track changes.

    predicted, truth: (F) labels. shared: (F) tables of `overlap`.
    """

    predicted: list[PanopticLabel]
    truth: list[PanopticLabel]
    shared: list[np.ndarray]

    @staticmethod
    def of(frames: Sequence[PanopticFrame], truth: Sequence[PanopticLabel]) -> Pairs:
        predicted = [PanopticLabel.of_frame(frame) for frame in frames]
        return Pairs(predicted, list(truth), [overlap(p.segment_map, t.segment_map, len(p), len(t))
                                              for p, t in zip(predicted, truth, strict=True)])


def tracking_totals(pairs: Pairs, tracks: Sequence[np.ndarray], is_thing: np.ndarray, panoptic: bool) -> dict[str, Any]:
    """Totals of each metric over one sequence; tracks: (F) of (N,). panoptic: whether the truth has stuff too."""
    quality = SegmentationTrackingQuality(is_thing)
    tracking, hota = MultiObjectTracking(is_thing), HigherOrderTrackingAccuracy(is_thing)
    for k, (predicted, truth, shared, track) in enumerate(
            zip(pairs.predicted, pairs.truth, pairs.shared, tracks, strict=True)):
        predicted = replace(predicted, object_id=track.astype(np.int64))
        if panoptic:
            quality.add(predicted, truth, shared)
        masks = tracked_masks(predicted, truth, is_thing, k, shared)
        tracking.add_masks(masks)
        hota.add_masks(masks)
    totals = {"mots": tracking.totals(), "hota": hota.totals()}
    return {**totals, "stq": quality.totals()} if panoptic else totals


def tracking_result(totals: dict[str, Any]) -> dict[str, float]:
    """The metrics that are compared; shares, and counts of switches and masks."""
    values: dict[str, float] = {}
    for part in totals.values():
        values |= part.result()
    return {name: values[name] for name in ("stq", "aq", "hota", "assa", "idf1", "id_switches", "true_positives")
            if name in values}


@dataclass(frozen=True)
class Occlusion:
    """An object that was out of sight and came back. seconds: between the last frame before and the first after it.

    before, after: the track that had it in these frames, None where no segment fits it.
    """

    seconds: float
    before: int | None
    after: int | None


def occlusions(pairs: Pairs, tracks: Sequence[np.ndarray], stamps_ns: Sequence[int],
               is_thing: np.ndarray) -> list[Occlusion]:
    """Natural occlusions: a tracked ground-truth mask was smaller than SMALLEST_IN_SIGHT, or gone, in between."""
    last: dict[int, tuple[int, int | None]] = {}
    found = []
    for k, (truth, shared, track) in enumerate(zip(pairs.truth, pairs.shared, tracks, strict=True)):
        area = shared.sum(0)[1:]
        in_sight = is_thing[truth.class_id] & ~truth.is_crowd & (truth.object_id > 0) & (area >= SMALLEST_IN_SIGHT)
        fits = mask_iou(shared) > 0.5
        for row in np.flatnonzero(in_sight).tolist():
            segment = np.flatnonzero(fits[:, row])
            has = int(track[segment[0]]) if len(segment) else None
            before = last.get(number := int(truth.object_id[row]))
            if before is not None and before[0] < k - 1:
                found.append(Occlusion((stamps_ns[k] - stamps_ns[before[0]]) * 1e-9, before[1], has))
            last[number] = k, has
    return found


def hide_objects(frames: Sequence[PanopticFrame], pairs: Pairs, is_thing: np.ndarray, track: TrackFunction,
                 seconds: float) -> list[Occlusion]:
    """Simulated occlusions: objects in sight are taken out of the frames for a time, all others stay.

    The tracker starts SEEN_BEFORE seconds earlier and is asked in the first frame in which they are back; what the
    truth does not have in sight at both ends, or no segment fits, is not asked for.
    """
    stamps = np.array([frame.image.stamp_ns for frame in frames]) * 1e-9
    found: list[Occlusion] = []
    for start in np.arange(stamps[0], stamps[-1] - SEEN_BEFORE - seconds + 1e-6, TRIAL_INTERVAL):
        times = start + np.array([0, SEEN_BEFORE, SEEN_BEFORE + seconds])
        first, leaves, returns = np.searchsorted(stamps, times - 1e-6).tolist()
        if returns >= len(frames) or leaves <= first:
            continue
        before, after = (_segments_of_objects(pairs, k, is_thing) for k in (leaves, returns))
        lasting = sorted(set(before) & set(after))
        hidden = lasting[int(start / TRIAL_INTERVAL) % HIDDEN_SHARE::HIDDEN_SHARE]
        shown = list(frames[first:returns + 1])
        for k in range(leaves + 1, returns):
            gone = [row for number, row in _segments_of_objects(pairs, k, is_thing, 1).items() if number in hidden]
            shown[k - first] = without_rows(frames[k], gone)
        tracks = track(shown)
        found += [Occlusion(seconds, int(tracks[leaves - first][before[number]]), int(tracks[-1][after[number]]))
                  for number in hidden]
    return found


def perfect_ids(pairs: Pairs, is_thing: np.ndarray) -> list[np.ndarray]:
    """The true object's id for each segment that fits one by more than half, else one of its own: no association of
    these segments can be better."""
    result, spare = [], 1 + max((int(truth.object_id.max(initial=0)) for truth in pairs.truth), default=0)
    for k, predicted in enumerate(pairs.predicted):
        track = np.where(is_thing[predicted.class_id], spare + np.arange(len(predicted)), 0)
        spare += len(predicted)
        for number, row in _segments_of_objects(pairs, k, is_thing, 1).items():
            track[row] = number
        result.append(track)
    return result


@dataclass(frozen=True)
class Known:
    """How many objects were nearest to themselves again, of how many, and how many a guess would have known."""

    hits: int
    asked: int
    by_chance: float

    def __add__(self, other: Known) -> Known:
        return Known(self.hits + other.hits, self.asked + other.asked, self.by_chance + other.by_chance)


def known_again(frames: Sequence[PanopticFrame], pairs: Pairs, is_thing: np.ndarray, seconds: float) -> Known:
    """Top-1: of the objects in sight that are so again after this time, each the nearest embedding to its own, among
    the objects of its class; only of those beside others of it. Embeddings are centred as the tracker centres them,
    with the statistics of all frames so far."""
    stamps = np.array([frame.image.stamp_ns for frame in frames])
    result = Known(0, 0, 0.0)
    statistics = AppearanceStatistics.none(0)
    at: list[tuple[list[int], np.ndarray, np.ndarray]] = []
    for k, frame in enumerate(frames):
        rows = _segments_of_objects(pairs, k, is_thing)
        embedding = frame.segments.embedding
        if embedding is None:
            return result
        share = np.eye(len(is_thing), dtype=np.float32)[frame.segments.class_id]
        things = frame.segments.is_thing
        if statistics.mean.shape[1] != embedding.shape[1]:
            statistics = AppearanceStatistics.none(embedding.shape[1])
        statistics = statistics.updated(embedding[things], share[things])
        of = list(rows.values())
        at.append((list(rows), embedding[of], share[of]))
        before = int(np.abs(stamps[:k + 1] - (stamps[k] - seconds * 1e9)).argmin())
        if abs(stamps[k] - stamps[before] - seconds * 1e9) > 2e7:
            continue
        (numbers, vectors, classes), (later, now, classes_now) = at[before], at[k]
        if not numbers or not later:
            continue
        likeness = statistics.centred(vectors, classes) @ statistics.centred(now, classes_now).T
        same_class = classes @ classes_now.T > 0.5
        likeness[~same_class] = -2
        itself = np.equal.outer(numbers, later)
        asked = (itself & same_class).any(1) & (same_class.sum(1) > 1)
        hits = itself[np.arange(len(numbers)), likeness.argmax(1)]
        result += Known(int(hits[asked].sum()), int(asked.sum()), float((1 / same_class.sum(1)[asked]).sum()))
    return result


def without_rows(frame: PanopticFrame, rows: Sequence[int]) -> PanopticFrame:
    """The frame with these segments void."""
    kept = np.ones(len(frame.segments), bool)
    kept[list(rows)] = False
    number = np.concatenate([[0], np.cumsum(kept) * kept]).astype(np.uint16)
    return replace(frame, segment_map=number[frame.segment_map], segments=frame.segments.select(kept))


def _segments_of_objects(pairs: Pairs, k: int, is_thing: np.ndarray, area: int = SMALLEST_IN_SIGHT) -> dict[int, int]:
    """Object id -> row of the segment that fits it by more than half, of truth masks with this area in image k."""
    truth, shared = pairs.truth[k], pairs.shared[k]
    size = shared.sum(0)[1:]
    counts = is_thing[truth.class_id] & ~truth.is_crowd & (truth.object_id > 0) & (size >= area)
    rows, columns = np.nonzero((mask_iou(shared) > 0.5) & counts)
    return dict(zip(truth.object_id[columns].tolist(), rows.tolist(), strict=True))
