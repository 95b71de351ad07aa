"""Mask AP: average precision of the masks of things by COCO's evaluator (pycocotools)."""

from __future__ import annotations

import io
from collections import defaultdict
from contextlib import redirect_stdout
from dataclasses import dataclass, field

import numpy as np
from pycocotools.cocoeval import COCOeval

from panoptic_ros.errors import InputError

# COCO's groups of size: small things have up to 32^2 pixels, large ones from 96^2.
SIZES = ("all", "small", "medium", "large")


@dataclass(frozen=True)
class ThingPairs:
    """The things of one image and the IoU of those that meet.

    predicted_class: (N,) uint8, predicted_score: (N,) float32, predicted_area: (N,) uint32 pixels.
    truth_class: (M,) uint8, truth_area: (M,) uint32, truth_is_crowd: (M,) bool.
    row, column: (P,) uint16, the pairs of one class that share a pixel. iou: (P,) float64.
    """

    predicted_class: np.ndarray
    predicted_score: np.ndarray
    predicted_area: np.ndarray
    truth_class: np.ndarray
    truth_area: np.ndarray
    truth_is_crowd: np.ndarray
    row: np.ndarray
    column: np.ndarray
    iou: np.ndarray


@dataclass
class MaskAP:
    """What average precision needs of all images; the one metric whose memory grows with their number.

    Segments of a panoptic map do not overlap, so that areas and IoU stand for the masks: an image takes some 2,000
    bytes, plus 9 for each thing and 12 for each pair that meets.
    """

    images: list[ThingPairs] = field(default_factory=list)

    def __add__(self, other: MaskAP) -> MaskAP:
        return MaskAP(self.images + other.images)

    def __iadd__(self, other: MaskAP) -> MaskAP:
        self.images += other.images
        return self

    def result(self) -> dict[str, float]:
        """{"ap", "ap50", "small", "medium", "large"}; a key is absent where the truth has no such thing.

        ap: mean over the IoU thresholds 0.5, 0.55 ... 0.95 and the classes of the truth; the sizes likewise.
        """
        classes = np.unique(np.concatenate([[], *(image.truth_class for image in self.images)])).astype(int).tolist()
        if not classes:
            return {}
        with redirect_stdout(io.StringIO()):  # pycocotools reports its progress
            evaluator = _Evaluator(self.images, classes)
            evaluator.evaluate()
            evaluator.accumulate()
        precision = evaluator.eval["precision"][..., -1]  # (thresholds, recalls, classes, sizes), -1 = nothing to find
        parts = {"ap": precision[..., 0], "ap50": precision[0, ..., 0],
                 **{name: precision[..., k] for k, name in enumerate(SIZES) if k > 0}}
        # Rounded, because pycocotools adds an epsilon to the denominator: perfect is 1 - 2e-16 there.
        return {name: round(float(p[p > -1].mean()), 12) for name, p in parts.items() if (p > -1).any()}


def pair_things(shared: np.ndarray, predicted_class: np.ndarray, predicted_score: np.ndarray, truth_class: np.ndarray,
                truth_is_crowd: np.ndarray, is_thing: np.ndarray, image: str = "an image") -> MaskAP:
    """The things of one image, ready to be added to those of others.

    shared: (N + 1, M + 1) of `overlap`. predicted_class: (N,) and truth_class: (M,) in 0..C-1, or NO_CLASS.
    predicted_score: (N,). truth_is_crowd: (M,) bool. is_thing: (C,) bool. image: its name, for errors.

    COCO's masks know no void. Here pixels that are void in the truth are taken off the predicted masks, and a
    prediction that lies by more than half on them is left out, as in panoptic quality. Crowds are judged by COCO's
    rule: any number of predictions may lie in one, without being right or wrong.
    Raises InputError where the score of a thing is not a number.
    """
    thing = np.append(is_thing, False)  # NO_CLASS is -1
    area = shared[1:].sum(1)
    rows = np.flatnonzero(thing[predicted_class] & (area > 0) & (shared[1:, 0] * 2 <= area))
    columns = np.flatnonzero(thing[truth_class] & (shared[:, 1:].sum(0) > 0))
    if not np.isfinite(predicted_score[rows]).all():
        raise InputError(f"{image}: {np.count_nonzero(~np.isfinite(predicted_score[rows]))} predicted things have no "
                         "score, but average precision ranks things by it: give every thing a number")
    predicted_area = area[rows] - shared[1:, 0][rows]
    truth_area, crowd = shared[:, 1:].sum(0)[columns], truth_is_crowd[columns]
    pixels = shared[1:, 1:][np.ix_(rows, columns)]
    row, column = np.nonzero((pixels > 0) & (predicted_class[rows][:, None] == truth_class[columns][None]))
    intersection = pixels[row, column]
    # Of a crowd any part may be meant: COCO divides by the predicted area alone.
    union = predicted_area[row] + np.where(crowd[column], 0, truth_area[column] - intersection)
    return MaskAP([ThingPairs(
        predicted_class[rows].astype(np.uint8), predicted_score[rows].astype(np.float32),
        predicted_area.astype(np.uint32), truth_class[columns].astype(np.uint8), truth_area.astype(np.uint32), crowd,
        row.astype(np.uint16), column.astype(np.uint16), intersection / union)])


class _Evaluator(COCOeval):
    """COCO's evaluator, given areas and IoU in place of masks."""

    def __init__(self, images: list[ThingPairs], classes: list[int]) -> None:
        super().__init__(iouType="segm")
        self.images = images
        self.params.imgIds, self.params.catIds, self.params.maxDets = list(range(len(images))), classes, [100]

    def _prepare(self) -> None:
        self._gts, self._dts = defaultdict(list), defaultdict(list)
        for i, image in enumerate(self.images):
            columns = zip(image.truth_class.tolist(), image.truth_area.tolist(), image.truth_is_crowd.tolist(),
                          strict=True)
            for k, (class_id, area, crowd) in enumerate(columns):
                self._gts[i, class_id].append({"id": k + 1, "area": area, "ignore": crowd, "iscrowd": crowd})
            rows = zip(image.predicted_class.tolist(), image.predicted_area.tolist(), image.predicted_score.tolist(),
                       strict=True)
            for k, (class_id, area, score) in enumerate(rows):
                self._dts[i, class_id].append({"id": k + 1, "area": area, "score": score})

    def computeIoU(self, image_id: int, class_id: int) -> np.ndarray | list[float]:  # noqa: N802
        """(predictions by falling score, truths) of one image and class."""
        image = self.images[image_id]
        rows = np.flatnonzero(image.predicted_class == class_id)
        columns = np.flatnonzero(image.truth_class == class_id)
        if len(rows) == 0 or len(columns) == 0:
            return []
        iou = np.zeros((len(image.predicted_class), len(image.truth_class)))
        iou[image.row, image.column] = image.iou
        best_first = np.argsort(-image.predicted_score[rows], kind="stable")[:self.params.maxDets[-1]]
        return iou[np.ix_(rows[best_first], columns)]
