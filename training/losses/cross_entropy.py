"""Bootstrapped cross entropy, over the hardest pixels (Wu et al. 2016; Pohlen et al. 2017)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.classes import VOID


def bootstrapped_cross_entropy(logits: Tensor, class_map: Tensor, share: float,
                               weight: Tensor | None = None) -> Tensor:
    """Mean cross entropy of the `share` of the batch's valid pixels with the largest loss, at least one; 0 without any.

    logits: (B, C, h, w); class_map: (B, h, w) int64, 255 = void. weight: (B, h, w), which multiplies the loss of each
    pixel before the largest are taken. Returns ().
    """
    errors = F.cross_entropy(logits, class_map, ignore_index=VOID, reduction="none")
    errors = (errors if weight is None else errors * weight)[class_map != VOID]
    if not len(errors):
        return logits.sum() * 0
    return errors.topk(max(1, round(share * len(errors)))).values.mean()
