"""The decode of dense detections against sections 3.2 and 4.2, spelled out pixel by pixel."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from panoptic_ros.errors import InputError
from panoptic_ros.methods.dense_detections import Thresholds, decode
from panoptic_ros.methods.dense_detections.boxes import location_probability, locations
from panoptic_ros.segments import Segments

IS_THING = torch.tensor([False, True, False, True])
STRIDES = (8, 16, 32, 64, 128)
RANGES = (64, 128, 256, 512, math.inf)


def maps_and_segments(*arguments: Any) -> tuple[Tensor, list[Segments[Tensor]]]:
    found = decode(*arguments)
    return found.segment_map, found.segments


def level_cells(height: int, width: int) -> list[tuple[int, int, int]]:
    """Stride, rows and columns of each level of an image."""
    return [(s, math.ceil(height / s), math.ceil(width / s)) for s in STRIDES]


def perfect_outputs(class_map: Tensor, instance_map: Tensor, is_thing: Tensor) -> dict[str, Tensor]:
    """What a network without fault puts out for maps (H, W): 9 or -9 in place of the logits of 1 and 0."""
    height, width = class_map.shape
    things = is_thing.nonzero()[:, 0].tolist()
    box = {}
    for k in instance_map[instance_map > 0].unique().tolist():
        y, x = (instance_map == k).nonzero(as_tuple=True)
        box[k] = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)

    def sides(x: int, y: int) -> tuple[int, list[int]]:
        k = int(instance_map[min(y, height - 1), min(x, width - 1)]) if x < width and y < height else 0
        x0, y0, x1, y1 = box.get(k, (x - 1, y - 1, x + 1, y + 1))
        return k, [x - x0, y - y0, x1 - x, y1 - y]

    class_rows, offset_rows, centre_rows = [], [], []
    for i, (stride, rows, columns) in enumerate(level_cells(height, width)):
        for cell in range(rows * columns):
            x, y = cell % columns * stride + stride // 2, cell // columns * stride + stride // 2
            k, (left, top, right, bottom) = sides(x, y)
            low = RANGES[i - 1] if i else -1
            mine = k > 0 and low <= max(left, top, right, bottom) <= RANGES[i]
            centre = math.sqrt(min(left, right) / max(left, right) * min(top, bottom) / max(top, bottom)) if k else 0
            class_rows.append([9.0 if mine and things[t] == class_map[y, x] else -9.0 for t in range(len(things))])
            offset_rows.append([float(v) for v in (left, top, right, bottom)])
            centre_rows.append(math.log((centre + 1e-4) / (1 - centre + 1e-4)))
    quarter = torch.full((6, height // 4, width // 4), -9.0)
    for y in range(height // 4):
        for x in range(width // 4):
            k, offsets = sides(4 * x + 2, 4 * y + 2)
            quarter[1 + next(i for i in range(5) if max(offsets) <= RANGES[i]) if k else 0, y, x] = 9
    small = class_map[4::8, 4::8]
    semantic = torch.where(torch.arange(len(is_thing))[:, None, None] == small, 9.0, -9.0)
    return {"semantic_logits": semantic[None], "class_logits": torch.tensor(class_rows).T[None],
            "offsets": torch.tensor(offset_rows).T[None], "centerness": torch.tensor(centre_rows)[None],
            "levelness": quarter[None]}


def street() -> tuple[Tensor, Tensor]:
    """A road below a wall; two objects of class 1 that touch, a small one of class 3 and one as wide as the image."""
    class_map, instance_map = torch.zeros(128, 256).long(), torch.zeros(128, 256).long()
    class_map[:48] = 2
    for k, (kind, x0, y0, x1, y1) in enumerate([(1, 16, 32, 64, 80), (1, 64, 32, 120, 80), (3, 200, 40, 224, 64),
                                                (3, 0, 96, 256, 128)], 1):
        class_map[y0:y1, x0:x1], instance_map[y0:y1, x0:x1] = kind, k
    return class_map, instance_map


@pytest.mark.parametrize("enlarged", [1, 2])
def test_the_outputs_of_a_network_without_fault_decode_to_the_truth(enlarged: int) -> None:
    """enlarged: how much larger than the image the network sees it, 2 where its first level has stride 4."""
    class_map, instance_map = street()
    outputs = perfect_outputs(class_map, instance_map, IS_THING)
    class_map, instance_map = (x[::enlarged, ::enlarged] for x in (class_map, instance_map))
    maps, [segments] = maps_and_segments(outputs, IS_THING, Thresholds(score=0.2), (128 // enlarged, 256 // enlarged))
    assert sorted(segments.class_id.tolist()) == [0, 1, 1, 2, 3, 3]
    assert segments.embedding is None
    for k in range(1, 5):
        own = instance_map == k
        row = int(maps[0][own].mode().values)
        same = (maps[0] == row) & own
        # Bilinear boxes and classes blur the outermost four pixels; the smallest object is 24 x 24.
        assert same.sum() / ((maps[0] == row) | own).sum() > 0.75
        assert segments.class_id[row - 1] == class_map[own][0]
        assert segments.is_thing[row - 1]
    for kind in (0, 2):
        row = segments.class_id.tolist().index(kind) + 1
        own = class_map == kind
        assert ((maps[0] == row) & own).sum() / ((maps[0] == row) | own).sum() > 0.9


def random_outputs(seed: int, levelness: bool) -> dict[str, Tensor]:
    """For an image of 64 x 96: boxes of all sizes that share much, classes that are undecided."""
    random = torch.Generator().manual_seed(seed)
    count = sum(rows * columns for _, rows, columns in level_cells(64, 96))
    outputs = {"semantic_logits": 1.5 * torch.randn(1, 4, 8, 12, generator=random),
               "class_logits": torch.randn(1, 2, count, generator=random) - 1,
               "offsets": torch.rand(1, 4, count, generator=random) * 30 + 10,
               "centerness": torch.randn(1, count, generator=random) + 1,
               "levelness": torch.randn(1, 6, 16, 24, generator=random)}
    return outputs if levelness else {name: value for name, value in outputs.items() if name != "levelness"}


def test_the_semantic_map_is_the_argmax_of_the_class_probabilities_under_objects_too() -> None:
    outputs = random_outputs(0, levelness=True)
    found = decode(outputs, IS_THING, Thresholds(score=0.05, mask=0.05), (16, 24), with_semantics=True)
    logits = F.interpolate(outputs["semantic_logits"], (16, 24), mode="bilinear", align_corners=False)
    assert found.semantic_map is not None
    assert torch.equal(found.semantic_map, logits.argmax(1).to(torch.uint8))
    on_thing = torch.cat([torch.tensor([False]), found.segments[0].is_thing])[found.segment_map[0].long()]
    assert on_thing.any()
    assert not IS_THING[found.semantic_map[0].long()][on_thing].all()


def iou_by_hand(a: list[float], b: list[float]) -> float:
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union


def giou_by_hand(a: list[float], b: list[float]) -> float:
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return (shared + 1) / (union + 1) - (hull - union) / hull


def queries_by_hand(outputs: dict[str, Tensor], t: Thresholds) -> list[tuple[float, int, list[float]]]:
    """Score, class among the things and box, best first."""
    candidates = []
    locations = [(x * s + s // 2, y * s + s // 2) for s, rows, columns in level_cells(64, 96)
              for y in range(rows) for x in range(columns)]
    for i, (x, y) in enumerate(locations):
        left, top, right, bottom = outputs["offsets"][0, :, i].tolist()
        box = [max(x - left, 0), max(y - top, 0), min(x + right, 96), min(y + bottom, 64)]
        for c in range(2):
            class_score = outputs["class_logits"][0, c, i].sigmoid().item()
            score = class_score * outputs["centerness"][0, i].sigmoid().item()
            if class_score > 0.05 and score > t.score and box[2] > box[0] and box[3] > box[1]:
                candidates.append((score, c, box))
    kept: list[tuple[float, int, list[float]]] = []
    for score, c, box in sorted(candidates, key=lambda row: -row[0]):
        if not any(c == other and iou_by_hand(box, b) > t.nms_iou for _, other, b in kept):
            kept.append((score, c, box))
    distinct: list[tuple[float, int, list[float]]] = []
    for row in kept:
        if not any(iou_by_hand(row[2], b) > 0.97 for _, _, b in distinct):
            distinct.append(row)
    return distinct[:t.max_instances]


def dense_by_hand(outputs: dict[str, Tensor], x: int, y: int) -> list[list[float]]:
    """The boxes of the quarter's cell (x, y): of the level that levelness wants, or of all levels."""
    boxes, first = [], 0
    for i, (stride, rows, columns) in enumerate(level_cells(64, 96)):
        def corner(row: int, column: int, stride: int = stride, columns: int = columns, first: int = first) -> Tensor:
            left, top, right, bottom = outputs["offsets"][0, :, first + row * columns + column].tolist()
            px, py = column * stride + stride // 2, row * stride + stride // 2
            return torch.tensor([px - left, py - top, px + right, py + bottom])

        v = min(max((y + 0.5) / 2 ** (i + 1) - 0.5, 0), rows - 1)
        u = min(max((x + 0.5) / 2 ** (i + 1) - 0.5, 0), columns - 1)
        v0, u0 = int(v), int(u)
        v1, u1 = min(v0 + 1, rows - 1), min(u0 + 1, columns - 1)
        dv, du = v - v0, u - u0
        boxes.append(((1 - dv) * ((1 - du) * corner(v0, u0) + du * corner(v0, u1))
                      + dv * ((1 - du) * corner(v1, u0) + du * corner(v1, u1))).tolist())
        first += rows * columns
    if "levelness" not in outputs:
        return boxes
    return [boxes[int(outputs["levelness"][0, 1:, y, x].argmax())]]


