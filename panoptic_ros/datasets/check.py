"""Checks a dataset before it is used: every file is read, every fault is counted."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from panoptic_ros.datasets.camvid import CamVid
from panoptic_ros.datasets.check_coco import CocoCheck
from panoptic_ros.datasets.check_mots import check_frame, check_frames, check_lines
from panoptic_ros.datasets.city import City
from panoptic_ros.datasets.coco_layout import find_panoptic_json
from panoptic_ros.datasets.dataset import Dataset, Truth
from panoptic_ros.datasets.findings import Check, Findings, Tally
from panoptic_ros.datasets.kitti_mots import KittiMots, find_mots_sequences
from panoptic_ros.datasets.nyuv2 import DepthImages
from panoptic_ros.datasets.open import open_dataset
from panoptic_ros.errors import InputError
from panoptic_ros.processes import usable_processes

Job = TypeVar("Job")
_ALONE = 16  # so few images are read sooner than other processes start


def check_dataset(path: str) -> Check:
    """Read all that is there and say what is wrong with it.

    Raises InputError where there is no dataset, or where the file that lists its images cannot be read at all.
    """
    place = Path(path).expanduser()
    if place.exists() and (found := find_panoptic_json(place)) is not None:
        coco = CocoCheck(*found)
        tally = _each(coco.check_image, coco.pairs, coco.tally)
        return Check(coco.name, "COCO panoptic", coco.class_names, coco.is_thing, coco.lengths(), tally)
    if place.exists() and (sequences := find_mots_sequences(place)):
        findings = Findings()
        masks = [check_lines(sequence.file, findings) for sequence in sequences]
        mots = KittiMots(place, masks)
        check_frames(mots, masks, findings)
        return _check_entries(mots, "KITTI-MOTS", partial(_check_mots_frame, mots), findings)
    dataset = open_dataset(path)
    if isinstance(dataset, CamVid):
        return _check_entries(dataset, "CamVid", partial(_check_entry, dataset), _camvid_findings(dataset))
    kind = "synthetic city" if isinstance(dataset, City) else (
        "NYU Depth v2" if isinstance(dataset, DepthImages) else "several datasets")
    return _check_entries(dataset, kind, partial(_check_entry, dataset), Findings())


def _check_entries(dataset: Dataset, name: str, check_one: Callable[[int], Tally], findings: Findings) -> Check:
    start = Tally.of_classes(len(dataset.classes))
    start.findings.merge(findings)
    tally = _each(check_one, range(len(dataset)), start)
    lengths = [(len(rows) if sequence is not None else 0) for sequence, rows in dataset.sequences()]
    return Check(dataset.name, name, dataset.classes.names, dataset.classes.is_thing, lengths, tally)


def _check_entry(dataset: Dataset, index: int) -> Tally:
    tally = Tally.of_classes(len(dataset.classes))
    for part in (dataset.label, dataset.image):
        try:
            if part == dataset.label:
                tally.count(dataset.label(index))
            else:
                dataset.image(index)
        except InputError as error:
            tally.findings.add(f"the {part.__name__} cannot be used", str(error))
    _check_depth(dataset, index, tally.findings)
    return tally


def _check_mots_frame(dataset: KittiMots, index: int) -> Tally:
    tally = check_frame(dataset, index)
    _check_depth(dataset, index, tally.findings)
    return tally


def _check_depth(dataset: Dataset, index: int, findings: Findings) -> None:
    """Whether the depth of an image can be read, fits the image and knows anything, where the dataset has depth."""
    if Truth.DEPTH not in dataset.truth:
        return
    name = dataset.entries[index].name
    try:
        depth, size = dataset.depth(index), dataset.image(index).shape[:2]
    except InputError as error:
        findings.add("the depth cannot be used", str(error))
        return
    if depth.shape != size:
        findings.add("the depth has another size than the image",
                     f"{name}: {depth.shape[1]} x {depth.shape[0]}, not {size[1]} x {size[0]}")
    if not (np.isfinite(depth) & (depth > 0)).any():
        findings.remark("the depth is unknown in the whole image", name)


def _camvid_findings(dataset: CamVid) -> Findings:
    findings = Findings()
    stems: dict[str, Path] = {}
    for index in range(len(dataset)):
        file = dataset.image_file(index)
        if (other := stems.setdefault(file.stem, file)) != file:
            findings.add("an image is in two splits", f"{other} and {file}")
    for folder in sorted({dataset.label_file(index).parent for index in range(len(dataset))}):
        for label in sorted(folder.glob("*.png")):
            if label.stem not in stems:
                findings.add("a label has no image", str(label))
    return findings


def _each(check_one: Callable[[Job], Tally], jobs: Sequence[Job], start: Tally) -> Tally:
    """The tally of all jobs on top of `start`, in the jobs' order; several processes share the work."""
    processes = usable_processes(min(len(os.sched_getaffinity(0)), len(jobs) // _ALONE))
    progress = partial(tqdm, total=len(jobs), unit="image", disable=None)
    if processes < 2:
        for job in progress(jobs):
            start.merge(check_one(job))
        return start
    chunk = max(1, min(32, len(jobs) // (4 * processes)))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        for tally in progress(pool.map(check_one, jobs, chunksize=chunk)):
            start.merge(tally)
    return start
