"""The method of docs/add_a_method.md does what the page says that a method does once it is in the two tables."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rosbags.highlevel import AnyReader
from torch import Tensor

from panoptic_ros.bags.types import bag_typestore
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.cli import main
from panoptic_ros.datasets import open_dataset
from panoptic_ros.messages import read_depth
from panoptic_ros.methods import METHODS
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception
from training.batches import Objects
from training.evaluate import main as evaluate
from training.objectives import OBJECTIVES
from training.train import main as train

ROOT = Path(__file__).resolve().parents[2]
CITY = "city:1000000x2/12@64x128"
CPU = ("--engine", "torch", "--device", "cpu")
# Of the recipe on the page, which is made for hours.
TINY = ("--data.train", CITY, "--data.validation", CITY, "--input_size", "[64, 128]", "--augmentation.crop", "[64, 96]",
        "--hyperparameters.backbone", "test_efficientnet", "--hyperparameters.channels", "16", "--initial_backbone", "",
        "--steps", "3", "--batch_size", "2", "--precision", "32-true")


@pytest.fixture(scope="module")
def page() -> Iterator[dict[str, Any]]:
    """The method is in the tables; the names of `test/example_method.py`."""
    names = runpy.run_path(str(ROOT / "test" / "example_method.py"))
    with pytest.MonkeyPatch.context() as patch:
        names["add_example_method"](patch.setitem)
        yield names


@pytest.fixture(scope="module")
def trained(page: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the page's recipe in the small, with the command of the page."""
    folder = tmp_path_factory.mktemp("center_offset")
    (folder / "city.yaml").write_text(page["files_of_page"]()["training/recipes/center_offset/city.yaml"])
    assert train(["--config", str(folder / "city.yaml"), "--out", str(folder / "run"), "--workers", "0",
                  "--accelerator", "cpu", *TINY, "--data.cache", str(folder / "cache")]) == 0
    return folder / "run"


def test_its_recipe_trains_a_model_that_is_validated_with_its_depth(trained: Path) -> None:
    model = load_model(trained / "model")
    assert (model.method, model.training["steps"]) == ("center_offset", 3)
    assert {"pq", "miou", "depth_rmse", "depth_abs_rel"} <= model.training["score"].keys()
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert all(line[term] > 0 for line in lines for term in ("classes", "center", "offset", "depth"))


def test_a_frame_has_its_depth_in_positive_metres(trained: Path) -> None:
    image = open_dataset(CITY).image(0)
    (frame,) = Perception(load_model(trained / "model"), "torch", "cpu")([CameraImage(image, "rgb8")])
    assert frame.depth is not None
    assert (frame.depth.shape, frame.depth.dtype) == ((64, 128), np.float32)
    assert 0.5 <= frame.depth.min() < frame.depth.max() <= 300


def test_an_evaluation_has_the_errors_of_its_depth(trained: Path, tmp_path: Path) -> None:
    assert evaluate(["--model", str(trained / "model"), "--data", CITY, "--workers", "0", "--out", str(tmp_path),
                     *CPU]) == 0
    errors = json.loads((tmp_path / "evaluation.json").read_text())["depth"]
    assert errors["rmse"] > 0
    assert 0 <= errors["delta1"] <= errors["delta2"] <= errors["delta3"] <= 1


