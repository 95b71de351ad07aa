"""Scorer: every metric that a truth allows, over images and sequences, in the layout that all results share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from panoptic_ros.classes import ClassTable, class_mapping
from panoptic_ros.datasets.dataset import Truth
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.counters import counters_as_arrays, counters_of_arrays
from panoptic_ros.evaluation.depth import compare_class_depth, compare_depth
from panoptic_ros.evaluation.image_scores import image_quality, image_result, image_sums, thing_scores
from panoptic_ros.evaluation.overlap import overlap
from panoptic_ros.evaluation.sequence_scores import SEQUENCE_COUNTERS, SequenceSums, sequence_result
from panoptic_ros.labels import NO_CLASS, PanopticLabel


@dataclass(frozen=True)
class FrameScore:
    """How well one image was done.

    quality: 0..1, by which the worst images are found: PQ of the image where the truth is panoptic, mIoU where it is
    semantic, PQ of its objects where it is tracks alone; None where the truth judges nothing in the image.
    void_share: share of the image's pixels that the prediction leaves void.
    metrics: all that is known of the image alone, see `image_quality`; with depth its `rmse` and so on.
    """

    quality: float | None
    void_share: float
    metrics: dict[str, float]


class Scorer:
    """Takes predictions with their truth, image by image; its size grows with the tracks of the sequences in progress
    and with mask AP's few bytes per thing, not with pixels.

    The images of a sequence come in order; several sequences may come interleaved. Which metrics run follows from the
    kinds of truth and is written in `panoptic_ros.evaluation.results`. Scorers of different images add up with
    `+` or `+=`, each with whole sequences.
    """

    def __init__(self, classes: ClassTable, truth: frozenset[Truth],
                 predicted_classes: ClassTable | None = None) -> None:
        """classes: of the truth, and of the result. truth: what it can judge.

        predicted_classes: of the predictions, where that is another table.
        Raises InputError where the two tables have no class in common.
        """
        self.classes, self.kinds = classes, truth
        self.images = self.sequences = 0
        self._class_mapping: np.ndarray | None = None
        has_classes = bool(truth - {Truth.DEPTH})
        if has_classes and predicted_classes is not None and (
                predicted_classes.names, predicted_classes.is_thing) != (classes.names, classes.is_thing):
            self._class_mapping = class_mapping(predicted_classes, classes)
        self._predicted_classes = predicted_classes or classes
        self._judged_pixels = 0
        self._ranked = self._unranked = 0  # images with predicted things that have scores, and that have none
        self._sums: dict[str, Any] = {}
        self._totals: dict[str, Any] = {}
        self._open: dict[str, SequenceSums] = {}

    def translated(self, predicted: PanopticLabel) -> PanopticLabel:
        """A prediction in the truth's classes."""
        if self._class_mapping is None:
            return predicted
        return predicted.translated(self._class_mapping, self.classes.thing_mask)

    def add(self, predicted: PanopticLabel, truth: PanopticLabel, sequence: str | None = None,
            predicted_depth: np.ndarray | None = None, truth_depth: np.ndarray | None = None,
            name: str | None = None) -> FrameScore:
        """Score one image.

        predicted: in the classes of the predictions. truth: of the same size. sequence: the video it is the next image
        of, None for an image alone. predicted_depth, truth_depth: (H, W) metres; compared where both are there.
        name: of the image, for errors.
        Raises InputError, naming the image, where sizes differ, a score or a depth is NaN, or a class is none of the
        table.
        """
        where = name or (f"image {self.images + 1}" if sequence is None else f"an image of sequence {sequence}")
        try:
            return self._add(self.translated(predicted), truth, sequence, predicted_depth, truth_depth, where)
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith(where) else f"{where}: {text}") from error

    def finish(self, sequence: str) -> None:
        """No more images of this sequence will come: what was kept for it can go."""
        if sequence in self._open:
            _add_up(self._totals, self._open.pop(sequence).totals())
            self.sequences += 1

    def finish_all(self) -> None:
        """No more images of any sequence will come."""
        for sequence in list(self._open):
            self.finish(sequence)

    def result(self) -> dict[str, Any]:
        """The metrics of all images so far, in the layout of `panoptic_ros.evaluation.results`.

        Raises InputError where nothing could be measured: no image, or a truth that judges nothing.
        """
        self.finish_all()
        if not self.images:
            raise InputError("nothing was scored: there is no image with a truth")
        if not self._judged_pixels and "depth" not in self._sums:
            raise InputError(f"the truth is empty: it is void in every pixel of all {self.images} images")
        if self._ranked and self._unranked:
            raise InputError(f"the predictions of {self._unranked} of {self.images} images have no scores, those of "
                             "others have: give every thing a score, or none")
        result = image_result(self._sums, self.classes, self.kinds) | sequence_result(self._totals, self.classes)
        if not result:
            raise InputError(f"nothing could be measured on {self.images} images: the truth has no object to be "
                             "tracked" + ("" if self.sequences else ", and no sequence"))
        return {"images": self.images, "sequences": self.sequences, **self._notes(), **result}

    def state(self) -> dict[str, np.ndarray]:
        """All that was counted so far, as arrays with names, fit for np.savez; of whole sequences."""
        self.finish_all()
        tables = {"truth": sorted(kind.value for kind in self.kinds), "classes": self.classes.to_dict(),
                  "predicted_classes": self._predicted_classes.to_dict()}
        return {**{name: np.array(json.dumps(table)) for name, table in tables.items()},
                **{name: np.array(getattr(self, name)) for name in _COUNTS},
                **counters_as_arrays({**self._sums, **self._totals})}

    @staticmethod
    def of_state(state: Mapping[str, np.ndarray]) -> Scorer:
        """The scorer whose `state` this is. Raises InputError where it is none."""
        try:
            tables = {name: json.loads(str(state[name])) for name in ("truth", "classes", "predicted_classes")}
            scorer = Scorer(ClassTable.from_dict(tables["classes"]), frozenset(map(Truth, tables["truth"])),
                            ClassTable.from_dict(tables["predicted_classes"]))
            for name in _COUNTS:
                setattr(scorer, name, int(state[name]))
            for name, value in counters_of_arrays(state).items():
                (scorer._totals if name in SEQUENCE_COUNTERS else scorer._sums)[name] = value
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the counters of a scorer cannot be read: {type(error).__name__} at {error}") from error
        return scorer

    def __iadd__(self, other: Scorer) -> Scorer:
        """Add the images of `other`, which is not to be used any more."""
        self.finish_all()
        other.finish_all()
        self.images += other.images
        self.sequences += other.sequences
        self._judged_pixels += other._judged_pixels
        self._ranked += other._ranked
        self._unranked += other._unranked
        _add_up(self._sums, other._sums)
        _add_up(self._totals, other._totals)
        return self

    def __add__(self, other: Scorer) -> Scorer:
        total = deepcopy(self)
        total += deepcopy(other)
        return total

    def _add(self, predicted: PanopticLabel, truth: PanopticLabel, sequence: str | None,
             predicted_depth: np.ndarray | None, truth_depth: np.ndarray | None, where: str) -> FrameScore:
        shared = overlap(predicted.segment_map, truth.segment_map, len(predicted), len(truth))
        sums = image_sums(predicted, truth, shared, self.classes, self.kinds, where)
        metrics = image_quality(sums, self.classes, self.kinds)
        quality = next(iter(metrics.values()), None)
        if Truth.DEPTH in self.kinds and predicted_depth is not None and truth_depth is not None:
            sums["depth"] = compare_depth(predicted_depth, truth_depth)
            metrics |= sums["depth"].result()
            sums["class_depth"] = compare_class_depth(predicted_depth, truth_depth, truth.class_map(),
                                                      len(self.classes))
        if sequence is not None:
            self._open.setdefault(sequence, SequenceSums(self.classes, self.kinds)).add(predicted, truth, shared)
        self.images += 1
        self._judged_pixels += int(shared[:, 1:].sum())
        if Truth.PANOPTIC in self.kinds and len(scores := thing_scores(predicted, self.classes)):
            self._unranked += int(np.isnan(scores).all())
            self._ranked += int(not np.isnan(scores).all())
        _add_up(self._sums, sums)
        return FrameScore(quality, float(shared[0].sum() / max(shared.sum(), 1)), metrics)

    def _notes(self) -> dict[str, list[str]]:
        """What the numbers do not say, under keys that are there where there is something to be said."""
        notes: dict[str, list[str]] = {}
        if self._class_mapping is not None:
            names = np.array(self._predicted_classes.names)
            known = np.isin(np.arange(len(self.classes)), self._class_mapping)
            notes["unmapped_classes"] = names[self._class_mapping == NO_CLASS].tolist()
            notes["classes_not_predicted"] = np.array(self.classes.names)[~known].tolist()
        if self._unranked:
            notes["warnings"] = ["mask_ap ranks all things alike: the predictions have no scores"]
        return {name: lines for name, lines in notes.items() if lines}


# Plain numbers among what a scorer counts.
_COUNTS = ("images", "sequences", "_judged_pixels", "_ranked", "_unranked")


def _add_up(totals: dict[str, Any], parts: dict[str, Any]) -> None:
    """Add each metric's `parts` to its `totals`; a metric that is new starts with its part."""
    for name, part in parts.items():
        if name in totals:
            totals[name] += part  # in place where a metric can, as mask AP's list of images
        else:
            totals[name] = part
