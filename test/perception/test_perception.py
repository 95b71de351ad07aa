"""The whole way of a frame, with a small random model."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import VOID
from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception


def picture(seed: int, height: int = 60, width: int = 120, channels: int = 3) -> np.ndarray:
    """Blocks of random colour."""
    cells = np.random.default_rng(seed).integers(0, 256, (height // 12, width // 12, channels), dtype=np.uint8)
    return np.ascontiguousarray(cells.repeat(12, 0).repeat(12, 1))


@pytest.fixture(scope="module")
def shared_perception(model_folder: Path) -> Perception:
    return Perception(load_model(model_folder))


@pytest.fixture
def perception(shared_perception: Perception) -> Perception:
    shared_perception.reset_tracks()
    return shared_perception


def test_a_frame_has_a_segment_map_of_the_images_size_that_agrees_with_its_segments(perception: Perception) -> None:
    image = CameraImage(picture(0), "rgb8", 5, "front", "front_optical")
    frame = perception(image)
    assert frame.image is image
    assert frame.segment_map.shape == (60, 120)
    assert frame.segment_map.dtype == np.uint16
    assert len(frame.segments) == frame.segment_map.max() > 0
    areas = np.bincount(frame.segment_map.ravel(), minlength=len(frame.segments) + 1)[1:]
    assert frame.segments.area.tolist() == areas.tolist()
    assert np.allclose(np.linalg.norm(frame.segments.embedding, axis=1), frame.segments.is_thing, atol=1e-5)
    assert frame.timings_ms.keys() == {"preprocess", "network", "decode", "track"}


def test_semantics_are_there_on_request_for_every_image_and_void_nowhere(model_folder: Path) -> None:
    images = [CameraImage(picture(4), "rgb8", camera="a"), CameraImage(picture(5, 96, 96), "rgb8", camera="b")]
    perception = Perception(model_folder)
    plain = perception(images)
    perception.with_semantics = True
    asked = perception(images)
    assert [frame.semantics for frame in plain] == [None, None]
    for frame, without in zip(asked, plain, strict=True):
        assert frame.semantics is not None
        assert (frame.semantics.shape, frame.semantics.dtype) == (frame.segment_map.shape, np.uint8)
        assert frame.semantics.max() < len(perception.model.classes)
        assert (without.semantic_map() == VOID).any()
        assert np.array_equal(frame.segment_map, without.segment_map)


@pytest.mark.parametrize("encoding", ["bgr8", "rgba8", "bgra8"])
def test_the_order_of_the_channels_does_not_matter(perception: Perception, encoding: str) -> None:
    rgb = picture(1)
    pixels = rgb[..., ::-1] if encoding.startswith("bgr") else rgb
    if encoding.endswith("a8"):
        pixels = np.concatenate([pixels, np.full((60, 120, 1), 255, np.uint8)], 2)
    reference = perception(CameraImage(rgb, "rgb8"))
    frame = perception(CameraImage(np.ascontiguousarray(pixels), encoding))
    assert np.array_equal(frame.segment_map, reference.segment_map)


def test_a_grey_image_is_taken_as_three_equal_channels(perception: Perception) -> None:
    grey = picture(2, channels=1)
    reference = perception(CameraImage(grey.repeat(3, 2), "rgb8"))
    frame = perception(CameraImage(grey, "mono8"))
    assert np.array_equal(frame.segment_map, reference.segment_map)


def test_row_padding_does_not_change_the_result(perception: Perception) -> None:
    padded = np.zeros((60, 150, 3), np.uint8)
    padded[:, :120] = picture(3)
    reference = perception(CameraImage(picture(3), "bgr8"))
    frame = perception(CameraImage(padded[:, :120], "bgr8"))
    assert np.array_equal(frame.segment_map, reference.segment_map)


def test_a_batch_of_cameras_of_two_sizes_gives_each_what_it_gets_alone(perception: Perception) -> None:
    images = [CameraImage(picture(4), "rgb8", camera="a"), CameraImage(picture(5, 96, 96), "rgb8", camera="b"),
              CameraImage(picture(6), "rgb8", camera="c")]
    together = perception(images)
    for image, frame in zip(images, together, strict=True):
        alone = perception(image)
        assert frame.image.camera == image.camera
        assert np.mean(alone.segment_map == frame.segment_map) > 0.999  # a batch may round differently


def test_the_same_images_give_the_same_bytes_and_ids(model_folder: Path) -> None:
    runs = []
    for _ in range(2):
        perception = Perception(load_model(model_folder))
        frames = [perception(CameraImage(picture(k % 3), "rgb8", k)) for k in range(6)]
        runs.append([(f.segment_map.tobytes(), f.segments.track_id.tolist(), f.segments.embedding.tobytes())
                     for f in frames])
    assert runs[0] == runs[1]


def test_the_same_object_keeps_its_track(perception: Perception) -> None:
    frames = [perception(CameraImage(picture(0), "rgb8", k * 100_000_000)) for k in range(3)]
    things = frames[0].segments.is_thing
    assert things.any()
    ids = [f.segments.track_id[things].tolist() for f in frames]
    assert ids[0] == ids[1] == ids[2]
    assert min(ids[0]) > 0
    assert frames[0].segments.track_id[~things].tolist() == [0] * int((~things).sum())


def test_one_image_gives_one_frame_and_a_sequence_a_list_in_its_order(perception: Perception) -> None:
    array, image = picture(0), CameraImage(picture(1), stamp_ns=5, camera="front")
    one, other = perception(array), perception(image)
    assert isinstance(one, PanopticFrame)
    assert other.image is image
    assert (one.image.pixels is array, one.image.encoding, one.image.stamp_ns) == (True, "rgb8", None)
    for images in ([array, image], (array, image)):
        frames = perception(images)
        assert isinstance(frames, list)
        assert [frame.image.pixels is array for frame in frames] == [True, False]
        for alone, frame in zip((one, other), frames, strict=True):
            assert np.mean(alone.segment_map == frame.segment_map) > 0.999
    assert perception([]) == []


def test_a_model_is_given_by_its_folder_or_as_it_was_loaded(model_folder: Path) -> None:
    model = load_model(model_folder)
    results = [Perception(given, "torch", "cpu") for given in (model_folder, str(model_folder), model)]
    assert results[2].model is model
    assert {one.model.model_id for one in results} == {model.model_id}
    with pytest.raises(InputError, match="no model folder 'nowhere'"):
        Perception("nowhere")


@pytest.mark.parametrize(("pixels", "encoding"), [
    (picture(2, channels=1)[..., 0], "mono8"), (picture(2, channels=1), "mono8"), (picture(2, channels=4), "rgba8"),
    (picture(2)[..., ::-1], "rgb8"), (picture(2)[::-2, ::3], "rgb8"),
], ids=["grey", "grey with a channel", "with alpha", "channels turned round", "a view of some pixels"])
def test_an_array_is_taken_as_the_image_of_its_shape(perception: Perception, pixels: np.ndarray,
                                                     encoding: str) -> None:
    expected = np.ascontiguousarray(pixels).reshape(*pixels.shape[:2], -1)
    reference, frame = perception(CameraImage(expected, encoding)), perception(pixels)
    assert frame.image.encoding == encoding
    assert np.array_equal(frame.segment_map, reference.segment_map)
    assert np.array_equal(frame.overlay(), reference.overlay())


@pytest.mark.parametrize(("image", "says"), [
    (np.zeros((10, 20, 3), np.float32), r"array of float32 \(10, 20, 3\) is no image: uint8 is taken"),
    (np.zeros((10, 20, 2), np.uint8), r"array of uint8 \(10, 20, 2\) is no image"),
    (np.zeros((2, 10, 20, 3), np.uint8), "several images as a list"),
    (np.zeros(10, np.uint8), "is no image"), ("street.jpg", "a str is no image"), (b"jpeg", "a bytes is no image"),
    (None, "a NoneType is no image"), (torch.zeros(10, 20, 3), "a Tensor is no image: a NumPy array"),
    (np.zeros((10, 0, 3), np.uint8), "0 x 10 pixels"),
    (CameraImage(np.zeros((10, 0, 3), np.uint8), "rgb8"), "0 x 10 pixels"),
    (CameraImage(np.zeros((10, 20, 3), np.uint8), "mono8"), r"in mono8 are uint8 \(H, W, 1\); these are uint8"),
    (CameraImage(np.zeros((10, 20), np.uint8), "mono8"), r"these are uint8 \(10, 20\)"),
    (CameraImage(np.zeros((10, 20, 3), np.float32)), "these are float32"),
    (CameraImage(np.zeros((10, 20, 3), np.uint8), "yuv422"), "the encoding 'yuv422' is not taken"),
])
@pytest.mark.parametrize("in_a_list", [False, True])
def test_what_is_no_image_is_refused_with_what_is_taken(perception: Perception, image: Any, says: str,
                                                        in_a_list: bool) -> None:
    with pytest.raises(InputError, match=says):
        perception([picture(0), image] if in_a_list else image)


def test_an_image_without_a_stamp_is_not_followed_and_disturbs_no_tracks(perception: Perception) -> None:
    followed = [perception(CameraImage(picture(0), stamp_ns=0))]
    for k in range(1, 4):
        for untimed in (picture(0), picture(1), CameraImage(picture(0)),
                        CameraImage(picture(0), stamp_ns=(k - 1) * 100_000_000)):
            assert not perception(untimed).segments.track_id.any()
        followed.append(perception(CameraImage(picture(0), stamp_ns=k * 100_000_000)))
    assert followed[0].segments.track_id.any()
    for k, frame in enumerate(followed):
        assert frame.segments.track_id.tolist() == followed[0].segments.track_id.tolist()
        assert set(frame.segments.track_age.tolist()) == {0, k + 1}


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_call_leaves_the_process_as_it_was(model_folder: Path, engine: str,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        environment, opencv, inference = dict(os.environ), cv2.getNumThreads(), torch.is_inference_mode_enabled()
        perception = Perception(model_folder, engine, "cpu")
        decode, meanwhile = perception._decode, []

        def watched(*arguments: Any) -> Any:
            meanwhile.append(torch.get_num_threads())
            return decode(*arguments)

        monkeypatch.setattr(perception, "_decode", watched)
        preprocess = perception._preprocess

        def watched_too(*arguments: Any) -> Any:
            meanwhile.append(torch.get_num_threads())
            return preprocess(*arguments)

        monkeypatch.setattr(perception, "_preprocess", watched_too)
        perception.warm_up(60, 120)
        perception(picture(0))
        assert meanwhile == [1 if engine == "openvino" else 3] * 3
        assert torch.get_num_threads() == 3
        assert (dict(os.environ), cv2.getNumThreads(), torch.is_inference_mode_enabled()) == (
            environment, opencv, inference)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_two_perceptions_in_two_threads_give_each_what_it_gives_alone(model_folder: Path, dense_model: Path,
                                                                      engine: str) -> None:
    images = [CameraImage(picture(k // 4), stamp_ns=k * 100_000_000) for k in range(12)]
    start = Barrier(2)

    def run(perception: Perception, together: bool) -> list[Any]:
        perception.reset_tracks()
        if together:
            start.wait()
        frames = [perception(image) for image in images]
        first = max(frames[0].segments.track_id.max(), 1)
        return [(frame.segment_map.tobytes(), frame.segments.score.tobytes(),
                 np.maximum(frame.segments.track_id - first, -first).tolist()) for frame in frames]

    pair = [Perception(folder, engine, "cpu") for folder in (model_folder, dense_model)]
    threads = torch.get_num_threads()
    alone = [run(Perception(one.model, engine, "cpu"), together=False) for one in pair]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda one: run(one, together=True), pair))
    assert together == alone
    assert alone[0] != alone[1]
    assert torch.get_num_threads() == threads


def test_a_restart_goes_on_with_the_tracks_of_a_saved_state(model_folder: Path) -> None:
    before, after = (Perception(load_model(model_folder), "torch", "cpu") for _ in range(2))
    frame = before(CameraImage(picture(0), "rgb8", 0))
    after.restore_tracks(before.tracks_state())
    again = after(CameraImage(picture(0), "rgb8", 100_000_000))
    assert again.segments.track_id.tolist() == frame.segments.track_id.tolist()
    assert again.segments.track_id.any()
    assert after.tracks_born() == before.tracks_born()


def test_a_restart_with_another_model_goes_on_with_the_ids_alone(model_folder: Path, tmp_path: Path) -> None:
    for file in model_folder.iterdir():
        text = file.read_bytes()
        (tmp_path / file.name).write_bytes(text.replace(b"seed: 0.05", b"seed: 0.06"))
    before = Perception(load_model(model_folder), "torch", "cpu")
    after = Perception(load_model(tmp_path), "torch", "cpu")
    frame = before(CameraImage(picture(0), "rgb8", 0))
    after.restore_tracks(before.tracks_state())
    assert after.tracks_born() == before.tracks_born()
    again = after(CameraImage(picture(0), "rgb8", 100_000_000))
    given = frame.segments.track_id.tolist()
    assert again.segments.track_id.max() > max(given)
    assert not {*again.segments.track_id[again.segments.is_thing].tolist()} & {*given}


def test_prepared_images_give_what_a_call_gives_also_after_the_model_changed(model_folder: Path,
                                                                             dense_model: Path) -> None:
    perception, other = Perception(model_folder, "torch", "cpu"), Perception(dense_model, "torch", "cpu")
    images = [CameraImage(picture(k), camera=f"camera_{k}") for k in range(2)]
    expected = perception(images)
    for prepared in ([perception.prepare(image) for image in images], [other.prepare(image) for image in images]):
        for found, frame in zip(perception.finish(prepared), expected, strict=True):
            assert np.array_equal(found.segment_map, frame.segment_map)
            assert found.timings_ms.keys() == frame.timings_ms.keys()
            assert found.image is frame.image
