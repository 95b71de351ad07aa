"""The two-stage network's parts: anchors, suppression with a fixed size, RoIAlign over the pyramid, detections."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms, roi_align

from panoptic_ros.errors import InputError
from panoptic_ros.geometry.boxes import decode_boxes, encode_boxes
from panoptic_ros.methods.all_scales import Hyperparameters, Network
from panoptic_ros.methods.all_scales.boxes import anchors, clip_boxes, suppressed
from panoptic_ros.methods.all_scales.network import BOX_WEIGHTS
from panoptic_ros.methods.all_scales.region_pooling import PyramidCanvas, pyramid_level

CPU = torch.device("cpu")


def random_boxes(count: int, width: int, height: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=g) * torch.tensor([width, height])
    return torch.cat([corners.amin(1), corners.amax(1)], 1)


def small(things: int = 2, **changes: Any) -> Network:
    torch.manual_seed(0)
    settings = {"backbone": "test_efficientnet", "concatenate": False, "channels": 8, "box_channels": 16,
                "semantic_channels": 8, "atrous_rates": (1,), "mask_convolutions": 1, "candidates": 100,
                "proposals": 20, "detections": 10, **changes}
    return Network(Hyperparameters(**settings), [False] + [True] * things).eval()


def test_anchors_have_the_area_of_their_level_and_their_ratio_at_the_centres_of_cells() -> None:
    found = anchors([(2, 3), (1, 2)], [4, 8], 8.0, (1.0, 0.5, 2.0), CPU)
    assert found.shape == ((2 * 3 + 1 * 2) * 3, 4)
    size, center = found[:, 2:] - found[:, :2], (found[:, 2:] + found[:, :2]) / 2
    torch.testing.assert_close(size.prod(1), torch.tensor([32.0**2] * 18 + [64.0**2] * 6))
    torch.testing.assert_close(size[:3, 1] / size[:3, 0], torch.tensor([1.0, 0.5, 2.0]))
    assert center[::3].tolist() == [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6], [4, 4], [12, 4]]


def test_a_box_belongs_to_the_level_of_its_side() -> None:
    sides = torch.tensor([10.0, 55, 57, 111, 113, 223.9, 224, 447, 449, 2000])
    box = torch.stack([torch.zeros(10), torch.zeros(10), sides, sides], 1)
    assert pyramid_level(box, 4).tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3]
    # floor(2 + log2(sqrt(w h) / 224)), of a box that is not square
    assert pyramid_level(torch.tensor([[0.0, 0, 448, 112]]), 4).tolist() == [2]


def test_pooling_from_the_canvas_is_roi_align_on_the_box_s_own_level() -> None:
    g = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 5, 256 // s, 384 // s, generator=g) for s in (4, 8, 16, 32)]
    box = clip_boxes(random_boxes(60, 420, 280), (256, 384))
    box[:4] = torch.tensor([[0.0, 0, 384, 256], [0, 0, 20, 256], [370, 250, 384, 256], [100, 100, 100, 100]])
    image = torch.randint(0, 2, (60,), generator=g)
    pooled = PyramidCanvas(maps, (4, 8, 16, 32)).pool(box, image, 7)
    level = pyramid_level(box, 4)
    assert len(set(level.tolist())) >= 3
    for row in range(60):
        k = int(level[row])
        rows = torch.cat([image[row, None].float(), box[row]])[None]
        expected = roi_align(maps[k], rows, (7, 7), 1 / 2**(k + 2), 2, aligned=True)[0]
        torch.testing.assert_close(pooled[row], expected, atol=1e-4, rtol=1e-4)


def test_suppression_pads_to_its_size_and_says_which_rows_are_real() -> None:
    box = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [50, 50, 60, 61]])
    rows, real = suppressed(box, torch.tensor([0.5, 0.9, 0.3, 0.4]), 0.7, 4)
    assert (rows.tolist(), real.tolist()) == ([1, 3, 0, 0], [True, True, False, False])
    rows, real = suppressed(box, torch.tensor([0.5, 0.9, 0.3, 0.4]), 0.7, 1)
    assert (rows.tolist(), real.tolist()) == ([1], [True])


def test_deltas_of_a_box_decode_to_that_box() -> None:
    # By hand: twice as wide, half as high, its centre half a width to the right and a quarter of the height up.
    anchor, box = torch.tensor([[10.0, 20, 30, 60]]), torch.tensor([[10.0, 20, 50, 40]])
    expected = torch.tensor([[0.5, -0.25, math.log(2), math.log(0.5)]])
    torch.testing.assert_close(encode_boxes(box, anchor), expected)
    torch.testing.assert_close(encode_boxes(box, anchor, BOX_WEIGHTS), expected * torch.tensor(BOX_WEIGHTS))
    boxes = random_boxes(50, 100, 80)
    other = boxes + torch.tensor([-3.0, -5, 4, 8])
    torch.testing.assert_close(decode_boxes(encode_boxes(boxes, other, BOX_WEIGHTS), other, BOX_WEIGHTS), boxes,
                               atol=1e-3, rtol=1e-4)
    enormous = decode_boxes(torch.tensor([[0.0, 0, 100, 100]]), torch.tensor([[0.0, 0, 16, 16]]))
    torch.testing.assert_close(enormous[0, 2:] - enormous[0, :2], torch.tensor([1000.0, 1000]))


def test_proposals_are_the_best_anchors_after_suppression_padded_with_nothing() -> None:
    network = small()
    anchor = random_boxes(300, 128, 64)
    score = torch.randn(2, 300, generator=torch.Generator().manual_seed(1))
    box, real = network.proposals(score, torch.zeros(2, 300, 4), anchor, (64, 128), 100, 40)
    for b in range(2):
        best = score[b].topk(100).indices
        kept = best[batched_nms(anchor[best], score[b][best], torch.zeros(100), 0.7)][:40]
        count = int(real[b].sum())
        assert count == len(kept)
        torch.testing.assert_close(box[b, :count], anchor[kept])
        assert (box[b, count:] == 0).all()


def test_detections_are_those_of_suppression_within_each_class() -> None:
    network, g = small(things=3), torch.Generator().manual_seed(2)
    proposal, real = random_boxes(20, 128, 64)[None], torch.arange(20)[None] < 17
    logits, deltas = 3 * torch.randn(20, 4, generator=g), 0.3 * torch.randn(20, 3, 4, generator=g)
    box, thing, score = network.detections(proposal, real, logits, deltas, (64, 128))
    probability = logits.softmax(1)[:17, 1:]
    boxes = clip_boxes(decode_boxes(deltas[:17], proposal[0, :17, None], BOX_WEIGHTS), (64, 128)).flatten(0, 1)
    classes = torch.arange(3).repeat(17)
    kept = batched_nms(boxes, probability.flatten(), classes, 0.5)
    kept = kept[probability.flatten()[kept] > 0.05][:10]
    count = int((score > 0).sum())
    assert count == len(kept) > 3
    torch.testing.assert_close(box[0, :count], boxes[kept])
    torch.testing.assert_close(score[0, :count], probability.flatten()[kept])
    assert thing[0, :count].tolist() == classes[kept].tolist()


def test_boxes_without_area_and_padded_proposals_are_no_detections() -> None:
    network = small()
    logits = torch.tensor([[-5.0, 5, 0]]).repeat(20, 1)
    proposal = torch.tensor([[200.0, 10, 220, 30]]).repeat(20, 1)[None]  # beyond the image: clipped to nothing
    nothing = torch.zeros(20, 2, 4)
    for real in (torch.ones(1, 20, dtype=torch.bool), torch.zeros(1, 20, dtype=torch.bool)):
        box, thing, score = network.detections(proposal, real, logits, nothing, (64, 128))
        assert (score == 0).all()
        assert (box == 0).all()
        assert (thing == 0).all()


def test_the_hrnet_of_the_paper_has_its_maps_concatenated() -> None:
    torch.manual_seed(0)
    network = Network(Hyperparameters("hrnet_w18_small", channels=8, box_channels=8, semantic_channels=8,
                                      atrous_rates=(1,), mask_convolutions=1, proposals=5, detections=3),
                      [False, True]).eval()
    with torch.no_grad():
        outputs = network(torch.zeros(1, 3, 64, 96))
    assert outputs["semantic_logits"].shape == (1, 2, 16, 24)
    assert outputs["mask_logits"].shape == (1, 3, 28, 28)
    assert network.semantic_decoder.pyramid.branches[0][0].in_channels == sum(network.backbone.channels)


@pytest.mark.parametrize("changes", [{"levels": 3}, {"proposals": 0}, {"anchor_ratios": ()}, {"anchor_ratios": (0.0,)},
                                     {"anchor_scale": -1.0}])
def test_an_architecture_that_cannot_be_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        Hyperparameters(**changes)
