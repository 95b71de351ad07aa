"""Frames of a city drive: the same whenever they are rendered, and true to what they show."""

from __future__ import annotations

import numpy as np
import pytest

from panoptic_ros.classes import load_class_table
from panoptic_ros.synthetic_city import CityCamera, CityDrive

SMALL = CityCamera.of_size(128, 256)


def _same(a, b) -> bool:
    return (np.array_equal(a.image, b.image) and np.array_equal(a.class_map, b.class_map)
            and np.array_equal(a.instance_map, b.instance_map) and np.array_equal(a.depth, b.depth)
            and np.array_equal(a.camera_pose, b.camera_pose) and a.stamp_ns == b.stamp_ns)


@pytest.mark.parametrize("seed", [1, 4, 6])
def test_a_frame_is_the_same_whatever_was_rendered_before(seed):
    in_order = CityDrive(seed, SMALL)
    frames = [in_order.render(k) for k in range(12)]
    jumping = CityDrive(seed, SMALL)
    for k in (11, 3, 7, 3):
        assert _same(jumping.render(k), frames[k])


def test_another_seed_is_another_drive():
    maps = [CityDrive(seed, SMALL).render(0).class_map for seed in range(6)]
    for i, a in enumerate(maps):
        for b in maps[i + 1:]:
            assert (a != b).mean() > 0.05


def test_the_frame_rate_samples_one_and_the_same_drive():
    slow, fast = CityDrive(3, SMALL, frame_rate=5.0), CityDrive(3, SMALL, frame_rate=20.0)
    assert slow.render(3).stamp_ns == fast.render(12).stamp_ns == 600_000_000
    assert np.array_equal(slow.render(3).instance_map, fast.render(12).instance_map)
    assert np.allclose(slow.camera_at(3), fast.camera_at(12))


@pytest.mark.parametrize("seed", [1, 2, 3, 6])
def test_truth_agrees_with_itself(seed):
    is_thing = load_class_table("cityscapes").thing_mask
    frame = CityDrive(seed, SMALL).render(20)
    assert frame.image.shape == (128, 256, 3)
    assert frame.image.dtype == np.uint8
    assert set(np.unique(frame.class_map)) <= {*range(19), 255}
    known = frame.class_map != 255
    assert np.array_equal(is_thing[frame.class_map[known]], frame.instance_map[known] > 0)
    assert not frame.instance_map[~known].any()
    sky = frame.class_map == 10
    assert np.isinf(frame.depth[sky]).all()
    assert (frame.depth[~sky] > 0).all()
    assert np.isfinite(frame.depth[~sky]).all()
    for thing in np.unique(frame.instance_map)[1:]:
        assert len(np.unique(frame.class_map[frame.instance_map == thing])) == 1


def test_an_object_keeps_its_id_and_class_over_the_drive():
    drive = CityDrive(1, SMALL)
    class_of: dict[int, int] = {}
    seen_in: dict[int, int] = {}
    for k in range(0, 40, 2):
        frame = drive.render(k)
        for thing in np.unique(frame.instance_map)[1:].tolist():
            class_id = int(frame.class_map[frame.instance_map == thing][0])
            assert class_of.setdefault(thing, class_id) == class_id
            seen_in[thing] = seen_in.get(thing, 0) + 1
    assert len(seen_in) > 10
    assert np.median(list(seen_in.values())) >= 4


def test_what_leaves_the_view_and_comes_back_has_the_id_it_had():
    drive = CityDrive(1, CityCamera.of_size(192, 384))
    sights: dict[int, list[int]] = {}
    for k in range(80):
        for thing in np.unique(drive.render(k).instance_map)[1:].tolist():
            sights.setdefault(thing, []).append(k)
    away = [b - a for ks in sights.values() for a, b in zip(ks[:-1], ks[1:], strict=True)]
    assert max(away) >= 3


def test_depth_of_the_road_is_what_the_camera_height_makes_it():
    drive = CityDrive(0, SMALL)  # a motorway: the road ahead is bare
    frame = drive.render(0)
    height = frame.camera_pose[2, 3]
    row, column = 110, 128
    assert frame.class_map[row, column] in (0, 255)
    ray = frame.camera_pose[:3, :3] @ [(column - SMALL.cx) / SMALL.fx, (row - SMALL.cy) / SMALL.fy, 1.0]
    assert frame.depth[row, column] == pytest.approx(-height / ray[2], rel=1e-3)


def test_depth_and_pose_carry_a_point_from_one_frame_to_the_next():
    drive = CityDrive(0, SMALL)
    a, b = drive.render(0), drive.render(3)
    rows, columns = np.nonzero((a.class_map <= 8) & (a.depth < 40))
    z = a.depth[rows, columns]
    seen = np.stack([(columns - SMALL.cx) / SMALL.fx * z, (rows - SMALL.cy) / SMALL.fy * z, z], 1)
    world = seen @ a.camera_pose[:3, :3].T + a.camera_pose[:3, 3]
    pixels, depth = SMALL.project(world, b.camera_pose)
    inside = ((depth > 1) & (pixels > 1).all(1) & (pixels[:, 0] < SMALL.width - 2) & (pixels[:, 1] < SMALL.height - 2))
    x, y = np.rint(pixels[inside]).astype(int).T
    agrees = np.abs(b.depth[y, x] - depth[inside]) < 0.05 * depth[inside] + 0.1
    assert inside.sum() > 1000
    assert agrees.mean() > 0.85


@pytest.mark.parametrize("seed", [1, 3, 9])
def test_a_crop_shows_what_the_full_view_shows_there(seed):
    view = CityCamera.of_size(256, 512)
    full = CityDrive(seed, view).render(5)
    part = CityDrive(seed, view.crop(130, 70, 256, 128)).render(5)
    window = slice(70, 198), slice(130, 386)
    # Edges that a border of the picture cuts are drawn from the cut on, which may shift them by a pixel.
    assert (part.class_map != full.class_map[window]).mean() < 0.004
    assert (part.instance_map != full.instance_map[window]).mean() < 0.004
    same = part.instance_map == full.instance_map[window]
    assert (np.abs(1 / part.depth - 1 / full.depth[window])[same] < 1e-3).mean() > 0.99


def test_the_convoy_waits_at_red_and_never_goes_back():
    drive = CityDrive(1, SMALL)
    places = np.array([drive.convoy.places(t) for t in np.arange(0, 60, 0.5)])
    steps = np.diff(places, axis=0)
    assert (steps >= 0).all()
    assert (steps[:, drive.convoy.own] < 1e-6).any()
    gaps = -np.diff(places, axis=1)
    assert (gaps > 4.0).all()


def test_all_classes_but_the_train_are_common():
    seen: set[int] = set()
    for seed in range(24):
        seen |= set(np.unique(CityDrive(seed, SMALL).render(15).class_map).tolist())
    assert set(range(19)) - {16} <= seen
