"""Scores of a two-stage model's detections themselves, before the fusion: AP by size of object, IoU of large boxes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.datasets import Dataset
from panoptic_ros.geometry.boxes import box_iou
from panoptic_ros.geometry.label_maps import measure_labels
from panoptic_ros.methods.all_scales.decode import paste_masks
from panoptic_ros.perception import Perception, preprocess
from training.reading import read_ahead

# Groups of objects by the percentiles of their areas in the truth, as in Figure 5, whose own are not stated.
PERCENTILES = (0, 25, 50, 75, 95, 100)
# From this score on a detection is an instance, the default of the fusion.
SCORE = 0.5


def detection_scores(perception: Perception, dataset: Dataset, crop: Sequence[int]) -> dict[str, float]:
    """Box and mask AP, over all objects and by percentiles of their areas; mean IoU of boxes.

    crop: (h, w) that the model was trained on, in pixels of the dataset's images. `iou_large`: of objects that do not
    fit into it; `iou_border`: of those that the border of the image cuts; `iou_other`: of all others. An object's IoU
    is that with the box of its class that overlaps it most, 0 where none does.
    """
    model, engine = perception.model, perception.engine
    things = np.flatnonzero(model.classes.thing_mask)
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    sizes: list[tuple[int, int]] = []
    overlaps: dict[str, list[float]] = {"iou_large": [], "iou_border": [], "iou_other": []}
    for row, example in enumerate(read_ahead(dataset, range(len(dataset)), 0)):
        height, width = example.image.shape[:2]
        sizes.append((height, width))
        label = example.truth
        area, box = measure_labels(torch.from_numpy(label.segment_map.astype(np.int64)), len(label) + 1)
        kept = [k for k in range(len(label)) if label.class_id[k] in things and area[k + 1] > 0]
        for k in kept:
            mask = coco_mask.encode(np.asfortranarray(label.segment_map == k + 1, dtype=np.uint8))
            truths.append(_row(len(truths) + 1, row, int(label.class_id[k]), box[k + 1], int(area[k + 1]), mask,
                               iscrowd=int(label.is_crowd[k])))
        with torch.inference_mode():
            outputs = {name: x[0].cpu() for name, x in engine(preprocess(
                model, [CameraImage(example.image, "rgb8")], engine.device)).items()}
        scale = torch.tensor([width / model.input_size[1], height / model.input_size[0]]).repeat(2)
        real = outputs["score"] > 0
        boxes, score = outputs["box"][real] * scale, outputs["score"][real]
        class_id = torch.from_numpy(things)[outputs["thing"][real].long()]
        pixel, instance, _ = paste_masks(outputs["mask_logits"][real], boxes, (height, width), 0.5)
        for j in range(len(boxes)):
            covered = np.zeros(height * width, dtype=np.uint8)
            covered[pixel[instance == j].numpy()] = 1
            mask = coco_mask.encode(np.asfortranarray(covered.reshape(height, width)))
            found.append(_row(len(found) + 1, row, int(class_id[j]), boxes[j], int(covered.sum()), mask,
                              score=float(score[j])))
        for k in kept:
            if not label.is_crowd[k]:
                truth = box[k + 1].float()
                same = boxes[(class_id == int(label.class_id[k])) & (score > SCORE)]
                x0, y0, x1, y1 = truth.tolist()
                group = ("iou_large" if y1 - y0 > crop[0] or x1 - x0 > crop[1] else
                         "iou_border" if x0 == 0 or y0 == 0 or x1 == width or y1 == height else "iou_other")
                overlaps[group].append(float(box_iou(truth, same).max()) if len(same) else 0.0)
    scores = {name: float(np.mean(values)) for name, values in overlaps.items() if values}
    scores.update({f"{name}_objects": float(len(values)) for name, values in overlaps.items()})
    return {**scores, **_average_precision(truths, found, sizes)}


def _row(number: int, image: int, class_id: int, box: torch.Tensor, area: int, mask: Any,
         **more: float) -> dict[str, Any]:
    x0, y0, x1, y1 = box.tolist()
    return {"id": number, "image_id": image, "category_id": class_id, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": area,
            "segmentation": mask, **more}


def _average_precision(truths: list[dict[str, Any]], found: list[dict[str, Any]],
                       sizes: list[tuple[int, int]]) -> dict[str, float]:
    def coco(rows: list[dict[str, Any]]) -> COCO:
        result = COCO()
        result.dataset = {"images": [{"id": i, "height": h, "width": w} for i, (h, w) in enumerate(sizes)],
                          "annotations": rows,
                          "categories": [{"id": k} for k in sorted({r["category_id"] for r in truths})]}
        result.createIndex()
        return result

    scores = {}
    areas = [row["area"] for row in truths if not row["iscrowd"]]
    limits = np.percentile(areas, PERCENTILES) if areas else np.zeros(len(PERCENTILES))
    for kind, name in (("bbox", "box"), ("segm", "mask")):
        with redirect_stdout(io.StringIO()):  # pycocotools reports its progress
            evaluator = COCOeval(coco(truths), coco([dict(row, iscrowd=0) for row in found]), kind)
            evaluator.params.areaRng = [[0, 1e10], *([float(a), float(b)] for a, b in
                                                     zip(limits[:-1], limits[1:], strict=True))]
            evaluator.params.areaRngLbl = ["all", *(f"{b}" for b in PERCENTILES[1:])]
            evaluator.evaluate()
            evaluator.accumulate()
        precision = evaluator.eval["precision"][..., -1]  # (thresholds, recalls, classes, sizes)
        for k, label in enumerate(("", *(f"_{a}_{b}" for a, b in zip(PERCENTILES[:-1], PERCENTILES[1:], strict=True)))):
            part = precision[..., k]
            if (part > -1).any():
                scores[f"{name}_ap{label}"] = float(part[part > -1].mean())
    return scores