@pytest.mark.parametrize("levelness", [True, False])
@pytest.mark.parametrize(("mask_score", "sigma"), [("iou", 0.3), ("giou", 0.2)])
def test_every_pixel_follows_the_equations(levelness: bool, mask_score: str, sigma: float) -> None:
    t = Thresholds(score=0.35, nms_iou=0.5, mask=sigma, overlap=0.4, max_instances=12, mask_score=mask_score)
    outputs = random_outputs(4, levelness)
    queries = queries_by_hand(outputs, t)
    assert len(queries) == 12
    semantic = torch.nn.functional.interpolate(outputs["semantic_logits"], (16, 24), mode="bilinear",
                                               align_corners=False)[0].softmax(0)
    measure = giou_by_hand if mask_score == "giou" else iou_by_hand
    thing = (1, 3)
    mask = np.zeros((16, 24, len(queries)), bool)
    for y in range(16):
        for x in range(24):
            for j, (_, c, box) in enumerate(queries):
                location = max(measure(dense, box) for dense in dense_by_hand(outputs, x, y))  # Eq. 6, A23
                mask[y, x, j] = location * semantic[thing[c], y, x].item() > t.mask  # Eq. 5 and 7
    assigned = np.zeros((16, 24), int)
    for j in range(len(queries)):
        free = mask[..., j] & (assigned == 0)
        if mask[..., j].sum() - free.sum() <= t.overlap * mask[..., j].sum():
            assigned[free] = j + 1
    assert len(np.unique(assigned)) > 4

    maps, [segments] = maps_and_segments(outputs, IS_THING, t, (16, 24))
    rows = [j for j in range(1, len(queries) + 1) if (assigned == j).any()]
    things = int(segments.is_thing.sum())
    assert segments.score[:things].tolist() == pytest.approx([queries[j - 1][0] for j in rows], abs=1e-5)
    assert segments.class_id[:things].tolist() == [thing[queries[j - 1][1]] for j in rows]
    for y in range(16):
        for x in range(24):
            row, likeliest = int(maps[0, y, x]), int(semantic[:, y, x].argmax())
            if assigned[y, x]:
                assert row == rows.index(assigned[y, x]) + 1
            elif IS_THING[likeliest]:
                assert row == 0
            else:
                assert row > things
                assert segments.class_id[row - 1] == likeliest


