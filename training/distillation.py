"""Distillation: a student's maps are drawn to the soft outputs of a larger network of the same method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.classes import ClassTable
from panoptic_ros.errors import InputError
from panoptic_ros.model import load_model

# Their maps are of queries, whose order is each network's own, or are made of proposals on the way.
NOT_DISTILLED = ("universal", "all_scales")


@dataclass(frozen=True)
class Distillation:
    """teacher: model folder of the same method and classes, "" = none. weight: of the term `distillation` in the loss.

    temperature: by which logits of classes are divided before their distributions are compared (Hinton et al. 2015).
    """

    teacher: str = ""
    weight: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if self.weight < 0 or self.temperature <= 0:
            raise InputError(f"distillation.weight is {self.weight} and temperature {self.temperature}; they must be "
                             "at least 0, and above 0")


class Teacher:
    """A network whose outputs are the targets; it is no part of what is trained and saved."""

    def __init__(self, settings: Distillation, method: str, classes: ClassTable, mean: tuple[float, float, float],
                 std: tuple[float, float, float], device: torch.device) -> None:
        """mean, std: by which the student's images are normalised.

        Raises InputError for a teacher of another method or other classes.
        """
        model = load_model(settings.teacher)
        if model.method != method or method in NOT_DISTILLED:
            raise InputError(f"distillation.teacher {settings.teacher} is of the method {model.method}: soft outputs "
                             f"are for a student of the same one, and not for {' or '.join(NOT_DISTILLED)}; use its "
                             "pseudo-labels (self_training.teacher, or panoptic-ros label)")
        if model.classes.names != classes.names:
            raise InputError(f"distillation.teacher {settings.teacher} has other classes than the recipe; use its "
                             "pseudo-labels, which are mapped by name (self_training.teacher)")
        self.settings = settings
        self.network: Any = model.network.to(device).requires_grad_(False)
        ours, theirs = (tuple(torch.tensor(v, device=device).view(3, 1, 1) for v in pair)
                        for pair in ((mean, std), (model.mean, model.std)))
        self._scale, self._shift = ours[1] / theirs[1], (ours[0] - theirs[0]) / theirs[1]

    @torch.no_grad()
    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """The targets for an image (B, 3, h, w), normalised for the student: the teacher's maps."""
        with torch.autocast(image.device.type, enabled=False):
            outputs = self.network(torch.addcmul(self._shift, image.float(), self._scale))
        return {name: outputs[name] for name in self.network.pixel_outputs}

    def loss(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
        """The mean over the maps that student and teacher have: of logits over classes the KL divergence, of all else
        the smooth L1 distance.

        outputs, targets: maps (B, C, h, w) by name.
        Raises InputError where maps of one name are of different sizes.
        """
        terms = []
        for name in sorted(targets.keys() & outputs.keys()):
            student, teacher = outputs[name].float(), targets[name].float()
            if student.shape != teacher.shape:
                raise InputError(f"the teacher's {name} is {tuple(teacher.shape[1:])}, the student's "
                                 f"{tuple(student.shape[1:])}: they need the same stride and dimensions")
            if name.endswith("_logits") and student.shape[1] > 1:
                t = self.settings.temperature
                distance = t * t * F.kl_div((student / t).log_softmax(1), (teacher / t).log_softmax(1),
                                            reduction="none", log_target=True).sum(1)
            else:
                distance = F.smooth_l1_loss(student, teacher, reduction="none").sum(1)
            terms.append(distance.mean())
        if not terms:
            raise InputError("teacher and student have no map in common")
        return torch.stack(terms).mean()
