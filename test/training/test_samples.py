"""Samples: which image, which crop of it, in which class table; and the cache of what a dataset renders."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from panoptic_ros.classes import VOID, ClassTable
from panoptic_ros.datasets import Dataset, Entry, Truth, open_dataset
from panoptic_ros.errors import InputError
from panoptic_ros.labels import PanopticLabel
from training.augmentation import Augmentation
from training.image_maps import CachedMaps, read_maps
from training.samples import ResumableSampler, Samples, sample_batches
from training.sampling import Sampling

TABLE = ClassTable("three", ("road", "car", "person"), (False, True, True), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
PLAIN = Augmentation(crop=(32, 64), scale=(1, 1), around_things=0, flip=0, brightness=0, contrast=0,
                     saturation=0, hue=0)


class Numbered(Dataset):
    """Image k is grey of value k; a car lies in the corner, a crowd of people on the left, void below."""

    name, classes, truth = "numbered", TABLE, frozenset({Truth.PANOPTIC})

    def __init__(self, size: tuple[int, int] = (32, 64), images: int = 5) -> None:
        self.size, self.entries, self.made = size, [Entry(f"i{k}", f"s{k // 2}") for k in range(images)], []

    def image(self, index: int) -> np.ndarray:
        self.made.append(index)
        return np.full((*self.size, 3), index, np.uint8)

    def label(self, index: int) -> PanopticLabel:
        segments = np.full(self.size, 1, np.int32)
        segments[:8, -8:] = 2
        segments[:8, :8] = 3
        segments[-8:] = 0
        return PanopticLabel.of(segments, [0, 1, 2], is_crowd=[False, False, True])


def test_instances_have_numbers_and_crowds_have_a_class_alone() -> None:
    _, class_map, instance_map = read_maps(Numbered(), 0)
    assert class_map[0, [0, 20, -1]].tolist() == [2, 0, 1]
    assert instance_map[0, [0, 20]].tolist() == [0, 0]
    assert instance_map[0, -1] > 0
    assert class_map[-1, 0] == 255


def test_every_image_is_drawn_once_an_epoch_in_another_order() -> None:
    samples = Samples(Numbered(), PLAIN)
    epochs = [[int(samples[i]["image"][0, 0, 0]) for i in range(first, first + 5)] for first in (0, 5, 10)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_sample_is_the_same_each_time_and_leaves_the_generator_as_it_was() -> None:
    augmentation = Augmentation(crop=(64, 96), scale=(0.8, 1.6))
    samples = Samples(open_dataset("city:1000000x3@64x128"), augmentation)
    torch.manual_seed(1)
    first = samples[1]
    drawn = torch.rand(1)
    samples[2]
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    again = pickle.loads(pickle.dumps(samples))[1]
    assert all(torch.equal(first[k], again[k]) for k in first if k != "objects")
    assert all(torch.equal(a, b) for a, b in zip(first["objects"], again["objects"], strict=True))
    assert not torch.equal(first["image"], samples[4]["image"])
    assert first["image"].shape == (3, 64, 96)
    assert first["class_map"].shape == first["instance_map"].shape == (64, 96)
    things = first["class_map"][first["instance_map"] > 0]
    assert ((things >= 11) & (things <= 18)).all()


class Street(Dataset):
    """Two sequences of three images and one alone, each a still image in which objects come and go.

    A car of a large id moves to the right with its driver, who has its id; in the second image a car of a small id is
    there, so that the segments of the images are in another order.
    """

    name, classes, truth = "street", TABLE, frozenset({Truth.PANOPTIC, Truth.TRACKS})

    def __init__(self, sizes: tuple[int, ...] = (64, 64, 64)) -> None:
        self.sizes = sizes
        self.entries = [Entry(f"{name}{k}", name) for name in "ab" for k in range(3)] + [Entry("c")]

    def image(self, index: int) -> np.ndarray:
        return np.random.default_rng(index // 3).integers(0, 256, (self.sizes[index % 3], 128, 3), np.uint8)

    def label(self, index: int) -> PanopticLabel:
        k = index % 3
        segments = np.full((self.sizes[k], 128), 1, np.int32)
        segments[8:24, 16 + 32 * k:40 + 32 * k] = 3
        segments[12:16, 20 + 32 * k:24 + 32 * k] = 4
        if k == 1:
            segments[40:48, 8:40] = 2
            return PanopticLabel.of(segments, [0, 1, 1, 2], [0, 5, 400_000_001, 400_000_001])
        return PanopticLabel.of(np.where(segments > 2, segments - 1, segments), [0, 1, 2],
                                [0, 400_000_001, 400_000_001])


def test_all_images_of_a_clip_get_the_same_view() -> None:
    augmentation = Augmentation(crop=(32, 64), scale=(0.7, 1.4), hue=0.1)
    samples = Samples(Street(), augmentation, clip_length=2)
    crops = []
    for clip in range(8):
        first, second = samples[2 * clip], samples[2 * clip + 1]
        assert first["clip"] == second["clip"] == clip
        assert torch.equal(first["image"], second["image"])
        assert not torch.equal(first["class_map"], second["class_map"])
        crops.append(first["image"])
    assert not any(torch.equal(crops[0], crop) for crop in crops[1:])
    assert torch.equal(pickle.loads(pickle.dumps(samples))[5]["image"], crops[2])


@pytest.mark.parametrize("is_cached", [False, True])
def test_an_object_has_one_number_in_all_images_of_a_clip(tmp_path: Path, is_cached: bool) -> None:
    cache = tmp_path / "cache" if is_cached else None
    samples = Samples(Street(), Augmentation(crop=(64, 128), scale=(1, 1), flip=0), cache=cache, clip_length=3)
    images = [samples[i] for i in range(3)]
    cars, drivers = ([image["instance_map"][row, 16 + 32 * k + 4] for k, image in enumerate(images)] for row in (8, 12))
    assert len(set(map(int, cars))) == len(set(map(int, drivers))) == 1
    other = images[1]["instance_map"][40, 8]
    assert len({0, int(cars[0]), int(drivers[0]), int(other)}) == 4
    for image in images:
        assert torch.equal(image["instance_map"] > 0, image["class_map"] > 0)


def test_clips_are_consecutive_images_of_one_sequence_and_each_is_drawn_once_an_epoch() -> None:
    augmentation = Augmentation(crop=(64, 128), scale=(1, 1), flip=0, brightness=0, contrast=0, saturation=0, hue=0)
    samples = Samples(Street(), augmentation, clip_length=2)
    dataset = Street()
    for epoch in (0, 1):
        drawn = []
        for clip in range(4 * epoch, 4 * epoch + 4):
            entries = [next(k for k in range(7) if np.array_equal(dataset.image(k).transpose(2, 0, 1), sample["image"])
                            and np.array_equal(dataset.label(k).class_map(), sample["class_map"]))
                       for sample in (samples[2 * clip], samples[2 * clip + 1])]
            drawn.append(tuple(entries))
        assert sorted(drawn) == [(0, 1), (1, 2), (3, 4), (4, 5)]


def test_batches_hold_whole_clips() -> None:
    samples = Samples(Street(), Augmentation(crop=(32, 64)), clip_length=2)
    batches = list(sample_batches(samples, ResumableSampler(1, 3, 4), 4, 1))
    assert [batch["clip"].tolist() for batch in batches] == [[2, 2, 3, 3], [4, 4, 5, 5]]
    assert torch.equal(batches[0]["image"], torch.stack([samples[i]["image"] for i in range(4, 8)]))


def test_clips_of_a_dataset_that_cannot_give_them_are_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match="^numbered does not say which objects of one image are those of the next"):
        Samples(Numbered(), PLAIN, clip_length=2)
    with pytest.raises(InputError, match="^street has no sequence of 5 images: train with a smaller clip_length"):
        Samples(Street(), PLAIN, clip_length=5)
    with pytest.raises(InputError, match="different sizes"):
        Samples(Street((64, 64, 32)), PLAIN, clip_length=3)[0]


def test_a_cache_from_before_clips_is_made_again_where_they_are_wanted(tmp_path: Path) -> None:
    cache = CachedMaps(Street(), tmp_path)
    expected = cache.instance_keys(1)
    assert expected.tolist() == [0, 5 << 8 | 1, 400_000_001 << 8 | 1, 400_000_001 << 8 | 2]
    for file in tmp_path.glob("*.npy"):
        file.unlink()
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert np.array_equal(CachedMaps(Street(), tmp_path).instance_keys(1), expected)
    assert all(file.read_bytes() == content for file, content in before.items())


class Relabelled(Numbered):
    """The same images of a later version, in which the car is a crowd."""

    revision = "2"

    def label(self, index: int) -> PanopticLabel:
        label = super().label(index)
        return PanopticLabel.of(label.segment_map, label.class_id, is_crowd=[False, True, True])


def test_a_cache_of_another_revision_is_made_again(tmp_path: Path) -> None:
    sampling = Sampling(policy="class_uniform")
    for dataset in (Numbered(), Relabelled(), Numbered()):
        samples = Samples(dataset, PLAIN, cache=tmp_path, sampling=sampling)
        for entry in range(2):
            assert np.array_equal(samples.maps(entry)[2], read_maps(dataset, entry)[2])
    assert sorted(file.parent.name for file in tmp_path.rglob("i0.jpg")) == ["2", tmp_path.name]
    # A class of which there are crowds alone has no instances in the statistics either.
    counts = []
    for folder in (tmp_path, tmp_path / "2"):
        [file] = folder.glob("statistics_*.npz")
        with np.load(file) as columns:
            counts.append(len(columns["class_id"]))
    assert counts == [5, 0]


def test_a_thing_that_is_too_small_to_be_outlined_has_a_class_and_no_instance() -> None:
    dataset = open_dataset("city:600x1@256x512")
    label, (_, class_map, instance_map) = dataset.label(0), read_maps(dataset, 0)
    in_crowd = np.append(False, label.is_crowd)[label.segment_map]
    assert in_crowd.any()
    assert not instance_map[in_crowd].any()
    assert dataset.classes.thing_mask[class_map[in_crowd]].all()


def test_labels_come_in_the_table_that_is_asked_for() -> None:
    other = ClassTable("two", ("vehicle", "street"), (True, False), ((0, 0, 0), (1, 1, 1)), (("car",), ("road",)))
    sample = Samples(Numbered(), PLAIN, classes=other)[0]
    assert sample["class_map"][0, [0, 20, -1]].tolist() == [255, 1, 0]  # people are in neither class: void
    assert sample["instance_map"][0, -1] > 0


def test_what_lies_beyond_the_image_is_void() -> None:
    augmentation = Augmentation(crop=(64, 64), scale=(1, 1), around_things=0, flip=0)
    sample = Samples(Numbered((32, 128)), augmentation)[0]
    assert (sample["class_map"] == 255).sum() >= 32 * 64
    assert (sample["class_map"] != 255).sum() > 0


def test_a_cache_gives_what_the_dataset_gives_and_makes_it_once(tmp_path: Path) -> None:
    dataset = Numbered()
    cache = CachedMaps(dataset, tmp_path / "cache")
    for _ in range(2):
        for entry in (3, 0):
            image, class_map, instance_map = cache[entry]
            expected = read_maps(Numbered(), entry)
            np.testing.assert_array_equal(image, expected[0])  # JPEG keeps an even grey
            np.testing.assert_array_equal(class_map, expected[1])
            np.testing.assert_array_equal(instance_map, expected[2])
    assert dataset.made == [2, 3, 0, 1]  # whole sequences


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    cache = CachedMaps(Numbered(), tmp_path / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(InputError, match="No space left.*data.cache"):
            cache[0]
    assert list((tmp_path / "cache").iterdir()) == []


class Mislabelled(Numbered):
    """The car of image 1 is of a class that the table has not."""

    def label(self, index: int) -> PanopticLabel:
        label = super().label(index)
        return PanopticLabel.of(label.segment_map, [0, 3, 2]) if index == 1 else label


def test_a_class_beyond_the_table_is_an_error_that_names_the_image(tmp_path: Path) -> None:
    samples = Samples(Mislabelled(), PLAIN)
    assert (samples.maps(0)[1] == VOID).any()
    with pytest.raises(InputError, match=r"^i1 of numbered has a class 3; the table 'three' has 3 classes$"):
        samples.maps(1)
    cached = Samples(Mislabelled(), PLAIN, cache=tmp_path / "other")
    with pytest.raises(InputError, match=r"has 3 classes; is .*other, data\.cache, of another dataset\?"):
        cached.maps(1)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_sample_arrives_in_its_own_words_and_without_a_traceback(workers: int) -> None:
    with pytest.raises(InputError, match=r"^i1 of numbered has a class 3; the table 'three' has 3 classes$"):
        list(sample_batches(Samples(Mislabelled(), PLAIN), ResumableSampler(0, 3, 2), 2, workers))


def test_processes_that_read_go_on_when_all_are_asked_to_stop() -> None:
    others = set(multiprocessing.active_children())
    batches = sample_batches(Samples(Numbered(), PLAIN), ResumableSampler(0, 20, 2), 2, 1)
    next(batches)
    [reader] = set(multiprocessing.active_children()) - others
    assert reader.pid
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(reader.pid, number)
    assert len(list(batches)) == 19


def test_processes_share_the_samples_of_a_step_between_them() -> None:
    parts = [list(ResumableSampler(3, 5, 2, process, 2)) for process in range(2)]
    assert parts == [[12, 13, 16, 17], [14, 15, 18, 19]]
    assert len(ResumableSampler(3, 5, 2)) == 4


def test_worker_processes_give_the_same_batches() -> None:
    samples = Samples(Numbered(), PLAIN)
    first, second = (list(sample_batches(samples, ResumableSampler(0, 4, 2), 2, workers)) for workers in (0, 1))
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, second, strict=True))


class Deep(Numbered):
    """The same with a depth of the image's number in metres, unknown in the corner, and a focal length."""

    truth = frozenset({Truth.PANOPTIC, Truth.DEPTH})

    def depth(self, index: int) -> np.ndarray:
        depth = np.full(self.size, index + 1.5, np.float32)
        depth[:4, :4] = np.inf
        return depth

    def focal_length(self, index: int) -> float:
        return 100.0


