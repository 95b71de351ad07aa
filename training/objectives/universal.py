"""The loss of mask classification, computed by transformers: one-to-one matching, then classes and masks of queries."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from panoptic_ros.classes import VOID, ClassTable

from .objective import Objective


@dataclass(frozen=True)
class Settings:
    """Weights of the terms. The costs of the matching, the weight of no object and the number of points are keys of the
    network's `config`: class_weight, mask_weight, dice_weight, no_object_weight, train_num_points.
    """

    cross_entropy: float = 2.0
    mask: float = 5.0
    dice: float = 5.0


class UniversalObjective(Objective):
    """Hungarian matching of queries to segments; cross entropy, and per point of the masks cross entropy and dice loss.

    It is the library's own loss, of all decoder layers, in single precision; its points are drawn at random.
    OneFormer's contrastive term needs texts and is left out.
    """

    settings_type: ClassVar[type] = Settings

    def __init__(self, network: nn.Module, settings: Settings, classes: ClassTable) -> None:
        super().__init__(network, settings, classes)
        self.network.segmenter.weight_dict.update({
            f"loss_{name}": weight for name, weight in dataclasses.asdict(settings).items()})

    def forward(self, image: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        masks, classes = mask_targets(batch["class_map"], batch["instance_map"], self.is_thing)
        terms: list[dict[str, Tensor]] = []
        # The terms of a layer are weighted in place after the criterion has returned them.
        hook = self.network.segmenter.criterion.register_forward_hook(lambda _, __, returned: terms.append(returned))
        try:
            # Matching takes single precision, whatever the rest is trained in.
            with torch.autocast(image.device.type, enabled=False):
                total = self.network.transformers_outputs(image.float(), mask_labels=masks, class_labels=classes).loss
        finally:
            hook.remove()
        sums = {name: sum(value for layer in terms for key, value in layer.items() if name in key)
                for name in ("cross_entropy", "mask", "dice")}
        return {"total": total, **{name: torch.as_tensor(value).detach() for name, value in sums.items()}}


def mask_targets(class_map: Tensor, instance_map: Tensor, is_thing: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The segments of each image: masks (N, h, w) float and classes (N,) int64.

    class_map, instance_map: (B, h, w). A segment is an instance, or all of a stuff class; pixels of a thing class that
    are of no instance (crowds) are of none, as void is.
    """
    masks, classes = [], []
    for class_ids, instances in zip(class_map.long(), instance_map.long(), strict=True):
        thing = is_thing[class_ids.clamp(max=len(is_thing) - 1)]
        valid = (class_ids != VOID) & (~thing | (instances > 0))
        key = torch.where(valid, class_ids + (VOID + 1) * torch.where(thing, instances, 0), -1)
        segments = key.unique()
        segments = segments[segments >= 0]
        masks.append((key == segments[:, None, None]).float())
        classes.append(segments % (VOID + 1))
    return masks, classes
