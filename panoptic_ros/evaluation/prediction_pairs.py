"""Pairs predictions on disk with the images of a ground truth, by name or frame number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from panoptic_ros.datasets.dataset import Dataset, Entry, Truth
from panoptic_ros.datasets.kitti_mots import KittiMots
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.parallel_scoring import Pair
from panoptic_ros.labels import NO_CLASS, PanopticLabel

_NAMED = 5  # of the images that have a fault, in an error


@dataclass(frozen=True)
class PredictionPairs:
    """Reads an image's prediction and truth, by the index of the truth; pickles for other processes.

    row: for each image of the truth the index of its prediction; -1 = a frame of KITTI-MOTS in which there is nothing.
    video: whether images that follow each other are scored as sequences.
    extra: predictions of images that the truth does not have. by_number: matched by frame numbers, not by names.
    """

    predictions: Dataset
    truth: Dataset
    row: Sequence[int]
    video: bool
    extra: Sequence[str]
    by_number: bool

    @property
    def kinds(self) -> frozenset[Truth]:
        """What can be judged: what the truth knows and the predictions say."""
        said = set(self.predictions.truth)
        kinds = set(self.truth.truth) & said
        return frozenset(kinds if self.video else kinds - {Truth.TRACKS})

    def groups(self) -> list[list[int]]:
        """The indices of each sequence, or each image alone."""
        if not self.video:
            return [[index] for index in range(len(self.truth))]
        return [rows for _, rows in self.truth.sequences()]

    def __call__(self, index: int) -> Pair:
        entry, row = self.truth.entries[index], self.row[index]
        truth = self.truth.label(index)
        predicted = self.predictions.label(row) if row >= 0 else _nothing(truth)
        has_depth = Truth.DEPTH in self.kinds
        return Pair(predicted, truth, entry.sequence if self.video else None,
                    self.predictions.depth(row) if has_depth else None,
                    self.truth.depth(index) if has_depth else None, entry.name)


def pair_predictions(predictions: Dataset, truth: Dataset, video: bool) -> PredictionPairs:
    """Find the prediction of each image of the truth, by its name.

    KITTI-MOTS is matched by sequence and frame number, and where each side is one sequence its name does not matter.
    Raises InputError where an image of the truth has no prediction, or where the two have no kind of truth in common.
    """
    wanted, offered = _keys(truth, by_number=False), _keys(predictions, by_number=False)
    by_number = not set(wanted) & set(offered) and _is_one_sequence(truth) and _is_one_sequence(predictions)
    if by_number:
        wanted, offered = _keys(truth, by_number=True), _keys(predictions, by_number=True)
    place = {key: i for i, key in enumerate(offered)}
    row = [place.get(key, -1) for key in wanted]
    missing = [entry.name for entry, k in zip(truth.entries, row, strict=True)
               if k < 0 and not _may_be_empty(predictions, entry, by_number)]
    if missing:
        raise InputError(f"{len(missing)} of {len(truth)} images of {truth.name} have no prediction in "
                         f"{predictions.name}: {', '.join(missing[:_NAMED])}{' ...' if len(missing) > _NAMED else ''}; "
                         f"its first is {predictions.entries[0].name if len(predictions) else 'not there'}. Images "
                         "are matched by name: predict every image, or give a truth of those that were predicted")
    used = set(row)
    extra = [entry.name for i, entry in enumerate(predictions.entries) if i not in used]
    pairs = PredictionPairs(predictions, truth, row, video, extra, by_number)
    if not pairs.kinds - {Truth.DEPTH}:
        raise InputError(f"the predictions {predictions.name} cannot be judged by {truth.name}: they are "
                         f"{_words(predictions)}, the truth is {_words(truth)}")
    return pairs


def _keys(dataset: Dataset, by_number: bool) -> list[str | int]:
    return [entry.number if by_number else entry.name for entry in dataset.entries]


def _is_one_sequence(dataset: Dataset) -> bool:
    numbers = [entry.number for entry in dataset.entries]
    return len({entry.sequence for entry in dataset.entries}) <= 1 and len(set(numbers) - {-1}) == len(numbers)


def _may_be_empty(predictions: Dataset, entry: Entry, by_number: bool) -> bool:
    """Whether a file says by a frame's absence that nothing is in it."""
    return isinstance(predictions, KittiMots) and (
        by_number or entry.sequence in {sequence.name for sequence in predictions.sequence_files})


def _nothing(truth: PanopticLabel) -> PanopticLabel:
    return PanopticLabel.of(np.ones(truth.segment_map.shape, np.uint8), np.array([NO_CLASS]))


def _words(dataset: Dataset) -> str:
    return " and ".join(sorted(kind.value for kind in dataset.truth))
