"""Checks of KITTI-MOTS files: lines, masks, and objects that change their class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from panoptic_ros.datasets.findings import Findings, Tally
from panoptic_ros.datasets.kitti_mots import IGNORE_CLASS, KittiMots, ObjectMask, read_lines
from panoptic_ros.errors import InputError


def check_lines(file: Path, findings: Findings) -> dict[int, list[ObjectMask]]:
    """The masks of each frame, of the lines that can be read; what is wrong with the others goes to `findings`."""
    masks: dict[int, list[ObjectMask]] = {}
    class_of: dict[int, int] = {}
    for number, line in enumerate(read_lines(file), 1):
        if not line.strip():
            continue
        try:
            mask = ObjectMask.parse(line)
        except ValueError as error:
            findings.add("a line is not 'frame object_id class_id height width rle'", f"{file}:{number}: {error}")
            continue
        masks.setdefault(mask.frame, []).append(mask)
        known = class_of.setdefault(mask.object_id, mask.class_id)
        if known != mask.class_id:
            findings.remark("an object changes its class",
                            f"{file}:{number}: object {mask.object_id} was of class {known}, is of {mask.class_id}")
    if not masks:
        findings.remark("a file names no object at all", str(file))
    return masks


def check_frames(dataset: KittiMots, masks: Sequence[dict[int, list[ObjectMask]]], findings: Findings) -> None:
    """Whether each frame that a file names has an image, where there are images. masks: of each sequence."""
    frames = {(entry.sequence, entry.number) for entry in dataset.entries}
    for sequence, named in zip(dataset.sequence_files, masks, strict=True):
        for frame in sorted(named):
            if (sequence.name, frame) not in frames:
                findings.add("a file names a frame that has no image", f"{sequence.file}: frame {frame}")


def check_frame(dataset: KittiMots, index: int) -> Tally:
    """The masks of one frame, against each other and against the image."""
    tally = Tally.of_classes(len(dataset.classes))
    findings, entry = tally.findings, dataset.entries[index]
    try:
        size = dataset.size(index)
    except InputError as error:
        findings.add("the image cannot be read", str(error))
        return tally
    object_map, objects = np.zeros(size, np.int64), set()
    area = np.zeros(len(dataset.classes), np.int64)
    ignored = 0
    for mask in dataset.masks(index):
        where = f"{entry.name}, object {mask.object_id}"
        if (mask.height, mask.width) != size:
            findings.add("a mask has another size than others of the sequence",
                         f"{where}: {mask.width} x {mask.height}, not {size[1]} x {size[0]}")
            continue
        try:
            inside = mask.decode()
        except ValueError as error:
            findings.add("run lengths cannot be decoded", f"{where}: {error}")
            continue
        if not inside.any():
            findings.remark("a mask is empty", where)
        if mask.class_id != IGNORE_CLASS and mask.object_id in objects:
            findings.add("an object is twice in one frame", where)
        objects.add(mask.object_id)
        others = object_map[inside]
        if others.any():
            ids = ", ".join(str(number - 1) for number in np.unique(others[others > 0]).tolist())
            findings.add("masks overlap", f"{where}: {np.count_nonzero(others)} pixels are of {ids} as well")
        object_map[inside & (object_map == 0)] = mask.object_id + 1
        if mask.class_id == IGNORE_CLASS:
            ignored += int((others == 0).sum())
        else:
            area[mask.class_id - 1] += int((others == 0).sum())
            tally.segments[mask.class_id - 1] += 1
    tally.images += area > 0
    tally.pixels += [*area, object_map.size - int(area.sum()) - ignored, ignored]
    tally.sizes[size] += 1
    if dataset.image_file(index) is not None:
        try:
            dataset.image(index)
        except InputError as error:
            findings.add("the image cannot be used", str(error))
    return tally