def test_only_the_best_boxes_become_instances() -> None:
    outputs = perfect_outputs(*street(), IS_THING)
    _, [four] = maps_and_segments(outputs, IS_THING, Thresholds(score=0.2), (128, 256))
    _, [two] = maps_and_segments(outputs, IS_THING, Thresholds(score=0.2, max_instances=2), (128, 256))
    assert four.is_thing.sum() == 4
    assert two.score[two.is_thing].tolist() == four.score[:2].tolist()


def test_an_image_without_things_has_stuff_alone() -> None:
    outputs = {**random_outputs(1, True), "class_logits": torch.full((1, 2, 129), -9.0)}
    maps, [segments] = maps_and_segments(outputs, IS_THING, Thresholds(), (64, 96))
    assert set(segments.class_id.tolist()) <= {0, 2}
    assert (maps > 0).any()
    assert (maps == 0).any()  # where things are likeliest


def test_boxes_without_a_mask_are_no_segments() -> None:
    # The boxes are there, but the class of none is likely anywhere.
    outputs = perfect_outputs(*street(), IS_THING)
    outputs["semantic_logits"] = torch.tensor([9.0, -9, -9, -9])[None, :, None, None].expand(1, 4, 16, 32)
    maps, [segments] = maps_and_segments(outputs, IS_THING, Thresholds(score=0.2), (128, 256))
    assert segments.class_id.tolist() == [0]
    assert segments.area.tolist() == [128 * 256]
    assert (maps == 1).all()