@pytest.mark.parametrize("is_cached", [False, True])
def test_depth_comes_with_the_focal_length_of_the_crop(tmp_path: Path, is_cached: bool) -> None:
    augmentation = dataclasses.replace(PLAIN, scale=(0.5, 0.5))
    samples = Samples(Deep((64, 128)), augmentation, cache=tmp_path if is_cached else None, with_depth=True)
    batch = next(iter(sample_batches(samples, ResumableSampler(0, 1, 3), 3, 0)))
    assert batch["depth"].shape == (3, 32, 64)
    assert batch["focal_length"].tolist() == [50.0] * 3
    for depth, image in zip(batch["depth"], batch["image"], strict=True):
        assert sorted(depth.unique().tolist()) == [0.0, float(image[0, 0, 0]) + 1.5]  # unknown is 0
        assert (depth == 0).sum() == 4  # of 4 x 4 pixels half in each direction


def test_a_dataset_without_depth_is_refused_where_depth_is_learned() -> None:
    with pytest.raises(InputError, match="numbered has no depth in its truth"):
        Samples(Numbered(), PLAIN, with_depth=True)


def test_a_batch_names_the_objects_of_every_image() -> None:
    samples = Samples(Street(), Augmentation(crop=(64, 128), scale=(1, 1), flip=0))
    batch = next(iter(sample_batches(samples, ResumableSampler(0, 1, 7), 7, 0)))
    objects = batch["objects"]
    assert objects.image.unique().tolist() == list(range(7))
    for image, number, class_id, box, cut in zip(*objects, strict=True):
        mask = batch["instance_map"][image] == number
        y, x = mask.nonzero(as_tuple=True)
        assert (batch["class_map"][image][mask] == class_id).all()
        assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert not cut.any()
    assert len(objects.number) == sum(len(m.unique()) - 1 for m in batch["instance_map"])
