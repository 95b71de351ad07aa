"""Train the appearance head of a model: python -m training.train_appearance --model runs/city/model

The head makes, of what the trained network says of a segment, the vector by which the tracker knows the segment's
object again. The network stays as it is: it segments clips of a dataset with track ids once, and the head learns from
the features of their objects, of true segments and of predicted ones, by a supervised contrastive loss against other
objects of the same class. It is written into the model folder where it tells objects of other clips apart better than
the features without a head do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import class_mapping
from panoptic_ros.datasets import Dataset, Truth, open_dataset
from panoptic_ros.decoding.appearance import appearance_features, appearance_vectors
from panoptic_ros.decoding.segment_pooling import pool_segments
from panoptic_ros.decoding.segments import make_segments
from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.overlap import mask_iou, overlap
from panoptic_ros.labels import NO_CLASS, PanopticLabel
from panoptic_ros.model import Model, save_appearance_head
from panoptic_ros.networks.appearance_head import AppearanceHead
from panoptic_ros.paths import model_folder
from panoptic_ros.perception import Perception, preprocess
from panoptic_ros.segments import Segments
from panoptic_ros.tracking.appearance import AppearanceStatistics

from .losses.contrastive import supervised_contrastive_loss
from .reading import read_ahead

# Truth masks of fewer pixels of a 512 x 1024 image are too small to be known again.
SMALLEST = 300
TEMPERATURE = 0.1
# Noise on normalised features, in standard deviations: masks are never the same twice.
NOISE = 0.1
CLIPS_PER_STEP = 8


@dataclass(frozen=True)
class Views:
    """N views of objects in clips.

    features: (N, F) what the head is given. plain: (N, E) the vectors without a head. clip: (N,) int. stamp_ns: (N,)
    int. object_id: (N,) its own in the clip. class_id: (N,). is_predicted: (N,) bool, whether of a predicted segment.
    """

    features: Tensor
    plain: Tensor
    clip: Tensor
    stamp_ns: Tensor
    object_id: Tensor
    class_id: Tensor
    is_predicted: Tensor

    def select(self, rows: Tensor) -> Views:
        return Views(*(column[rows] for column in vars(self).values()))


@torch.inference_mode()
def views_of(perception: Perception, dataset: Dataset, workers: int) -> Views:
    """The objects of a dataset with track ids, as the model sees them.

    Raises InputError where the dataset has no panoptic truth over time, shares no thing class with the model, or its
    images show no object.
    """
    model = perception.model
    if "appearance" not in model.network.pixel_outputs:
        raise InputError(f"{model.model_id} is of the method {model.method}, whose network has no output `appearance`: "
                         "its embeddings are used as they are")
    if Truth.PANOPTIC not in dataset.truth:
        raise InputError(f"{dataset.name} has no panoptic truth: an appearance head is trained on objects with ids")
    table = np.append(class_mapping(dataset.classes, model.classes), NO_CLASS)
    clips: dict[str, int] = {}
    parts: list[Views] = []
    for example in tqdm(read_ahead(dataset, range(len(dataset)), workers), total=len(dataset), unit="image",
                        disable=None):
        clip = clips.setdefault(example.entry.sequence or str(example.row), len(clips))
        truth = replace(example.truth, class_id=table[example.truth.class_id].astype(np.int32))
        outputs = perception.engine(preprocess(model, [CameraImage(example.image, "rgb8")], perception.engine.device))
        features = outputs.pop("appearance")[0]  # so that the decode leaves the method's own embedding
        for is_predicted, (segment_map, rows, ids) in enumerate(
                (_true_objects(model, outputs, truth), _found_objects(perception, outputs, truth))):
            if len(rows):
                count = len(rows)
                parts.append(Views(appearance_features(features, segment_map, rows).cpu(),
                                   appearance_vectors(features, segment_map, rows, None).cpu(),
                                   torch.full((count,), clip), torch.full((count,), example.stamp_ns), ids.long().cpu(),
                                   rows.class_id.long().cpu(), torch.full((count,), bool(is_predicted))))
    if not parts:
        raise InputError(f"{dataset.name} shows no object of a class of {model.model_id} that has an id and is larger "
                         f"than {SMALLEST} pixels of a 512 x 1024 image")
    return Views(*(torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])))


def _true_objects(model: Model, outputs: dict[str, Tensor],
                  truth: PanopticLabel) -> tuple[Tensor, Segments[Tensor], Tensor]:
    """True objects of one image: segment map (H, W), segments with the method's embedding, ids (N,)."""
    kept = _is_object(model, truth)
    number = np.concatenate([[0], np.cumsum(kept) * kept]).astype(np.int32)
    segment_map = torch.as_tensor(number[truth.segment_map])
    embedding = None
    if "embedding" in model.network.pixel_outputs:
        maps = outputs["embedding"][0].cpu()
        box = make_segments(segment_map, *_columns(model, truth.class_id[kept]), None)[1].box
        embedding = F.normalize(pool_segments(maps, segment_map, box)[:, :len(maps)], dim=1)
    segment_map, rows = make_segments(segment_map, *_columns(model, truth.class_id[kept]), embedding)
    device = next(iter(outputs.values())).device
    rows = replace(rows, box=rows.box.to(device), embedding=None if embedding is None else embedding.to(device))
    return segment_map.to(device), rows, torch.as_tensor(truth.object_id[kept])


