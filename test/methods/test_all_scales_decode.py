"""The panoptic fusion of the two-stage network, on outputs made by hand and against a mask-by-mask loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.errors import InputError
from panoptic_ros.methods import all_scales
from panoptic_ros.methods.all_scales import Thresholds, decode
from panoptic_ros.methods.all_scales.decode import PIXELS_AT_ONCE, paste_masks

IS_THING = torch.tensor([False, True, False, True])


def outputs(classes: Tensor, detections: list[tuple[list[float], int, float]], count: int = 8) -> dict[str, Tensor]:
    """Semantic logits of +-6 for classes (h, w), and full masks in boxes with a thing and a score, padded."""
    logits = 12 * F.one_hot(classes, 4).permute(2, 0, 1)[None].float() - 6
    box, thing, score = torch.zeros(1, count, 4), torch.zeros(1, count), torch.zeros(1, count)
    for row, (corners, of_class, value) in enumerate(detections):
        box[0, row], thing[0, row], score[0, row] = torch.tensor(corners), of_class, value
    return {"semantic_logits": logits, "box": box, "thing": thing, "score": score,
            "mask_logits": torch.full((1, count, 28, 28), 5.0)}


ROAD = torch.zeros(16, 32, dtype=torch.long)  # an image of 64 x 128


def test_instances_come_first_best_score_first_and_stuff_takes_the_rest() -> None:
    classes = ROAD.clone()
    classes[:4] = 2
    found = decode(outputs(classes, [([8, 20, 40, 60], 0, 0.7), ([80, 20, 100, 60], 1, 0.9)]), IS_THING, Thresholds(),
                   (64, 128))
    segments, segment_map = found.segments[0], found.segment_map[0]
    assert segments.class_id.tolist() == [3, 1, 0, 2]
    assert segments.is_thing.tolist() == [True, True, False, False]
    assert segments.score[:2].tolist() == pytest.approx([0.9, 0.7])
    assert segments.box[:2].tolist() == [[80, 20, 100, 60], [8, 20, 40, 60]]
    assert segments.area[:2].tolist() == [20 * 40, 32 * 40]
    assert segment_map[0, 0] == 4
    assert segment_map[-1, 0] == 3


def test_the_better_instance_has_the_overlap_and_one_that_is_mostly_hidden_is_dropped() -> None:
    detections = [([8, 8, 48, 48], 0, 0.9), ([28, 8, 68, 48], 0, 0.8), ([10, 10, 44, 50], 1, 0.7)]
    found = decode(outputs(ROAD, detections), IS_THING, Thresholds(), (64, 128))
    assert found.segments[0].class_id.tolist() == [1, 1, 0]
    assert found.segments[0].area[:2].tolist() == [40 * 40, 20 * 40]
    kept = decode(outputs(ROAD, detections), IS_THING, Thresholds(overlap=0.95), (64, 128))
    assert kept.segments[0].class_id.tolist() == [1, 1, 3, 0]


def test_a_detection_below_the_threshold_is_none_and_thing_pixels_nobody_claims_are_void() -> None:
    classes = ROAD.clone()
    classes[4:8, 4:8] = 1
    found = decode(outputs(classes, [([16, 16, 32, 32], 0, 0.4)]), IS_THING, Thresholds(), (64, 128),
                   with_semantics=True)
    assert found.segments[0].class_id.tolist() == [0]
    assert found.segment_map[0, 24, 24] == 0
    assert found.semantic_map is not None
    assert found.semantic_map[0, 24, 24] == 1
    assert decode(outputs(classes, [([16, 16, 32, 32], 0, 0.4)]), IS_THING, Thresholds(score=0.3),
                  (64, 128)).segment_map[0, 24, 24] == 1


def test_small_stuff_is_void() -> None:
    classes = ROAD.clone()
    classes[:2, :2] = 2
    found = decode(outputs(classes, []), IS_THING, Thresholds(stuff_area=100), (64, 128))
    assert found.segments[0].class_id.tolist() == [0]
    assert found.segment_map[0, 0, 0] == 0


def test_pasted_masks_are_bilinear_samples_at_pixel_centres(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    height, width = 40, 60
    start = torch.rand(12, 2, generator=g) * torch.tensor([50, 30])
    box = torch.cat([start, start + 1 + torch.rand(12, 2, generator=g) * torch.tensor([30, 20])], 1)
    box[0], box[1] = torch.tensor([0.0, 0, 60, 40]), torch.tensor([5.2, 5.2, 5.3, 5.4])  # all, and between the centres
    box[2] = torch.tensor([55.0, 35, 80, 60])  # beyond the border
    logits = 4 * torch.randn(12, 28, 28, generator=g)
    monkeypatch.setitem(PIXELS_AT_ONCE, "cpu", 1000)  # in several parts
    pixel, instance, value = paste_masks(logits, box, (height, width), 0.5)
    pasted = torch.zeros(12, height * width)
    pasted[instance, pixel] = value
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    for j in range(12):
        x0, y0, x1, y1 = box[j]
        grid = torch.stack([2 * (x - x0) / (x1 - x0) - 1, 2 * (y - y0) / (y1 - y0) - 1], 2)
        whole = F.grid_sample(logits[j, None, None].sigmoid(), grid[None], padding_mode="border",
                              align_corners=False)[0, 0]
        whole = torch.where((x >= x0) & (x < x1) & (y >= y0) & (y < y1), whole, 0)
        torch.testing.assert_close(pasted[j].view(height, width), torch.where(whole > 0.5, whole, 0), atol=1e-4,
                                   rtol=1e-4)


def test_no_detection_at_all_leaves_stuff() -> None:
    empty = {name: x[:, :0] if name != "semantic_logits" else x for name, x in outputs(ROAD, []).items()}
    assert decode(empty, IS_THING, Thresholds(), (64, 128)).segments[0].class_id.tolist() == [0]


def test_two_hundred_instances_are_all_found() -> None:
    detections = [([4.0 + 6 * (i % 20), 2.0 + 6 * (i // 20), 9.0 + 6 * (i % 20), 7.0 + 6 * (i // 20)], i % 2, 0.9)
                  for i in range(200)]
    found = decode(outputs(ROAD, detections, 200), IS_THING, Thresholds(), (64, 128))
    assert int(found.segments[0].is_thing.sum()) == 200


def test_flipped_detections_are_merged_with_those_of_the_image() -> None:
    def network(image: Tensor) -> dict[str, Tensor]:
        """Finds a bright object, and in the mirror image alone another one."""
        mirrored = bool(image[0, 0, 0, 0] == 0)
        box = [([98.0, 8, 118, 28], 0, 0.8), ([30.0, 40, 50, 60], 1, 0.6)]
        box = box if mirrored else [([10.0, 8, 30, 28], 0, 0.7)]
        found = outputs(ROAD, box)
        if mirrored:
            found["mask_logits"][0, 0, :, :14] = -5  # its right half in the image
        return found

    image = torch.zeros(1, 3, 64, 128)
    image[0, 0, 0, 0] = 1
    merged = all_scales.test_time_augmentation(network, image, (1.0,), True, 32)
    count = int((merged["score"] > 0).sum())
    assert count == 2
    assert merged["box"][0, :2].tolist() == [[10, 8, 30, 28], [78, 40, 98, 60]]
    assert merged["score"][0, :2].tolist() == pytest.approx([0.8, 0.6])
    assert (merged["mask_logits"][0, 0, :, 14:] == -5).all()
    assert merged["score"].shape == (1, 8)
    with pytest.raises(InputError, match="scales"):
        all_scales.test_time_augmentation(network, image, (0.5, 1.0), True, 32)
