"""A model of dense detections goes wherever any model goes: saved, loaded, tracked, replayed; it has no embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rosbags.highlevel import AnyReader

from panoptic_ros.bags.types import bag_typestore
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.cli import main
from panoptic_ros.errors import InputError
from panoptic_ros.messages import read_segments
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception


def blocks() -> np.ndarray:
    """An image of blocks, 64 x 128."""
    colours = np.random.default_rng(0).integers(0, 255, (8, 16, 3), np.uint8)
    return np.asarray(cv2.resize(colours, (128, 64), interpolation=cv2.INTER_NEAREST))


def test_a_model_folder_keeps_network_and_thresholds(dense_model: Path) -> None:
    model = load_model(dense_model)
    assert model.hyperparameters.channels == 16
    assert model.thresholds.nms_iou == 0.3
    again = load_model(dense_model)
    with torch.no_grad():
        for name, output in model.network(torch.zeros(1, 3, 64, 128)).items():
            assert torch.equal(output, again.network(torch.zeros(1, 3, 64, 128))[name])


def test_a_class_table_with_other_things_does_not_fit_the_weights(dense_model: Path, tmp_path: Path) -> None:
    text = (dense_model / "model.yaml").read_text()
    assert "name: car\n    thing: true" in text
    (tmp_path / "model.yaml").write_text(text.replace("name: car\n    thing: true", "name: car\n    thing: false"))
    (tmp_path / "weights.safetensors").write_bytes((dense_model / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match="does not fit the network"):
        load_model(tmp_path)


def test_what_stays_in_place_keeps_its_track_without_an_embedding_of_the_method(dense_model: Path) -> None:
    perception = Perception(load_model(dense_model), "torch", "cpu", "single")
    frames = [perception([CameraImage(blocks(), "rgb8", k * 10**8)])[0] for k in range(4)]
    things = frames[0].segments.is_thing
    assert frames[0].embedding_kind == "pooled"
    assert things.sum() > 0
    assert (~things).sum() > 0
    first, last = (frame.segments.track_id[things].tolist() for frame in (frames[1], frames[-1]))
    assert first == last
    assert all(first)


def test_a_recording_is_replayed_into_a_bag_and_an_overlay(dense_model: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for k in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{k}.png"), np.roll(blocks(), 4 * k, 1))
    out = tmp_path / "out"
    assert main(["replay", str(tmp_path / "images"), "--model", str(dense_model), "--engine", "torch",
                 "--out", str(out)]) == 0
    assert (out / "overlay.mp4").stat().st_size > 0
    with AnyReader([out / "result.mcap"]) as reader:
        found: dict[str, list[Any]] = {}
        for connection, _, cdr in reader.messages():
            found.setdefault(connection.topic, []).append(bag_typestore().deserialize_cdr(cdr, connection.msgtype))
    assert [len(messages) for messages in found.values()] == [3, 3, 3]
    topics = ("/panoptic/image", "/panoptic/segments", "/panoptic/embeddings")
    for image, segments, embeddings in zip(*(found[topic] for topic in topics), strict=True):
        segment_map, rows = read_segments(image, segments, embeddings)
        # The method has no embedding of its own: these are the backbone's features.
        assert (embeddings.kind, embeddings.dimension) == ("pooled", 128)
        assert embeddings.segment_ids.tolist() == (np.flatnonzero(rows.is_thing) + 1).tolist()
        assert len(rows) == segment_map.max() > 0
