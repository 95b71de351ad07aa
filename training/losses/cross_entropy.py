"""Cross entropy over the pixels that need it most (Wu et al. 2016; Pohlen et al. 2017)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.classes import VOID


def bootstrapped_cross_entropy(logits: Tensor, class_map: Tensor, share: float) -> Tensor:
    """Mean cross entropy of the worst `share` of the batch's known pixels, at least one; 0 where nothing is known.

    logits: (B, C, h, w); class_map: (B, h, w) int64, 255 = void. Returns ().
    """
    errors = F.cross_entropy(logits, class_map, ignore_index=VOID, reduction="none")[class_map != VOID]
    if not len(errors):
        return logits.sum() * 0
    return errors.topk(max(1, round(share * len(errors)))).values.mean()
