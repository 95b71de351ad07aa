"""What it costs to score a prediction of 1024 x 2048 pixels: python -m benchmarks.metrics [--quick] [--json FILE]

On one core. The way of COCO's own evaluator (sort all pairs of ids, then look at one segment after the other) is
measured in the same run, on the same pair of maps, and gives the same counts.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import cv2
import numpy as np

from benchmarks.command import run_benchmark
from benchmarks.pipeline import median_ms
from panoptic_ros.evaluation.depth import compare_depth
from panoptic_ros.evaluation.mask_ap import MaskAP, pair_things
from panoptic_ros.evaluation.mean_iou import class_pixels
from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.evaluation.panoptic_quality import Matches, match_overlap, match_segments
from panoptic_ros.evaluation.panoptic_quality_dagger import dagger_quality
from panoptic_ros.evaluation.parsing_covering import cover_overlap
from panoptic_ros.labels import PanopticLabel

HEIGHT, WIDTH = 1024, 2048
CLASSES, STUFF = 19, 11
IS_THING = np.arange(CLASSES) >= STUFF
PQ, ALL_METRICS, PLAIN = "panoptic quality", "all metrics of an image", "panoptic quality, one segment after the other"


def street(things: int, seed: int, shift: float = 0) -> PanopticLabel:
    """A street of all stuff classes and so many things, these moved by `shift` pixels."""
    random = np.random.default_rng(seed)
    segment_map = np.repeat(np.arange(HEIGHT) * STUFF // HEIGHT + 1, WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)
    segment_map[-60:] = 0
    for k in range(things):
        x, y = random.uniform((0, 200), (WIDTH, 800)) + shift
        axes = random.uniform(15, 90, 2).astype(int).tolist()
        cv2.ellipse(segment_map, (int(x), int(y)), axes, 0, 0, 360, STUFF + k + 1, -1)
    class_id = np.concatenate([np.arange(STUFF), random.integers(STUFF, CLASSES, things)])
    return PanopticLabel.of(segment_map, class_id, score=random.uniform(0.3, 1, len(class_id)))


def shared_pixels(predicted: PanopticLabel, truth: PanopticLabel) -> np.ndarray:
    """The overlap that the metrics below take."""
    return overlap(predicted.segment_map, truth.segment_map, len(predicted), len(truth))


def all_metrics(predicted: PanopticLabel, truth: PanopticLabel) -> tuple[Any, ...]:
    """Every metric of a single image from one overlap."""
    shared, classes = shared_pixels(predicted, truth), (predicted.class_id, truth.class_id)
    matches = match_overlap(shared, *classes, truth.is_crowd, CLASSES)
    return (matches, dagger_quality(matches, shared, *classes, IS_THING),
            cover_overlap(shared, *classes, truth.is_crowd, CLASSES), class_pixels(shared, *classes, CLASSES),
            pair_things(shared, predicted.class_id, predicted.score, truth.class_id, truth.is_crowd, IS_THING))


def plain_quality(predicted: PanopticLabel, truth: PanopticLabel) -> list[Counter[int]]:
    """Sum of IoU, matches, false and missed segments by class, as a plain evaluator finds them."""
    span = 256 ** 3
    keys, counts = np.unique(truth.segment_map.astype(np.uint64) * span + predicted.segment_map, return_counts=True)
    pixels = {(int(key) // span, int(key) % span): int(count) for key, count in zip(keys, counts, strict=True)}
    truth_area, predicted_area = (dict(zip(*(a.tolist() for a in np.unique(label.segment_map, return_counts=True)),
                                           strict=True)) for label in (truth, predicted))
    iou_sum, matched, false, missed = Counter[int](), Counter[int](), Counter[int](), Counter[int]()
    found, right = set(), set()
    for (j, i), count in pixels.items():
        if i and j and predicted.class_id[i - 1] == truth.class_id[j - 1]:
            iou = count / (truth_area[j] + predicted_area[i] - count - pixels.get((0, i), 0))
            if iou > 0.5:
                found.add(j)
                right.add(i)
                iou_sum[int(truth.class_id[j - 1])] += iou
                matched[int(truth.class_id[j - 1])] += 1
    missed.update(int(truth.class_id[j - 1]) for j in truth_area if j and j not in found)
    false.update(int(predicted.class_id[i - 1]) for i, area in predicted_area.items()
                 if i and i not in right and pixels.get((0, i), 0) / area <= 0.5)
    return [iou_sum, matched, false, missed]


def agrees(matches: Matches, plain: list[Counter[int]]) -> bool:
    """Whether both found the same."""
    columns = (matches.iou, matches.true_positive, matches.false_positive, matches.false_negative)
    return all(np.allclose([counter[k] for k in range(CLASSES)], column)
               for counter, column in zip(plain, columns, strict=True))


def measure(quick: bool) -> dict[str, float]:
    """Milliseconds by name."""
    repeats = 5 if quick else 30
    cv2.setNumThreads(1)
    result: dict[str, float] = {}
    for segments in (60, 300):
        truth, predicted = (street(segments - STUFF, segments, shift) for shift in (0, 6))

        def quality() -> Matches:
            return match_segments(predicted.segment_map, predicted.class_id, truth.segment_map,  # noqa: B023
                                  truth.class_id, CLASSES)  # noqa: B023

        matches = quality()
        assert agrees(matches, plain_quality(predicted, truth))
        assert matches.true_positive.sum() > segments / 2
        suffix = "" if segments == 60 else f", {segments} segments"
        result[PQ + suffix] = median_ms(quality, repeats)
        result[ALL_METRICS + suffix] = median_ms(lambda: all_metrics(predicted, truth), repeats)  # noqa: B023
        result[PLAIN + suffix] = median_ms(lambda: plain_quality(predicted, truth), min(repeats, 5))  # noqa: B023
    noise = np.random.default_rng(0).integers(0, 61, (2, HEIGHT, WIDTH)).astype(np.uint16)
    result["overlap of pure noise"] = median_ms(lambda: overlap(noise[0], noise[1], 60, 60), min(repeats, 10))
    depth = np.random.default_rng(0).uniform(1, 80, (2, HEIGHT, WIDTH)).astype(np.float32)
    result["depth errors"] = median_ms(lambda: compare_depth(*depth), repeats)

    images = 20 if quick else 100
    precision = MaskAP()
    for seed in range(images):
        precision += all_metrics(street(49, seed, 6), street(49, seed))[-1]
    result["mask AP at the end, per image"] = median_ms(precision.result, 1) / images
    return result


def table(result: dict[str, float]) -> str:
    """One line per figure."""
    lines = [f"{name:<62} {value:8.2f} ms" for name, value in result.items()]
    ratios = [f"{f'{PLAIN} : {name}':<62} {result[PLAIN] / result[name]:8.1f}" for name in (PQ, ALL_METRICS)]
    return "\n".join([*lines, f"{f'{PQ}, of its budget of 60 ms':<62} {result[PQ] / 60:8.0%}", *ratios])


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table)