def _columns(model: Model, class_id: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """class_id, is_thing and score of true segments."""
    return torch.as_tensor(class_id), torch.as_tensor(model.classes.thing_mask[class_id]), torch.ones(len(class_id))


def _found_objects(perception: Perception, outputs: dict[str, Tensor],
                   truth: PanopticLabel) -> tuple[Tensor, Segments[Tensor], Tensor]:
    """Predicted segments that fit a true object of their class by more than half, as `_true_objects` gives them."""
    size = (truth.segment_map.shape[0], truth.segment_map.shape[1])
    found = perception.model.decode(outputs, perception.thresholds, size)
    segment_map, rows = found.segment_map[0], found.segments[0]
    shared = overlap(segment_map.cpu().numpy(), truth.segment_map, len(rows), len(truth))
    fits = (mask_iou(shared) > 0.5) & _is_object(perception.model, truth)
    fits &= rows.class_id.cpu().numpy()[:, None] == truth.class_id
    row, of = np.nonzero(fits)
    # Rows that are left out keep their numbers in the map.
    number = np.zeros(len(rows) + 1, np.int32)
    number[row + 1] = np.arange(1, len(row) + 1)
    return (torch.as_tensor(number, device=segment_map.device)[segment_map.long()],
            rows.select(torch.as_tensor(row, device=segment_map.device)), torch.as_tensor(truth.object_id[of]))


def _is_object(model: Model, truth: PanopticLabel) -> np.ndarray:
    """Which true segments (N,) are things with an id and large enough."""
    area = np.bincount(truth.segment_map.ravel(), minlength=len(truth) + 1)[1:]
    is_known = (truth.class_id != NO_CLASS) & ~truth.is_crowd & (truth.object_id > 0)
    is_thing = np.append(model.classes.thing_mask, False)[truth.class_id]
    result: np.ndarray = is_known & is_thing & (area * (512 * 1024 / truth.segment_map.size) >= SMALLEST)
    return result


def train_head(views: Views, steps: int, seed: int = 0) -> AppearanceHead:
    """A head trained on these views: AdamW with one cycle of the learning rate.

    Contrasted are objects of one class, of the same clip and of others: what is of another class is told apart by it.
    """
    torch.manual_seed(seed)
    head = AppearanceHead(views.features.shape[1])
    head.feature_mean.copy_(views.features.mean(0))
    head.feature_std.copy_(views.features.std(0) + 1e-4)
    rows_of = [torch.nonzero(views.clip == clip)[:, 0] for clip in views.clip.unique()]
    identity = torch.unique(torch.stack([views.clip, views.object_id], 1), dim=0, return_inverse=True)[1]
    optimiser = torch.optim.AdamW(head.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, steps)
    progress = tqdm(range(steps), unit="step", disable=None)
    for _ in progress:
        rows = torch.cat([rows_of[i] for i in torch.randperm(len(rows_of))[:CLIPS_PER_STEP]])
        noise = NOISE * head.feature_std * torch.randn(len(rows), len(head.feature_std))
        vectors = head(views.features[rows] + noise)
        class_id = views.class_id[rows]
        loss = supervised_contrastive_loss(vectors, identity[rows], class_id[:, None] == class_id, TEMPERATURE)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")
    return head.eval()


def top1(vectors: Tensor, views: Views, gap_ns: int) -> tuple[float, int]:
    """Share of objects that, after this time, are nearest to themselves among the objects of their class, and how many
    were asked for: those with another of their class beside them. Vectors are centred as the tracker's are."""
    share = np.eye(int(views.class_id.max()) + 1, dtype=np.float32)[views.class_id.numpy()]
    hits = asked = 0
    for clip in views.clip.unique():
        in_clip = torch.nonzero(views.clip == clip)[:, 0].numpy()
        statistics = AppearanceStatistics.none(vectors.shape[1]).updated(vectors[in_clip].numpy(), share[in_clip])
        centred = np.zeros(vectors.shape, np.float32)
        centred[in_clip] = statistics.centred(vectors[in_clip].numpy(), share[in_clip])
        stamps = views.stamp_ns[in_clip].numpy()
        for stamp in np.unique(stamps):
            now, later = in_clip[stamps == stamp], in_clip[abs(stamps - stamp - gap_ns) < 20_000_000]
            likeness = centred[now] @ centred[later].T
            same_class = views.class_id[now].numpy()[:, None] == views.class_id[later].numpy()
            likeness[~same_class] = -2
            itself = views.object_id[now].numpy()[:, None] == views.object_id[later].numpy()
            is_asked = (itself & same_class).any(1) & (same_class.sum(1) > 1)
            if is_asked.any():
                hits += int(itself[np.arange(len(now)), likeness.argmax(1)][is_asked].sum())
                asked += int(is_asked.sum())
    return hits / max(asked, 1), asked


GAPS = (0.2, 0.8, 1.6, 4.8)  # seconds


def compare(head: AppearanceHead, views: Views) -> dict[str, dict[str, float]]:
    """`top1` of the true segments after each of GAPS, without the head and with it."""
    true = views.select(~views.is_predicted)
    with torch.inference_mode():
        vectors = {"pooled": true.plain, "appearance": head(true.features)}
    result: dict[str, dict[str, float]] = {}
    for name, values in vectors.items():
        found = {gap: top1(values, true, round(gap * 1e9)) for gap in GAPS}
        result[name] = {str(gap): round(share, 4) for gap, (share, asked) in found.items() if asked}
    return result


def run(args: argparse.Namespace) -> int:
    """Train, compare, and write the head where it is better."""
    folder = model_folder(args.model)
    perception = Perception(folder)
    views = views_of(perception, open_dataset(args.data), args.workers)
    scored = views_of(perception, open_dataset(args.validation), args.workers)
    head = train_head(views, args.steps)
    result = compare(head, scored)
    print("top-1 of the same class (true segments) after" + "".join(f"{gap:>8} s" for gap in GAPS))
    for name, row in result.items():
        print(f"{name:<45}" + "".join(f"{100 * row[str(gap)]:10.1f}" if str(gap) in row else f"{'-':>10}"
                                      for gap in GAPS))
    pooled, trained = (np.mean(list(row.values())) for row in result.values())
    if not trained > pooled:
        print(f"the head is not written: without it objects are told apart as well on {args.validation}")
        return 1
    save_appearance_head(head, folder)
    print(f"wrote {folder / 'appearance.safetensors'}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 0 written, 1 no better than no head, 2 what was asked for is impossible."""
    parser = argparse.ArgumentParser(prog="python -m training.train_appearance",
                                     description=__doc__.splitlines()[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", required=True, help="model folder, which the head is written into")
    parser.add_argument("--data", default="city:1000000-1000119x8/8", help="clips with track ids to train on")
    parser.add_argument("--validation", default="city:500-507x40/2", help="clips that decide whether it is better")
    parser.add_argument("--steps", type=int, default=1500, help="of the optimiser")
    parser.add_argument("--workers", type=int, default=1, help="processes that read or render images ahead")
    args = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    try:
        if args.steps < 2:
            raise InputError(f"--steps is {args.steps}; it must be at least 2")
        return run(args)
    except InputError as error:
        print(f"train_appearance: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
