"""Test-time augmentation of mask classification: queries of the copies of an image are matched and averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.networks.test_time_augmentation import augmented

EPSILON = 1e-6


def test_time_augmentation(network: Callable[[Tensor], dict[str, Tensor]], image: Tensor, scales: Sequence[float],
                           flip: bool, stride: int) -> dict[str, Tensor]:
    """See `panoptic_ros.methods.AugmentedNetwork`; class and mask probabilities are averaged, and unit embeddings.

    The queries of a copy are in an order of their own: they are matched one to one with those of the first copy, by
    class and mask. Logits are those of the mean probabilities. Queries come by their mean score, best first.
    """
    size = (image.shape[2], image.shape[3])
    copies = []
    for one in augmented(network, image, scales, flip, stride):
        copies.append((one.outputs["class_logits"].softmax(2),
                       one.aligned(one.outputs["mask_logits"], size).sigmoid(),
                       F.normalize(one.outputs["query_embedding"], dim=2)))
    first = copies[0]
    totals = list(first)
    for copy in copies[1:]:
        order = torch.stack([_matched(*pair) for pair in zip(first[0], first[1], copy[0], copy[1], strict=True)])
        for i, values in enumerate(copy):
            totals[i] = totals[i] + _rows(values, order)
    classes, masks, embedding = (total / len(copies) for total in totals)
    order = classes[..., :-1].amax(2).argsort(dim=1, descending=True, stable=True)
    classes, masks, embedding = (_rows(values, order) for values in (classes, masks, embedding))
    return {"class_logits": classes.clamp(min=EPSILON).log(), "mask_logits": masks.logit(EPSILON),
            "query_embedding": embedding}


def _matched(classes: Tensor, masks: Tensor, other_classes: Tensor, other_masks: Tensor) -> Tensor:
    """The query of another copy for each of this one's: the assignment with the highest sum of class and mask
    similarity. classes (Q, C + 1), masks (Q, h, w) are probabilities. Returns (Q,) int64."""
    ours, theirs = masks.flatten(1), other_masks.flatten(1)
    dice = 2 * ours @ theirs.T / (ours.sum(1)[:, None] + theirs.sum(1)).clamp(min=EPSILON)
    similarity = classes @ other_classes.T + dice
    _, column = linear_sum_assignment(similarity.double().cpu().numpy(), maximize=True)
    return torch.from_numpy(column).to(masks.device)


def _rows(values: Tensor, order: Tensor) -> Tensor:
    """values[b, order[b]] for each image of a batch: (B, Q, ...) by (B, Q)."""
    return torch.stack([one.index_select(0, rows) for one, rows in zip(values, order, strict=True)])
