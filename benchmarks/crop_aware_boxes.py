"""The crop-aware box loss beside smooth L1, forward and backward: python -m benchmarks.crop_aware_boxes [--quick]

A batch of 512 boxes, as many as a detection head learns from in an image, on one core; with half of the sides cut and
with all, which takes as long, since every box is solved for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.command import run_benchmark
from benchmarks.pipeline import median_ms
from panoptic_ros.geometry.boxes import encode_boxes
from training.losses.crop_aware_boxes import box_loss

BOXES = 512
CROP = (512, 1024)
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def boxes() -> tuple[Tensor, Tensor, Tensor]:
    """Deltas, visible boxes and anchors (512, 4): predictions about as far off as those of a network that learns."""
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor(CROP[::-1])
    low = torch.rand(BOXES, 2, generator=generator) * size * 0.8
    target = torch.cat([low, low + 1 + torch.rand(BOXES, 2, generator=generator) * (size - low - 1)], 1)
    anchor = target + torch.randn(BOXES, 4, generator=generator) * 0.1 * (target[:, 2:] - target[:, :2]).repeat(1, 2)
    deltas = encode_boxes(target, anchor, WEIGHTS) + torch.randn(BOXES, 4, generator=generator)
    return deltas.requires_grad_(), target, anchor


def measure(quick: bool) -> dict[str, float]:
    """Milliseconds by name."""
    torch.set_num_threads(1)
    deltas, target, anchor = boxes()
    border = torch.tensor([0, 0, *CROP[::-1]]).float()
    result = {}
    for name, share in (("smooth L1 (Eq. 1)", None), ("CABB (Eq. 2), half of the sides cut", 0.5),
                        ("CABB (Eq. 2), all sides cut", 1.0)):
        cut = None if share is None else torch.rand(BOXES, 4, generator=torch.Generator().manual_seed(1)) < share
        visible = target if cut is None else torch.where(cut, border, target)

        def step(cut: Tensor | None = cut, visible: Tensor = visible) -> None:
            deltas.grad = None
            box_loss(deltas, visible, anchor, cut, CROP, WEIGHTS).sum().backward()

        result[name] = median_ms(step, 5 if quick else 200)
    return result


def table(result: dict[str, float]) -> str:
    """Each also relative to smooth L1."""
    standard = next(iter(result.values()))
    return "\n".join(f"{name:<36} {value:7.2f} ms  {value / standard:6.1f} x smooth L1"
                     for name, value in result.items())


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table)