def test_a_replay_has_its_depth_in_the_bag_and_in_a_video(trained: Path, tmp_path: Path) -> None:
    bag, out = tmp_path / "drive", tmp_path / "out"
    assert main(["city", "--seed", "3", "--frames", "2", "--size", "64x128", "--bag", "--out", str(bag)]) == 0
    assert main(["replay", str(bag), "--model", str(trained / "model"), "--out", str(out), *CPU]) == 0
    with AnyReader([out / "result.mcap"]) as reader:
        depths = [read_depth(bag_typestore().deserialize_cdr(cdr, connection.msgtype))
                  for connection, _, cdr in reader.messages() if connection.topic == "/depth/image"]
    assert [depth.shape for depth in depths] == [(64, 128)] * 2
    assert all((depth > 0).all() for depth in depths)
    assert cv2.VideoCapture(str(out / "depth.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 2


# Of the classes of Cityscapes.
ROAD, SKY, PERSON, CAR, VOID = 0, 10, 11, 13, 255


@pytest.fixture
def street() -> dict[str, Any]:
    """Two images of 32 x 64: a car that hides part of another, the left part of a third cut off, and an empty road."""
    class_map = torch.full((2, 32, 64), ROAD, dtype=torch.uint8)
    class_map[:, :8] = SKY
    instance_map = torch.zeros(2, 32, 64, dtype=torch.int32)
    boxes = torch.tensor([[8, 8, 32, 24], [24, 12, 48, 28], [56, 8, 96, 24]])
    for number, (x0, y0, x1, y1) in enumerate(boxes.tolist(), 1):
        class_map[0, y0:y1, x0:x1], instance_map[0, y0:y1, x0:x1] = CAR, number
    depth = torch.full((2, 32, 64), 20.0)
    depth[:, :8] = 0
    return {"class_map": class_map, "instance_map": instance_map, "depth": depth, "objects": Objects(
        torch.zeros(3, dtype=torch.int64), torch.arange(1, 4), torch.full((3,), CAR), boxes.float(),
        torch.tensor([[False] * 4, [False] * 4, [False, False, True, False]]))}


@pytest.fixture
def perfect(page: dict[str, Any], street: dict[str, Any]) -> dict[str, Tensor]:
    """The outputs that the loss asks for."""
    targets: Callable[..., tuple[Tensor, Tensor]] = sys.modules["training.objectives.center_offset"].center_targets
    classes = street["class_map"][:, 2::4, 2::4].long()
    heatmap, offset = targets(street["objects"], street["instance_map"][:, 2::4, 2::4], 4.0, 2.0)
    logits = 50 * torch.nn.functional.one_hot(classes, 19).movedim(3, 1).float()
    return {"class_logits": logits, "center": heatmap, "offset": offset, "depth": torch.full((2, 1, 8, 16), 20.0)}


def test_targets_are_a_gaussian_around_each_centre_and_the_way_to_it(perfect: dict[str, Tensor]) -> None:
    center, offset = perfect["center"][:, 0], perfect["offset"]
    # The first car is 24 x 16 pixels from (8, 8): its centre (20, 16) lies between the cells, 4.5, 3.5.
    assert center[0, 3, 4] == center[0, 4, 5] == pytest.approx(np.exp(-0.5 / 8))
    assert offset[0, :, 2, 2].tolist() == [2.5, 1.5]
    # Of the third, 56 to 96, the centre is beyond the border of 64, at (76, 16): 18.5, 3.5.
    assert offset[0, :, 3, 15].tolist() == [3.5, 0.5]
    assert offset[0, :, 7, 0].tolist() == [0, 0]
    assert center[1].max() == offset[1].abs().max() == 0


def test_the_loss_of_perfect_outputs_is_nothing(
        page: dict[str, Any], street: dict[str, Any], perfect: dict[str, Tensor]) -> None:
    kind = OBJECTIVES["center_offset"]
    objective = kind(torch.nn.Identity(), kind.settings_type(), load_class_table("cityscapes"))
    assert all(float(term) == pytest.approx(0, abs=1e-5) for term in objective.loss(perfect, street).values())
    further = {**perfect, "depth": 2 * perfect["depth"]}
    assert float(objective.loss(further, street)["depth"]) == pytest.approx(np.log(2))
    nothing = {**street, "class_map": torch.full_like(street["class_map"], VOID),
               "instance_map": 0 * street["instance_map"], "depth": 0 * street["depth"],
               "objects": Objects(*(column[:0] for column in street["objects"]))}
    assert np.isfinite(float(objective.loss(perfect, nothing)["total"]))


def test_the_decode_of_perfect_outputs_is_the_truth(
        page: dict[str, Any], street: dict[str, Any], perfect: dict[str, Tensor]) -> None:
    method, is_thing = METHODS["center_offset"], torch.as_tensor(load_class_table("cityscapes").thing_mask)
    # A car whose centre is not in the image has no peak: its pixels go to the nearest that is there.
    perfect["class_logits"][0, CAR, :, 14:], perfect["class_logits"][0, ROAD, :, 14:] = 0, 50
    found = method.decode(perfect, is_thing, method.thresholds(), (32, 64))
    assert found.depth is not None
    assert torch.equal(found.depth, torch.full((2, 32, 64), 20.0))
    semantic_map = method.decode(perfect, is_thing, method.thresholds(), (8, 16), True).semantic_map
    assert semantic_map is not None
    assert torch.equal(semantic_map[:, :, :14], street["class_map"][:, 2::4, 2::4][:, :, :14])
    assert sorted(found.segments[0].class_id.tolist()) == [ROAD, SKY, CAR, CAR]
    assert found.segments[1].class_id.tolist() == [ROAD, SKY]
    cars = found.segments[0].class_id == CAR
    numbers = [found.segment_map[0, 14, 12], found.segment_map[0, 20, 40]]
    assert numbers[0] != numbers[1]
    assert cars[torch.stack(numbers).long() - 1].all()
    truth = street["instance_map"][0, 2::4, 2:56:4]
    seen = found.segment_map[0, 2::4, 2:56:4]
    assert ((seen == numbers[0]) == (truth == 1)).all()
    assert ((seen == numbers[1]) == (truth == 2)).all()


def test_an_object_is_of_the_class_that_its_pixels_vote_for(page: dict[str, Any], perfect: dict[str, Tensor]) -> None:
    method, is_thing = METHODS["center_offset"], torch.as_tensor(load_class_table("cityscapes").thing_mask)
    perfect["class_logits"][0, CAR, 2:4, 2:4], perfect["class_logits"][0, PERSON, 2:4, 2:4] = 0, 50
    found = method.decode(perfect, is_thing, method.thresholds(), (32, 64))
    assert PERSON not in found.segments[0].class_id.tolist()
    assert found.segment_map[0, 9, 9] == found.segment_map[0, 20, 20] > 0


def test_the_code_of_the_page_is_linted(page: dict[str, Any], tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    files = page["files_of_page"]()
    assert len(files) == 6
    for file in (page["METHOD"], page["OBJECTIVE"]):
        (tmp_path / Path(file).name).write_text(files[file].lstrip("\n"))
        report = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", Path(file).name], cwd=tmp_path,
                                text=True, capture_output=True, timeout=60)
        assert report.returncode == 0, report.stdout + report.stderr
