"""Centroid embedding's recipes on tiny datasets: stages, two kinds of depth, datasets without labels or depth."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from panoptic_ros.classes import load_class_table
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception
from training.train import main

RECIPES = Path(__file__).parents[2] / "training" / "recipes" / "centroid_embedding"
TINY = {
    "hyperparameters.backbone": "test_efficientnet", "hyperparameters.decoder_channels": "16", "steps": "2",
    "input_size": "[64, 128]", "augmentation.crop": "[64, 64]", "pretrained": "false", "batch_size": "2",
    "grad_accum_steps": "1", "schedule.warm_up": "0", "validation.every": "1", "validation.images": "2",
    "precision": "32-true"}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_coco(streets: Any, folder: Path, splits: tuple[str, ...] = ("train2017", "val2017")) -> None:
    folder.mkdir(parents=True)
    streets.write_coco(folder, load_class_table("coco"), 4)
    for split in splits:
        shutil.copytree(folder / "panoptic", folder / f"panoptic_{split}")
        shutil.copy(folder / "panoptic.json", folder / f"panoptic_{split}.json")
    shutil.rmtree(folder / "panoptic")
    (folder / "panoptic.json").unlink()


def write_depth(file: Path, value: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(value, 2 * value, 128).astype(np.uint16)
    cv2.imwrite(str(file), np.broadcast_to(ramp, (64, 128)))


def write_nyu(color: str, depth: str) -> None:
    """Four images of 128 x 64 pixels; names are patterns with the number."""
    for k in range(4):
        file = Path(color.format(k))
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.random.default_rng(k).integers(0, 255, (64, 128, 3), np.uint8))
        write_depth(Path(depth.format(k)), 1500)


def train(recipe: str, out: str, **changes: str) -> int:
    keys = {**TINY, **{name.replace("__", "."): value for name, value in changes.items()}}
    return main(["--config", str(RECIPES / f"{recipe}.yaml"), "--out", out, "--workers", "0", "--accelerator", "cpu",
                 *(f"--{key}={value}" for key, value in keys.items())])


def terms(out: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(out, "log.jsonl").read_text().splitlines()]


def test_coco_with_depth_goes_from_instances_over_relative_to_metric_depth(
        streets: Any, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_coco(streets, Path("datasets/coco/annotations"))
    write_coco(streets, Path("datasets/coco_depth"), ("train2017",))
    for k in range(4):
        write_depth(Path(f"datasets/coco_depth/depth/street_{k}.png"), 3000)
    write_nyu("datasets/nyuv2_depth/rgb/{}.jpg", "datasets/nyuv2_depth/depth/{}.png")
    scene = "datasets/nyuv2/train/kitchen_0001"
    write_nyu(f"{scene}/rgb_{{:05d}}.jpg", f"{scene}/sync_depth_{{:05d}}.png")
    assert train("coco_depth", "run", steps="4", augmentation__longest_side="128") == 0
    said = capsys.readouterr().err
    assert "has no disparity_head" in said
    assert "has no depth_head" in said
    first, second, third = (terms(f"run/{stage}") for stage in ("instances", "all_tasks", "large"))
    assert first[0].keys() & {"instance", "dice", "semantic", "depth"} == {"instance", "dice"}
    for log in (second, third):
        assert log[0].keys() & {"instance", "dice", "semantic", "depth"} == {"instance", "dice", "semantic", "depth"}
        assert any(row["depth"] > 0 for row in log)
    assert all(math.isfinite(value) for log in (first, second, third) for row in log for value in row.values())
    kinds = [load_model(f"run/{stage}/model").network.pixel_outputs for stage in ("instances", "all_tasks", "large")]
    assert [kind - {"class_logits", "centroid", "appearance"} for kind in kinds] == [set(), {"disparity"}, {"depth"}]
    model = load_model("run/model")
    assert model.predicts_depth
    frame = Perception(model, "torch", "cpu")(streets.image_and_label(0, load_class_table("coco"))[0])
    assert frame.depth is not None
    assert 0 < frame.depth.min() <= frame.depth.max() <= 10
    assert not Perception("run/all_tasks/model", "torch", "cpu").model.predicts_depth


def test_depth_alone_is_learned_and_selected_on_a_dataset_without_labels(elsewhere: Path) -> None:
    write_nyu("datasets/nyuv2/train/rgb/{}.jpg", "datasets/nyuv2/train/depth/{}.png")
    assert train("nyuv2", "run", data__validation="datasets/nyuv2/train") == 0
    assert {name for name in terms("run")[0] if name in ("instance", "semantic", "depth")} == {"depth"}
    score = load_model("run/model").training["score"]
    assert score.keys() == {"depth_rmse", "depth_abs_rel", "on"}


def test_the_city_is_learned_in_three_stages_for_one_camera(elsewhere: Path) -> None:
    assert train("city", "run", data__train="city:1000000x2/12@64x128", data__validation="city:500x1@64x128",
                 initial_backbone="") == 0
    model = load_model("run/model")
    assert {path.parent.name for path in Path("run").glob("*/checkpoint.pt")} == {"crops", "longer", "whole"}
    assert (model.method, model.classes) == ("centroid_embedding", load_class_table("cityscapes"))
    assert model.focal_length == 667.25
    assert model.training["score"].keys() >= {"pq", "depth_abs_rel"}


def test_cityscapes_takes_the_encoder_of_a_model_of_coco(streets: Any, elsewhere: Path) -> None:
    write_coco(streets, Path("datasets/coco/annotations"))
    keys = {"augmentation__longest_side": "128"}
    assert train("coco", "runs/centroid_embedding_coco", **keys) == 0
    for split in ("train", "val"):
        folder = Path(f"datasets/cityscapes/gtFine/{split}")
        folder.mkdir(parents=True)
        streets.write_coco(folder, load_class_table("cityscapes"), 4)
    changes = {f"data__{key}": f"datasets/cityscapes/gtFine/{split}/panoptic.json"
               for key, split in (("train", "train"), ("validation", "val"))}
    assert train("cityscapes", "run", **keys, **changes) == 0
    assert load_model("run/model").hyperparameters.grid == (160, 320)
