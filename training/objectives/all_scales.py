"""Loss of the two-stage network: proposals, boxes by Eq. 1 or Eq. 2 (CABB), masks, and the semantic loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.classes import VOID
from panoptic_ros.errors import InputError
from panoptic_ros.geometry.boxes import box_iou
from panoptic_ros.methods.all_scales.network import BOX_SIDE, BOX_WEIGHTS, MASK_SIDE, ROI_STRIDES
from panoptic_ros.methods.all_scales.region_pooling import PyramidCanvas

from ..batches import Objects
from ..ground_truth import GroundTruth, ground_truth_objects
from ..losses.crop_aware_boxes import box_loss
from ..losses.cross_entropy import bootstrapped_cross_entropy
from ..matching import IGNORED, covered_share, match_boxes, sample_matches
from .objective import Objective, weighted_total

# Stride of the semantic loss: that of the logits.
QUARTER = 4


@dataclass(frozen=True)
class Settings:
    """Weights and choices of the loss; defaults are the paper's, and where it is silent those of Seamless Scene
    Segmentation (Porzi et al. 2019), on which its network builds.

    crop_aware: whether sides that the crop has cut off are free (Eq. 2), or boxes are those of the crop (Eq. 1).
    proposal_class, proposal_box, box_class, box, mask, semantics: weights of the terms.
    bootstrap: share of the pixels, those with the largest loss, that the semantic loss is the mean of.
    candidates, proposals: boxes before and after the suppression of the proposals in training.
    proposal_iou: IoU from which an anchor is positive, and below which it is negative. proposal_samples: anchors an
        image, at most half of them positive. proposal_beta: where the smooth L1 of the proposals becomes linear.
    box_iou: IoU from which a proposal is positive. box_samples: proposals an image. box_positives: at most this share
        of them is positive. box_beta: as proposal_beta.
    ignored: anchors and proposals of which void and crowds cover more than this share are left out.
    """

    crop_aware: bool = True
    proposal_class: float = 1.0
    proposal_box: float = 1.0
    box_class: float = 1.0
    box: float = 1.0
    mask: float = 1.0
    semantics: float = 1.0
    bootstrap: float = 0.25
    candidates: int = 12000
    proposals: int = 2000
    proposal_iou: tuple[float, float] = (0.7, 0.3)
    proposal_samples: int = 256
    proposal_beta: float = 1 / 9
    box_iou: float = 0.5
    box_samples: int = 512
    box_positives: float = 0.25
    box_beta: float = 1.0
    ignored: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.bootstrap <= 1 or not 0 < self.box_positives <= 1:
            raise InputError(f"bootstrap is {self.bootstrap} and box_positives {self.box_positives}; they are shares "
                             "above 0 and up to 1")
        if not self.proposal_iou[1] <= self.proposal_iou[0]:
            raise InputError(f"proposal_iou is {list(self.proposal_iou)}; the first is for positives, and not below "
                             "the second")
        if self.proposal_beta <= 0 or self.box_beta <= 0:
            raise InputError(f"proposal_beta is {self.proposal_beta} and box_beta {self.box_beta}; both must be above "
                             "0")


class Truth(NamedTuple):
    """The G objects of one image: visible box (G, 4), class among the things (G,), number in `GroundTruth.number`
    (G,), and which sides the crop has cut off (G, 4) bool."""

    box: Tensor
    thing: Tensor
    number: Tensor
    cut: Tensor


class Sampled(NamedTuple):
    """Proposals of all images that the heads are trained on, image after image, positives first in each.

    box (R, 4), image (R,), is_positive (R,) bool. Of the P positives, in order: thing (P,), target (P, 4), cut (P, 4),
    number (P,) of their objects.
    """

    box: Tensor
    image: Tensor
    is_positive: Tensor
    thing: Tensor
    target: Tensor
    cut: Tensor
    number: Tensor


class AllScalesObjective(Objective):
    """The six terms of the two stages, on a network of `methods.all_scales`.

    An object's box is that of its visible mask, as the paper crops masks first (footnote 1). Anchors that lie partly
    outside of the image take part, as in detectron2: a crop's border is none of the image's. Which samples are drawn
    depends on the batch alone, so that a run that goes on after an interruption draws what it would have drawn.
    """

    settings_type = Settings

    def network_outputs(self, image: Tensor) -> dict[str, Tensor]:
        """semantic_logits and, where there are things, the pyramid's `level0` and so on, `objectness`, `deltas`, and
        the anchors."""
        outputs, levels = self.network.features(image)
        if levels:
            objectness, deltas, anchor = self.network.propose(levels)
            outputs.update(objectness=objectness, deltas=deltas, anchor=anchor)
            outputs.update((f"level{i}", level) for i, level in enumerate(levels[:len(ROI_STRIDES)]))
        return outputs

    def forward(self, image: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """As `Objective.forward`, but in mixed precision to the end: the heads are part of the loss."""
        return self.loss(self.network_outputs(image), batch)

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """The terms and their weighted sum `total`."""
        settings = self.settings
        class_map, instance_map = batch["class_map"].long(), batch["instance_map"].long()
        if bool(((class_map >= len(self.is_thing)) & (class_map != VOID)).any()):
            raise InputError(f"the truth has a class id beyond the {len(self.is_thing)} classes of the table")
        quarter = class_map[:, QUARTER // 2::QUARTER, QUARTER // 2::QUARTER]
        terms = {"semantics": bootstrapped_cross_entropy(outputs["semantic_logits"].float(), quarter,
                                                         settings.bootstrap)}
        if "objectness" in outputs:
            objects = ground_truth_objects(class_map, instance_map)
            truths = [_truth(objects, batch.get("objects"), image, self.is_thing) for image in range(len(class_map))]
            # Void and crowds, where it is not known whether there is an object.
            ignored = torch.ones(VOID + 1, dtype=torch.bool, device=class_map.device)
            ignored[:len(self.is_thing)] = self.is_thing
            ignored_maps = ignored[class_map] & (instance_map == 0)
            generator = torch.Generator("cpu").manual_seed(int(batch["image"].sum()))
            size = (class_map.shape[1], class_map.shape[2])
            terms.update(self._proposal_terms(outputs, truths, ignored_maps, size, generator))
            sampled = self._sample(outputs, truths, ignored_maps, size, generator)
            terms.update(self._head_terms(outputs, sampled, class_map, objects.number, size))
        return weighted_total(terms, {name: getattr(settings, name) for name in terms})

    def _proposal_terms(self, outputs: dict[str, Tensor], truths: list[Truth], ignored_maps: Tensor,
                        size: tuple[int, int], generator: torch.Generator) -> dict[str, Tensor]:
        settings, anchor = self.settings, outputs["anchor"]
        class_errors, box_errors, samples = [], [], 0
        for truth, ignored, logits, deltas in zip(truths, ignored_maps, outputs["objectness"], outputs["deltas"],
                                                  strict=True):
            high, low = settings.proposal_iou
            match = match_boxes(box_iou(truth.box[:, None], anchor), high, low, best_of_each=True)
            match = torch.where((covered_share(anchor, ignored) > settings.ignored) & (match < 0), IGNORED, match)
            positive, negative = sample_matches(match, settings.proposal_samples, 0.5, generator)
            rows = torch.cat([positive, negative])
            target = torch.zeros_like(rows, dtype=logits.dtype)
            target[:len(positive)] = 1
            class_errors.append(F.binary_cross_entropy_with_logits(logits[rows], target, reduction="sum"))
            box_errors.append(self._box_errors(deltas[positive], truth.box[match[positive]], anchor[positive],
                                               truth.cut[match[positive]], size, (1, 1, 1, 1),
                                               settings.proposal_beta).sum())
            samples += len(rows)
        return {"proposal_class": torch.stack(class_errors).sum() / max(samples, 1),
                "proposal_box": torch.stack(box_errors).sum() / max(samples, 1)}

    def _box_errors(self, deltas: Tensor, target: Tensor, anchor: Tensor, cut: Tensor, size: tuple[int, int],
                    weights: tuple[float, float, float, float], beta: float) -> Tensor:
        return box_loss(deltas, target, anchor, cut if self.settings.crop_aware else None, size, weights, beta)

    @torch.no_grad()
    def _sample(self, outputs: dict[str, Tensor], truths: list[Truth], ignored_maps: Tensor, size: tuple[int, int],
                generator: torch.Generator) -> Sampled:
        settings = self.settings
        proposals, real = self.network.proposals(outputs["objectness"], outputs["deltas"], outputs["anchor"], size,
                                                 settings.candidates, settings.proposals)
        images = []
        for image, (box, is_real, truth, ignored) in enumerate(zip(proposals, real, truths, ignored_maps, strict=True)):
            box = torch.cat([truth.box, box[is_real]])  # the truth too: at first no proposal overlaps an object
            match = match_boxes(box_iou(truth.box[:, None], box), settings.box_iou, settings.box_iou)
            match = torch.where((covered_share(box, ignored) > settings.ignored) & (match < 0), IGNORED, match)
            positive, negative = sample_matches(match, settings.box_samples, settings.box_positives, generator)
            rows, matched = torch.cat([positive, negative]), match[positive]
            images.append(Sampled(box[rows], torch.full_like(rows, image), match[rows] >= 0, truth.thing[matched],
                                  truth.box[matched], truth.cut[matched], truth.number[matched]))
        return Sampled(*(torch.cat(column) for column in zip(*images, strict=True)))

    def _head_terms(self, outputs: dict[str, Tensor], sampled: Sampled, class_map: Tensor, number: Tensor,
                    size: tuple[int, int]) -> dict[str, Tensor]:
        network, settings = self.network, self.settings
        levels = [outputs[f"level{i}"].float() for i in range(len(ROI_STRIDES))]
        zero = torch.stack([level.sum() for level in levels]).sum() * 0
        if not len(sampled.box):
            return {"box_class": zero, "box": zero, "mask": zero}
        canvas = PyramidCanvas(levels, ROI_STRIDES)
        logits, deltas = network.box_head(canvas.pool(sampled.box, sampled.image, BOX_SIDE))
        target = torch.zeros_like(sampled.image)
        target[sampled.is_positive] = sampled.thing + 1
        terms = {"box_class": F.cross_entropy(logits.float(), target), "box": zero, "mask": zero}
        if len(sampled.thing):
            box, image = sampled.box[sampled.is_positive], sampled.image[sampled.is_positive]
            row = torch.arange(len(box), device=box.device)
            chosen = deltas[sampled.is_positive][row, sampled.thing].float()
            terms["box"] = self._box_errors(chosen, sampled.target, box, sampled.cut, size, BOX_WEIGHTS,
                                            settings.box_beta).sum() / len(sampled.box)
            masks = network.mask_head(canvas.pool(box, image, MASK_SIDE))[row, sampled.thing].float()
            inside, valid = mask_target(box, image, sampled.number, number, class_map, masks.shape[-1])
            errors = F.binary_cross_entropy_with_logits(masks, inside.float(), reduction="none")
            terms["mask"] = (errors * valid).sum() / valid.sum().clamp(min=1)
        return terms


def _truth(objects: GroundTruth, annotated: Objects | None, image: int, is_thing: Tensor) -> Truth:
    """The objects of one image of the batch; `annotated` says which sides the crop has cut off."""
    rows = (objects.image[1:] == image).nonzero()[:, 0] + 1  # row 0 is background
    cut = torch.zeros(len(rows), 4, dtype=torch.bool, device=rows.device)
    if annotated is not None:
        here = annotated.image == image
        same = objects.instance[rows][:, None] == annotated.number[here]  # (G, annotated)
        cut = (same[..., None] & annotated.cut[here]).any(1)
    thing = (is_thing.cumsum(0) - 1)[objects.class_id[rows]]
    return Truth(objects.box[rows], thing, rows, cut)


def mask_target(box: Tensor, image: Tensor, object_number: Tensor, number: Tensor, class_map: Tensor,
                side: int) -> tuple[Tensor, Tensor]:
    """The masks of objects over boxes (P, 4) on a grid of side x side: (P, side, side) bool, and where it is known.

    image (P,); object_number (P,) of the objects in `number` (B, h, w). The nearest pixel to each bin's centre; void
    pixels, and what lies beyond the crop, are not known.
    """
    height, width = class_map.shape[1:]
    step = (torch.arange(side, device=box.device) + 0.5) / side
    x = (box[:, :1] + step * (box[:, 2:3] - box[:, :1])).floor().long()  # (P, side)
    y = (box[:, 1:2] + step * (box[:, 3:] - box[:, 1:2])).floor().long()
    known = ((x >= 0) & (x < width))[:, None] & ((y >= 0) & (y < height))[:, :, None]
    place = image[:, None, None], y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None]
    inside = number[place] == object_number[:, None, None]
    return inside, known & (class_map[place] != VOID)
