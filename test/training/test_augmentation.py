"""How an image is scaled, cut, mirrored and padded, and what becomes of its labels, boxes and depth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from training.augmentation import Augmentation, Focus, as_sample

STILL = {"flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "around_things": 0.0}


def blank(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A white image of class 0 without an instance."""
    return (np.full((1, height, width, 3), 255, np.uint8), np.zeros((1, height, width), np.uint8),
            np.zeros((1, height, width), np.int32))


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_image_and_labels_stay_in_register(scale: float) -> None:
    rows, columns = np.mgrid[:128, :256]
    board = ((rows // 16 + columns // 16) % 2).astype(np.uint8)
    image = np.repeat(board[..., None] * 200, 3, 2)
    transform = Augmentation(crop=(64, 128), scale=(scale, scale), flip=0.5, brightness=0, contrast=0, saturation=0,
                             hue=0).transform()
    for seed in range(4):
        torch.manual_seed(seed)
        sample = transform(as_sample(image[None], board[None], board[None].astype(np.int32)))
        valid = sample["class_map"] != 255
        agree = ((sample["image"][:, 0] > 100) == (sample["class_map"] == 1))[valid]
        assert agree.float().mean() > 0.97
        assert torch.equal(sample["instance_map"][valid] > 0, sample["class_map"][valid] == 1)


def test_crops_around_things_hold_one() -> None:
    instance_map = np.zeros((256, 512), np.int32)
    class_map = np.zeros((256, 512), np.uint8)
    instance_map[200:216, 400:416], class_map[200:216, 400:416] = 5, 1
    image = np.zeros((256, 512, 3), np.uint8)
    share = {}
    for around in (0.0, 1.0):
        transform = Augmentation(crop=(64, 64), scale=(1, 1), around_things=around).transform()
        torch.manual_seed(0)
        sample = as_sample(image[None], class_map[None], instance_map[None])
        share[around] = np.mean([bool((transform(sample)["instance_map"] > 0).any()) for _ in range(20)])
    assert share[1.0] == 1
    assert share[0.0] < 0.5


def test_images_are_brought_to_the_longest_side_that_is_asked_for() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    class_map = np.zeros((100, 200), np.uint8)
    class_map[:, :50] = 1  # a quarter of the width: 16 of 64 columns when 200 become 64
    transform = Augmentation(crop=(32, 64), longest_side=64, scale=(1, 1), around_things=0, flip=0).transform()
    sample = transform(as_sample(image[None], class_map[None], class_map[None].astype(np.int32)))
    assert (sample["class_map"][0, 5] == 1).sum() == 16


def test_images_are_brought_to_the_shortest_side_that_is_asked_for() -> None:
    image, class_map, instance_map = blank(100, 200)
    class_map[:, :, :50] = 1  # a quarter of the width: 32 of 128 columns when 100 x 200 become 64 x 128
    transform = Augmentation(crop=(64, 128), shortest_side=64, scale=(1, 1), **STILL).transform()
    assert (transform(as_sample(image, class_map, instance_map))["class_map"][0, 5] == 1).sum() == 32


def test_what_lies_beyond_the_image_has_the_mean_colour_and_is_void() -> None:
    image, class_map, instance_map = blank(32, 64)
    transform = Augmentation(crop=(64, 128), scale=(1, 1), **STILL).transform((0.2, 0.4, 0.6))
    sample = transform(as_sample(image, class_map, instance_map))
    beyond = sample["class_map"][0] == 255
    assert beyond.sum() == 64 * 128 - 32 * 64
    assert sample["image"][0][:, beyond].T.unique(dim=0).tolist() == [[51, 102, 153]]
    assert (sample["image"][0][:, ~beyond] == 255).all()  # nothing of it runs into the image


def test_scales_are_log_uniform_over_the_whole_range_also_where_the_image_is_smaller_than_the_crop() -> None:
    # The image fills the crop at scale 1: below it is padded, above it is cut.
    image, class_map, instance_map = blank(64, 128)
    transform = Augmentation(crop=(64, 128), scale=(0.5, 2.0), **STILL).transform()
    torch.manual_seed(0)
    scales = []
    for _ in range(300):
        sample = transform(as_sample(image, class_map, instance_map, np.ones((1, 64, 128)), np.array([1.0])))
        scales.append(math.log2(float(sample["focal_length"][0])))
        rows = int((sample["class_map"][0] == 0).any(1).sum())
        assert rows == pytest.approx(min(64, 64 * 2 ** scales[-1]), abs=1.5)
    counts = np.histogram(scales, bins=4, range=(-1, 1))[0]
    assert counts.min() > 50  # 75 expected in each quarter


def test_boxes_are_of_whole_objects_and_only_sides_that_the_crop_cut_are_marked() -> None:
    image, class_map, instance_map = blank(64, 128)
    # Number 2 touches the image's left border; 5 reaches over the middle; 9 is far on the right.
    for number, (x0, y0, x1, y1) in {2: (0, 10, 8, 20), 5: (40, 10, 90, 60), 9: (120, 2, 126, 8)}.items():
        instance_map[0, y0:y1, x0:x1], class_map[0, y0:y1, x0:x1] = number, 1
    settings = Augmentation(crop=(64, 64), scale=(1, 1), **STILL)
    for seed in range(20):
        torch.manual_seed(seed)
        sample = settings.transform()(as_sample(image, class_map, instance_map))
        [objects] = sample["objects"]
        left = {tuple(box) for box in objects.box.tolist()}
        assert set(objects.number.tolist()) == set(sample["instance_map"].unique().tolist()) - {0}
        for number, class_id, box, cut in zip(*objects[1:], strict=True):
            x0, y0, x1, y1 = {2: (0, 10, 8, 20), 5: (40, 10, 90, 60), 9: (120, 2, 126, 8)}[int(number)]
            shift = x0 - box[0]
            assert box.tolist() == [x0 - shift, y0, x1 - shift, y1]
            assert 0 <= shift <= 64
            assert cut.tolist() == [bool(x0 < shift), False, bool(x1 > shift + 64), False]
            assert int(class_id) == 1
        assert left


def test_boxes_are_scaled_and_mirrored_with_the_image() -> None:
    image, class_map, instance_map = blank(64, 128)
    instance_map[0, 16:32, 8:24], class_map[0, 16:32, 8:24] = 3, 1
    still = {**STILL, "flip": 1.0}
    sample = Augmentation(crop=(128, 256), scale=(2, 2), **still).transform()(as_sample(image, class_map, instance_map))
    [objects] = sample["objects"]
    assert objects.box.tolist() == [[256 - 48, 32, 256 - 16, 64]]
    y, x = (sample["instance_map"][0] == 3).nonzero(as_tuple=True)
    assert [x.min(), y.min(), x.max() + 1, y.max() + 1] == objects.box[0].tolist()
    # Cut at its left side, in the mirror at its right one.
    torch.manual_seed(0)
    cuts = set()
    for _ in range(40):
        crop = Augmentation(crop=(64, 32), scale=(1, 1), **still).transform()(as_sample(image, class_map, instance_map))
        for box, cut in zip(crop["objects"][0].box, crop["objects"][0].cut, strict=True):
            assert cut.tolist() == [bool(box[0] < 0), bool(box[1] < 0), bool(box[2] > 32), bool(box[3] > 64)]
            cuts.add(tuple(cut.tolist()))
    assert (False, False, True, False) in cuts


def test_the_focal_length_scales_with_the_crop_and_depth_does_not() -> None:
    image, class_map, instance_map = blank(64, 128)
    depth = np.full((1, 64, 128), 7.0)
    depth[0, 0, 0] = np.nan
    sample = Augmentation(crop=(64, 128), scale=(0.5, 0.5), **STILL).transform()(
        as_sample(image, class_map, instance_map, depth, np.array([80.0])))
    assert sample["focal_length"].tolist() == [40.0]
    assert set(sample["depth"].unique().tolist()) == {0.0, 7.0}
    assert ((sample["depth"] > 0) <= (sample["class_map"] == 0)).all()


def test_a_crop_shows_its_focus_at_the_scale_that_is_asked_for() -> None:
    image, class_map, instance_map = blank(256, 512)
    class_map[0, 100:108, 300:308], instance_map[0, 100:108, 300:308] = 1, 4
    class_map[0, 200:208, 30:38], instance_map[0, 200:208, 30:38] = 1, 6
    transform = Augmentation(crop=(64, 64), scale=(1, 1), **STILL).transform()
    for seed in range(10):
        torch.manual_seed(seed)
        sample = transform(as_sample(image, class_map, instance_map, focus=Focus(1, 6, 2.0)))
        [objects] = sample["objects"]
        assert 6 in objects.number
        x0, y0, x1, y1 = objects.box[objects.number == 6][0].tolist()
        assert (x1 - x0, y1 - y0) == (16, 16)
        assert (transform(as_sample(image, class_map, instance_map, focus=Focus(1)))["class_map"] == 1).any()


def test_blur_and_clahe_change_the_contrast_of_the_image_and_leave_the_labels() -> None:
    noise = np.random.default_rng(0).integers(100, 140, (2, 64, 96, 3), np.uint8)
    class_map = np.random.default_rng(1).integers(0, 3, (2, 64, 96), np.uint8)
    instance_map = np.zeros((2, 64, 96), np.int32)

    def contrast(**settings: float) -> float:
        torch.manual_seed(1)  # for the blur's strength
        transform = Augmentation(crop=(64, 96), scale=(1.0, 1.0), **STILL, **settings).transform()  # type: ignore[arg-type]
        sample = transform(as_sample(noise, class_map, instance_map))
        assert torch.equal(sample["class_map"], torch.from_numpy(class_map))
        assert sample["image"].shape == (2, 3, 64, 96)
        assert sample["image"].dtype == torch.uint8
        assert abs(float(sample["image"].float().mean()) - 119.5) < 20
        return float(sample["image"].float().std())

    assert contrast(blur=1.0) < 0.95 * contrast() < 0.9 * contrast(clahe=1.0)
