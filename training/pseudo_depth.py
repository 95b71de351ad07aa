"""Pseudo labels of relative depth for a folder of images, by Depth Anything V2 (Yang et al. 2024):

    python -m training.pseudo_depth IMAGES --out DEPTH

Each image gets a 16-bit PNG as depth datasets have them, to train with `hyperparameters.depth: relative`: its inverse
is the predicted disparity, up to scale and shift. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from panoptic_ros.errors import InputError
from panoptic_ros.image_files import DEPTH_STEPS, IMAGE_SUFFIXES, read_image

MODEL = "depth-anything/Depth-Anything-V2-Large-hf"
SHORTEST_SIDE, PATCH = 518, 14  # pixels: what it was trained with, and of which sides are multiples
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The farthest point of an image is so many times as far away as the nearest: depth has to fit into 16 bits.
FARTHEST = 200.0


def pseudo_depth(disparity: np.ndarray) -> np.ndarray:
    """Depth PNG (H, W) uint16 of a relative disparity (H, W), larger = nearer: depth from 1 to FARTHEST in DEPTH_STEPS.

    All 0, unknown, where the disparity is the same everywhere. Raises InputError where it is not finite.
    """
    low, high = float(disparity.min()), float(disparity.max())
    if not np.isfinite([low, high]).all():
        raise InputError("the predicted disparity is not finite")
    if high == low:
        return np.zeros(disparity.shape, np.uint16)
    share = (disparity.astype(np.float64) - low) / (high - low)
    return np.rint(DEPTH_STEPS / (1 / FARTHEST + (1 - 1 / FARTHEST) * share)).astype(np.uint16)


@torch.inference_mode()
def predict_disparity(image: np.ndarray, network: Callable[[Tensor], Tensor], device: torch.device,
                      shortest_side: int = SHORTEST_SIDE) -> np.ndarray:
    """Disparity (H, W) float32 of an image (H, W, 3) uint8, red first.

    network: normalised (1, 3, h, w) to (1, h', w').
    """
    height, width = image.shape[:2]
    scale = shortest_side / min(height, width)
    size = tuple(max(1, round(side * scale / PATCH)) * PATCH for side in (height, width))
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float() / 255
    pixels = F.interpolate(pixels, size, mode="bicubic", align_corners=False, antialias=scale < 1)
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (MEAN, STD))
    disparity = network((pixels - mean) / std)[:, None].float()
    resized = F.interpolate(disparity, (height, width), mode="bilinear", align_corners=False)
    result: np.ndarray = resized[0, 0].cpu().numpy()
    return result


def write_pseudo_depth(images: Path, out: Path, network: Callable[[Tensor], Tensor], device: torch.device,
                       shortest_side: int = SHORTEST_SIDE) -> int:
    """Write OUT/NAME.png for every image below the folder that has none yet; returns how many were written.

    Raises InputError where there are no images, one cannot be read, or OUT cannot be written.
    """
    files = sorted(file for file in images.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise InputError(f"{images} has no images")
    written = 0
    for file in tqdm(files, unit="image", disable=None):
        target = (out / file.relative_to(images)).with_suffix(".png")
        if target.is_file():
            continue
        try:
            depth = pseudo_depth(predict_disparity(read_image(file), network, device, shortest_side))
        except InputError as error:
            text = str(error)
            raise InputError(text if str(file) in text else f"{file}: {text}") from error
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"{target.name}.partial")
            partial.write_bytes(cv2.imencode(".png", depth)[1].tobytes())
            os.replace(partial, target)
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror}") from error
        written += 1
    return written


def load_network(name: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Depth Anything from transformers, by its name on the hub or a folder.

    Raises InputError where transformers is not installed or the weights cannot be had.
    """
    try:
        from transformers import AutoModelForDepthEstimation
    except ImportError as error:
        raise InputError("pseudo labels of depth need transformers: pip install '.[depth]'") from error
    try:
        model: Any = AutoModelForDepthEstimation.from_pretrained(name).eval().to(device)
    except (OSError, ValueError) as error:
        raise InputError(f"the weights of '{name}' cannot be had: {str(error).splitlines()[0]}; give a folder that has "
                         "them with --model") from error
    return lambda pixels: model(pixel_values=pixels).predicted_depth


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}.pseudo_depth",
                                     description=(__doc__ or "").splitlines()[0].rstrip(":"))
    parser.add_argument("images", type=Path, help="folder of images, with those in it")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the PNGs")
    parser.add_argument("--model", default=MODEL, help=f"name on the hub, or a folder (default: {MODEL})")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--shortest-side", type=int, default=SHORTEST_SIDE, metavar="PIXELS",
                        help=f"to which images are resized (default: {SHORTEST_SIDE})")
    args = parser.parse_args(arguments)
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device)
    try:
        count = write_pseudo_depth(args.images, args.out, load_network(args.model, device), device,
                                   args.shortest_side)
    except InputError as error:
        print(f"pseudo_depth: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pseudo_depth: interrupted; the same command goes on", file=sys.stderr)
        return 130
    print(f"{count} depth images written to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
