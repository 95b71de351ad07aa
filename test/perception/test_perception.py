"""The whole way of a frame, with a small random model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
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
    [frame] = perception([image])
    assert frame.image is image
    assert frame.segment_map.shape == (60, 120)
    assert frame.segment_map.dtype == np.uint16
    assert len(frame.segments) == frame.segment_map.max() > 0
    areas = np.bincount(frame.segment_map.ravel(), minlength=len(frame.segments) + 1)[1:]
    assert frame.segments.area.tolist() == areas.tolist()
    assert np.allclose(np.linalg.norm(frame.segments.embedding, axis=1), 1, atol=1e-5)
    assert frame.timings_ms.keys() == {"preprocess", "network", "decode", "track"}


@pytest.mark.parametrize("encoding", ["bgr8", "rgba8", "bgra8"])
def test_the_order_of_the_channels_does_not_matter(perception: Perception, encoding: str) -> None:
    rgb = picture(1)
    pixels = rgb[..., ::-1] if encoding.startswith("bgr") else rgb
    if encoding.endswith("a8"):
        pixels = np.concatenate([pixels, np.full((60, 120, 1), 255, np.uint8)], 2)
    [reference] = perception([CameraImage(rgb, "rgb8")])
    [frame] = perception([CameraImage(np.ascontiguousarray(pixels), encoding)])
    assert np.array_equal(frame.segment_map, reference.segment_map)


def test_a_grey_image_is_taken_as_three_equal_channels(perception: Perception) -> None:
    grey = picture(2, channels=1)
    [reference] = perception([CameraImage(grey.repeat(3, 2), "rgb8")])
    [frame] = perception([CameraImage(grey, "mono8")])
    assert np.array_equal(frame.segment_map, reference.segment_map)


def test_row_padding_does_not_change_the_result(perception: Perception) -> None:
    padded = np.zeros((60, 150, 3), np.uint8)
    padded[:, :120] = picture(3)
    [reference] = perception([CameraImage(picture(3), "bgr8")])
    [frame] = perception([CameraImage(padded[:, :120], "bgr8")])
    assert np.array_equal(frame.segment_map, reference.segment_map)


def test_a_batch_of_cameras_of_two_sizes_gives_each_what_it_gets_alone(perception: Perception) -> None:
    images = [CameraImage(picture(4), "rgb8", camera="a"), CameraImage(picture(5, 96, 96), "rgb8", camera="b"),
              CameraImage(picture(6), "rgb8", camera="c")]
    together = perception(images)
    for image, frame in zip(images, together, strict=True):
        [alone] = perception([image])
        assert frame.image.camera == image.camera
        assert np.mean(alone.segment_map == frame.segment_map) > 0.999  # a batch may round differently


def test_the_same_images_give_the_same_bytes_and_ids(model_folder: Path) -> None:
    runs = []
    for _ in range(2):
        perception = Perception(load_model(model_folder))
        frames = [perception([CameraImage(picture(k % 3), "rgb8", k)])[0] for k in range(6)]
        runs.append([(f.segment_map.tobytes(), f.segments.track_id.tolist(), f.segments.embedding.tobytes())
                     for f in frames])
    assert runs[0] == runs[1]


def test_the_same_object_keeps_its_track(perception: Perception) -> None:
    frames = [perception([CameraImage(picture(0), "rgb8", k * 100_000_000)])[0] for k in range(3)]
    things = frames[0].segments.is_thing
    assert things.any()
    ids = [f.segments.track_id[things].tolist() for f in frames]
    assert ids[0] == ids[1] == ids[2]
    assert min(ids[0]) > 0
    assert frames[0].segments.track_id[~things].tolist() == [0] * int((~things).sum())


def test_an_image_without_pixels_is_refused(perception: Perception) -> None:
    with pytest.raises(InputError, match="0 x 10 pixels"):
        perception([CameraImage(np.zeros((10, 0, 3), np.uint8), "rgb8")])


def test_a_restart_goes_on_with_the_tracks_of_a_saved_state(model_folder: Path) -> None:
    before, after = (Perception(load_model(model_folder), "torch", "cpu") for _ in range(2))
    [frame] = before([CameraImage(picture(0), "rgb8", 0)])
    after.restore_tracks(before.tracks_state())
    [again] = after([CameraImage(picture(0), "rgb8", 100_000_000)])
    assert again.segments.track_id.tolist() == frame.segments.track_id.tolist()
    assert again.segments.track_id.any()
    assert after.tracks_born() == before.tracks_born()


def test_a_restart_with_another_model_goes_on_with_the_ids_alone(model_folder: Path, tmp_path: Path) -> None:
    for file in model_folder.iterdir():
        text = file.read_bytes()
        (tmp_path / file.name).write_bytes(text.replace(b"seed: 0.05", b"seed: 0.06"))
    before = Perception(load_model(model_folder), "torch", "cpu")
    after = Perception(load_model(tmp_path), "torch", "cpu")
    [frame] = before([CameraImage(picture(0), "rgb8", 0)])
    after.restore_tracks(before.tracks_state())
    assert after.tracks_born() == before.tracks_born()
    [again] = after([CameraImage(picture(0), "rgb8", 100_000_000)])
    given = frame.segments.track_id.tolist()
    assert again.segments.track_id.max() > max(given)
    assert not {*again.segments.track_id[again.segments.is_thing].tolist()} & {*given}
