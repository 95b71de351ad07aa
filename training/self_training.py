"""Self-training: images without labels are learned from by a teacher's confident predictions, all else being void.

The teacher is a model of any method, or the moving average of the student itself (mean teacher, Tarvainen and Valpola
2017). It sees an image as it is; the student sees the same crop with strong augmentation.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from panoptic_ros.classes import VOID, ClassTable, class_mapping
from panoptic_ros.datasets import Dataset, open_dataset
from panoptic_ros.datasets.dataset import Entry
from panoptic_ros.errors import InputError
from panoptic_ros.image_files import IMAGE_SUFFIXES, read_image
from panoptic_ros.labels import NO_CLASS, PanopticLabel
from panoptic_ros.methods import METHODS
from panoptic_ros.model import Model, load_model

from .batches import Objects
from .ground_truth import ground_truth_objects

# Share of the old mean score of a class that an image keeps.
_SCORE_DECAY = 0.99


@dataclass(frozen=True)
class SelfTraining:
    """data: images without labels: a folder of images (`panoptic-ros label` leaves one), or a dataset, whose labels are
        not looked at; "" = no self-training.
    teacher: a model folder, of any method and classes; "" = the moving average of the student (ema_decay).
    batch_size: images without labels in each step, besides the labelled ones. weight: of their loss. start: the step
        from which they are used, when a mean teacher has learned something.
    confidence: a segment with a lower score is void. class_balanced: lower in proportion where the scores of a class
        are lower in the mean, so that the classes that are hard are learned as well (FlexMatch, Zhang et al. 2021).
    brightness, contrast, saturation, hue, blur: the strong augmentation, the last a probability.
    """

    data: str = ""
    teacher: str = ""
    batch_size: int = 4
    weight: float = 1.0
    start: int = 0
    confidence: float = 0.7
    class_balanced: bool = True
    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.1
    blur: float = 0.5

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.start < 0 or self.weight < 0:
            raise InputError(f"self_training.batch_size is {self.batch_size}, start {self.start}, weight {self.weight};"
                             " at least 1, 0 and 0")
        if not (0 <= self.confidence <= 1 and 0 <= self.blur <= 1):
            raise InputError(f"self_training.confidence is {self.confidence} and blur {self.blur}; both lie between 0 "
                             "and 1")


class UnlabelledImages(Dataset):
    """The images of a folder, or of a dataset whose labels are hidden; every pixel is said to be of class 0."""

    truth = frozenset()

    def __init__(self, path: str, classes: ClassTable) -> None:
        """classes: of the student. Raises InputError where there are no images."""
        folder = Path(path).expanduser()
        self.classes, self.name = classes, f"{folder.name}, unlabelled"
        self._files: list[Path] = []
        self._dataset: Dataset | None = None
        try:
            self._dataset = open_dataset(path)
            self.entries: Sequence[Entry] = [Entry(entry.name) for entry in self._dataset.entries]
            self.revision = self._dataset.revision
        except InputError:
            if not folder.is_dir():
                raise
            self._files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
            if not self._files:
                raise InputError(f"self_training.data {path} is neither a dataset nor a folder with images") from None
            self.entries = [Entry(str(file.relative_to(folder))) for file in self._files]

    def image(self, index: int) -> np.ndarray:
        return read_image(self._files[index]) if self._dataset is None else self._dataset.image(index)

    def label(self, index: int) -> PanopticLabel:
        height, width = self.image(index).shape[:2]
        return PanopticLabel.of(np.ones((height, width), np.uint16), np.zeros(1, np.int32))


class PseudoLabels:
    """Makes labelled batches of images without labels."""

    def __init__(self, settings: SelfTraining, student: Model, device: torch.device) -> None:
        """student: as it is to be exported; its network is not used.

        Raises InputError where the teacher's classes and the student's have nothing in common.
        """
        self.settings, self._student = settings, student
        self._teacher = load_model(settings.teacher) if settings.teacher else None
        model = self._teacher or student
        if self._teacher is not None:
            self._teacher.network.to(device).requires_grad_(False)
        mapping = class_mapping(model.classes, student.classes)
        lost = [name for name, k in zip(model.classes.names, mapping, strict=True) if k == NO_CLASS]
        if lost:
            print(f"training: classes of the teacher without a counterpart, void in its labels: {', '.join(lost)}",
                  file=sys.stderr)
        self._class_of = torch.as_tensor(np.where(mapping == NO_CLASS, VOID, mapping), device=device).long()
        things = np.append(student.classes.thing_mask, [False] * (VOID + 1 - len(student.classes)))
        self._is_thing = torch.as_tensor(things, device=device)
        # Of each of the student's classes, the mean score of its segments.
        self.mean_score = torch.ones(VOID + 1, device=device)
        self._jitter = v2.ColorJitter(settings.brightness, settings.contrast, settings.saturation, settings.hue)
        self._blur = v2.RandomApply([v2.GaussianBlur(5, (0.3, 2.0))], settings.blur)

    @torch.no_grad()
    def batch(self, unlabelled: dict[str, Any], average: nn.Module | None, seed: int) -> tuple[dict[str, Any], float]:
        """A batch of `training.batches` with the teacher's labels, and the share of its pixels that have one.

        unlabelled: a batch of `UnlabelledImages`. average: the moving average of the student's network. seed: of the
        strong augmentation.
        """
        image = unlabelled["image"]
        class_map, instance_map = self._predict(image, average)
        beyond = unlabelled["class_map"] == VOID
        class_map, instance_map = class_map.masked_fill(beyond, VOID), instance_map.masked_fill(beyond, 0)
        labelled = float((class_map != VOID).float().mean())
        return {"image": self._strong(image, seed), "class_map": class_map.to(torch.uint8),
                "instance_map": instance_map.int(), "clip": torch.arange(len(image), device=image.device),
                "objects": objects_of(class_map, instance_map)}, labelled

    def thresholds(self) -> Tensor:
        """(256,) the score that a segment of each class must have."""
        share = self.mean_score / self.mean_score.max() if self.settings.class_balanced else 1.0
        return self.settings.confidence * share * torch.ones_like(self.mean_score)

    def _predict(self, image: Tensor, average: nn.Module | None) -> tuple[Tensor, Tensor]:
        """Class and instance maps (B, h, w) int64 of images (B, 3, h, w) uint8."""
        model = self._teacher or self._student
        network: Any = self._teacher.network if self._teacher is not None else average
        size = (image.shape[2], image.shape[3])
        if any(side % network.stride for side in size):
            raise InputError(f"augmentation.crop is {size[0]} x {size[1]}; both sides must be multiples of "
                             f"{network.stride}, the stride of the teacher")
        network.eval()
        outputs = {**network(model.normalise(image.permute(0, 2, 3, 1))),
                   **{name: value.detach() for name, value in network.decode_parameters().items()}}
        found = METHODS[model.method].decode(outputs, torch.as_tensor(model.classes.thing_mask, device=image.device),
                                             model.thresholds, size)
        class_maps, instance_maps = [], []
        needed = self.thresholds()
        for segment_map, segments in zip(found.segment_map.long(), found.segments, strict=True):
            class_id = self._class_of[segments.class_id.long()]
            sure = (class_id != VOID) & (segments.score >= needed[class_id])
            number = torch.arange(1, len(class_id) + 1, device=image.device)
            void = class_id.new_full((1,), VOID)
            class_maps.append(torch.cat([void, torch.where(sure, class_id, VOID)])[segment_map])
            things = torch.where(sure & self._is_thing[class_id], number, 0)
            instance_maps.append(torch.cat([void * 0, things])[segment_map])
            counts = torch.bincount(class_id, minlength=VOID + 1)
            mean = torch.bincount(class_id, segments.score.float(), VOID + 1) / counts.clamp(min=1)
            self.mean_score = torch.where(counts > 0, _SCORE_DECAY * self.mean_score + (1 - _SCORE_DECAY) * mean,
                                          self.mean_score)
        return torch.stack(class_maps), torch.stack(instance_maps)

    def _strong(self, image: Tensor, seed: int) -> Tensor:
        # From the step alone, so that a run that was interrupted goes on alike.
        with torch.random.fork_rng(devices=[image.device] if image.is_cuda else []):
            torch.manual_seed(seed)
            return torch.stack([self._blur(self._jitter(one)) for one in image])


def objects_of(class_map: Tensor, instance_map: Tensor) -> Objects:
    """The objects of maps (B, h, w) as a batch has them; one that touches the border is taken for cut off there."""
    truth = ground_truth_objects(class_map.long(), instance_map.long())
    box = truth.box[1:]
    height, width = instance_map.shape[1:]
    limit = torch.tensor([width, height], device=box.device)
    return Objects(truth.image[1:], truth.instance[1:], truth.class_id[1:], box,
                   torch.cat([box[:, :2] <= 0, box[:, 2:] >= limit], 1))