def test_a_table_without_things_has_no_boxes_and_one_without_stuff_no_stuff() -> None:
    outputs = random_outputs(1, True)
    maps, [segments] = maps_and_segments({"semantic_logits": outputs["semantic_logits"]}, torch.zeros(4).bool(),
                                         Thresholds(), (64, 96))
    assert segments.class_id.tolist() == [0, 1, 2, 3]
    assert (maps > 0).all()
    only_things = {**outputs, "semantic_logits": outputs["semantic_logits"][:, :2]}
    maps, [segments] = maps_and_segments(only_things, torch.ones(2).bool(), Thresholds(score=0.2), (64, 96))
    assert segments.is_thing.all()
    assert len(segments) > 0
    maps, [segments] = maps_and_segments(only_things, torch.ones(2).bool(), Thresholds(score=1.0), (64, 96))
    assert len(segments) == 0
    assert (maps == 0).all()


def test_boxes_without_an_area_are_no_boxes() -> None:
    # All offsets are 0, or lie beyond the image's left side.
    outputs = random_outputs(1, True)
    for offsets in (torch.zeros(1, 4, 129), torch.tensor([500.0, 10, -400, 10])[None, :, None].expand(1, 4, 129)):
        _, [segments] = maps_and_segments({**outputs, "offsets": offsets}, IS_THING, Thresholds(score=0.01), (64, 96))
        assert not segments.is_thing.any()


def test_more_segments_than_an_image_can_hold_are_refused() -> None:
    with pytest.raises(InputError, match="instances = 70000 is out of range"):
        Thresholds(max_instances=70_000)
    with pytest.raises(InputError, match="mask_score is 'best'"):
        Thresholds(mask_score="best")


def test_small_segments_become_void() -> None:
    outputs = perfect_outputs(*street(), IS_THING)
    t = Thresholds(score=0.2)
    for size in ((128, 256), (256, 512)):
        scale = size[0] // 128
        _, [everything] = maps_and_segments(outputs, IS_THING, t, size)
        assert (everything.area <= 700 * scale**2).sum() == 1
        _, [large] = maps_and_segments(outputs, IS_THING, dataclasses.replace(t, thing_area=700 * scale**2), size)
        assert len(large) == len(everything) - 1
        _, [no_stuff] = maps_and_segments(outputs, IS_THING, dataclasses.replace(t, stuff_area=10**6), size)
        assert no_stuff.is_thing.all()


def test_images_of_a_batch_do_not_touch_each_other() -> None:
    one, two = random_outputs(1, True), random_outputs(2, True)
    both = {k: torch.cat([one[k], two[k]]) for k in one}
    maps, segments = maps_and_segments(both, IS_THING, Thresholds(score=0.2), (64, 96))
    for outputs, segment_map, rows in zip((one, two), maps, segments, strict=True):
        alone, [alone_rows] = maps_and_segments(outputs, IS_THING, Thresholds(score=0.2), (64, 96))
        assert torch.equal(alone[0], segment_map)
        assert rows.score.tolist() == alone_rows.score.tolist()


def test_locations_are_at_the_middle_of_their_cells() -> None:
    xy, level = locations(5, 9, torch.device("cpu"))  # an image of 40 x 72: levels 5 x 9, 3 x 5, 2 x 3, 1 x 2, 1 x 1
    assert level.bincount().tolist() == [45, 15, 6, 2, 1]
    assert xy[0].tolist() == [4, 4]
    assert xy[9].tolist() == [4, 12]
    assert xy[45 + 5 + 1].tolist() == [24, 24]
    assert xy[-1].tolist() == [64, 64]


def test_location_probability_takes_the_best_level() -> None:
    query = torch.tensor([[0.0, 0, 4, 4]])
    dense = torch.tensor([[[0.0, 0, 4, 2]], [[0.0, 0, 4, 3]], [[8.0, 8, 9, 9]]])
    assert location_probability(dense[:, :, None], query).tolist() == [[0.75]]
    assert location_probability(dense[:1, :, None], query).tolist() == [[0.5]]
