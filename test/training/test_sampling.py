"""Sampling policies: how often classes, images and scales are drawn; and the statistics they draw by."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from panoptic_ros.errors import InputError
from training.augmentation import Augmentation
from training.sampling import Policy, Sampling, make_policy
from training.statistics import ImageStatistics, cached_statistics, measure_images

IS_THING = np.array([False, True, True])
# Class 2 is in image 3 alone, and there is a crowd of it in image 1.
PIXELS = np.array([[900, 100, 0], [900, 50, 50], [1000, 0, 0], [800, 100, 100]])
ENTRY = np.array([0, 0, 1, 3, 3])
NUMBER = np.array([1, 5, 2, 1, 2])
CLASS_ID = np.array([1, 1, 1, 1, 2])
BOX = np.array([[0, 0, 8, 8], [0, 0, 512, 128], [4, 4, 20, 20], [0, 0, 1, 1], [10, 10, 110, 110]])
STATISTICS = ImageStatistics(np.full((4, 2), 600), PIXELS, ENTRY, NUMBER, CLASS_ID, BOX)


def policy(name: str, clip_length: int = 1, starts: list[int] | None = None, **settings: object) -> Policy:
    sampling = Sampling(policy=name, **settings)  # type: ignore[arg-type]
    return make_policy(sampling, Augmentation(shortest_side=1200), starts or [0, 1, 2, 3], clip_length, IS_THING, 0,
                       lambda: STATISTICS)


def test_class_uniform_sampling_draws_every_class_as_often_and_images_that_show_it() -> None:
    drawn = [policy("class_uniform").draw(i) for i in range(3000)]
    counts = Counter(draw.focus.class_id for draw in drawn if draw.focus)
    assert all(900 < counts[k] < 1100 for k in range(3))
    images = {k: {draw.entry for draw in drawn if draw.focus and draw.focus.class_id == k} for k in range(3)}
    assert images == {0: {0, 1, 2, 3}, 1: {0, 1, 3}, 2: {1, 3}}
    assert all(draw.focus is not None and draw.focus.number == 0 and draw.focus.scale is None for draw in drawn)


def test_what_is_drawn_follows_from_the_number_alone() -> None:
    one, other = policy("instance_scale_uniform"), policy("instance_scale_uniform")
    for i in range(50):
        other.draw(i + 7)
    assert [one.draw(i) for i in range(20)] == [other.draw(i) for i in range(20)]


def test_instance_scale_uniform_sampling_draws_instances_and_puts_each_into_every_level_as_often() -> None:
    one = policy("instance_scale_uniform", levels=4, thing_scale=(1e-6, 1e6))
    drawn = [draw for i in range(6000) if (draw := one.draw(i)).focus and draw.focus.number]
    # A crowd is no instance: class 2 is drawn in image 3 alone.
    assert {draw.entry for draw in drawn if draw.focus and draw.focus.class_id == 2} == {3}
    rows = {(entry, number): row for row, (entry, number) in enumerate(zip(ENTRY, NUMBER, strict=True))}
    levels: Counter[int] = Counter()
    for draw in drawn:
        assert draw.focus is not None
        x0, y0, x1, y1 = BOX[rows[draw.entry, draw.focus.number]]
        assert draw.focus.scale is not None
        side = np.sqrt((x1 - x0) * (y1 - y0)) * 2 * draw.focus.scale  # images of 600 pixels are brought to 1200
        levels[int(np.floor(2 + np.log2(side / 224)))] += 1
    assert set(levels) == {0, 1, 2, 3}
    assert all(0.2 < levels[level] / len(drawn) < 0.3 for level in range(4))


def test_the_factor_for_things_is_clamped_and_stuff_keeps_the_augmentation_s_range() -> None:
    one = policy("instance_scale_uniform", thing_scale=(0.25, 4.0))
    scales: dict[bool, set[float | None]] = {False: set(), True: set()}
    for i in range(2000):
        focus = one.draw(i).focus
        assert focus is not None
        scales[bool(IS_THING[focus.class_id])].add(focus.scale)
    assert scales[False] == {None}
    of_things = [scale for scale in scales[True] if scale is not None]
    assert min(of_things) == 0.25
    assert max(of_things) == 4.0  # the object of one pixel, that would need more


def test_a_clip_shows_its_focus_in_one_of_its_images() -> None:
    one = policy("class_uniform", clip_length=2, starts=[0, 2])
    for i in range(200):
        draw = one.draw(i)
        assert draw.entry in (0, 2)
        assert draw.focus_entry - draw.entry in (0, 1)
        assert draw.focus is not None
        assert PIXELS[draw.focus_entry, draw.focus.class_id] > 0


def test_data_that_show_no_class_are_refused() -> None:
    empty = ImageStatistics(np.full((4, 2), 9), np.zeros((4, 3), int), *(c[:0] for c in (ENTRY, NUMBER, CLASS_ID, BOX)))
    with pytest.raises(InputError, match="no image shows a class to be sampled"):
        make_policy(Sampling("class_uniform"), Augmentation(), [0, 1, 2, 3], 1, IS_THING, 0, lambda: empty)


def test_statistics_are_measured_once_and_kept(tmp_path: Path) -> None:
    made = []

    def maps(entry: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        made.append(entry)
        class_map, instance_map = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.int32)
        class_map[:5], class_map[10:14, 4:10], instance_map[10:14, 4:10] = 255, 2, 7
        class_map[12, 9], instance_map[12, 9] = 1, entry + 1
        return np.zeros((20, 30, 3), np.uint8), class_map, instance_map

    for _ in range(2):
        found = cached_statistics(tmp_path / "folder" / "s.npz", lambda: measure_images(maps, 2, 3))
        assert found.size.tolist() == [[20, 30]] * 2
        assert found.pixels.tolist() == [[20 * 30 - 150 - 24, 1, 23]] * 2
        assert found.entry.tolist() == [0, 0, 1, 1]
        assert found.number.tolist() == [1, 7, 2, 7]
        assert found.class_id.tolist() == [1, 2, 1, 2]
        assert found.box.tolist() == [[9, 12, 10, 13], [4, 10, 10, 14]] * 2
    assert made == [0, 1]
    (tmp_path / "folder" / "s.npz").write_bytes(b"no archive")
    with pytest.raises(InputError, match="does not hold the statistics of images .*delete it"):
        cached_statistics(tmp_path / "folder" / "s.npz", lambda: measure_images(maps, 2, 3))
