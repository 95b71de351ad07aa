"""The recipes as they stand, on tiny datasets that lie where and how the recipes expect them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from lightning_fabric import Fabric

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception
from training import tune
from training.recipe import load_recipe
from training.run import Run
from training.train import main

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
# What makes a recipe small; everything else is as it stands there.
EVERY_TINY = {
    "hyperparameters.backbone": "test_efficientnet", "input_size": "[64, 128]", "augmentation.crop": "[64, 64]",
    "augmentation.longest_side": "128", "pretrained": "false", "steps": "2", "batch_size": "2", "grad_accum_steps": "1",
    "schedule.warm_up": "0", "validation.every": "1", "validation.images": "2", "precision": "32-true"}
TINY = {
    "hle": {**EVERY_TINY, "hyperparameters.output_stride": "32", "hyperparameters.atrous_rates": "[1]",
            "hyperparameters.decoder_channels": "16", "objective.thomson": "false"},
    "dense_detections": {**EVERY_TINY, "hyperparameters.channels": "16", "hyperparameters.box_channels": "16",
                         "hyperparameters.class_channels": "16", "hyperparameters.tower_depth": "1"}}


def write_coco_layout(streets: Any, json_file: Path, pngs: Path, images: Path, table: str,
                      image_name: str = "street_{}.jpg", listed_name: str = "street_{}.jpg",
                      png_name: str = "street_{}.png") -> None:
    """Four images in COCO's panoptic format whose files lie and are named in somebody's own way."""
    made = json_file.parent / "made"
    made.mkdir(parents=True)
    streets.write_coco(made, load_class_table(table), 4)
    content = json.loads((made / "panoptic.json").read_text())
    for folder in (pngs, images):
        folder.mkdir(parents=True, exist_ok=True)
    for k, (image, annotation) in enumerate(zip(content["images"], content["annotations"], strict=True)):
        pixels = cv2.imread(str(made / image["file_name"]))
        cv2.imwrite(str(images / image_name.format(k)), pixels)
        (made / "panoptic" / annotation["file_name"]).rename(pngs / png_name.format(k))
        image["file_name"], annotation["file_name"] = listed_name.format(k), png_name.format(k)
    json_file.write_text(json.dumps(content))
    shutil.rmtree(made)


def write_cityscapes(streets: Any, root: Path) -> None:
    """As Cityscapes' own converter leaves it in gtFine."""
    for split in ("train", "val"):
        name = f"cityscapes_panoptic_{split}"
        write_coco_layout(streets, root / "gtFine" / f"{name}.json", root / "gtFine" / name,
                          root / "leftImg8bit" / split / "ulm", "cityscapes", "ulm_000000_{:06d}_leftImg8bit.png",
                          "ulm_000000_{:06d}_gtFine_leftImg8bit.png", "ulm_000000_{:06d}_gtFine_panoptic.png")


def write_coco_2017(streets: Any, root: Path) -> None:
    for split in ("train2017", "val2017"):
        name = root / "annotations" / f"panoptic_{split}"
        write_coco_layout(streets, name.with_suffix(".json"), name, root / split, "coco")


def write_vistas(streets: Any, root: Path) -> None:
    for split in ("training", "validation"):
        folder = root / split / "panoptic"
        write_coco_layout(streets, folder / "panoptic_2018.json", folder, root / split / "images", "mapillary_vistas")


def write_camvid(streets: Any, root: Path) -> None:
    classes = load_class_table("camvid")
    for split, names in {"train": ["0006R0_f00930", "0016E5_08000", "0016E5_08670"],
                         "val": ["0016E5_07959", "0016E5_07961"]}.items():
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        for k, name in enumerate(names):
            image, label = streets.image_and_label(k, classes)
            cv2.imwrite(str(root / split / f"{name}.jpg"), image[..., ::-1])
            cv2.imwrite(str(root / f"{split}annot" / f"{name}.png"), label.class_map(void=11))


DATASETS = {"cityscapes": write_cityscapes, "coco": write_coco_2017, "vistas": write_vistas, "camvid": write_camvid}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(recipe: str, out: str, method: str = "hle", **changes: str) -> int:
    keys = {**TINY[method], **{name.replace("__", "."): value for name, value in changes.items()}}
    return main(["--config", str(RECIPES / method / f"{recipe}.yaml"), "--out", out, "--workers", "0",
                 "--accelerator", "cpu", *(f"--{key}={value}" for key, value in keys.items())])


def terms(out: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in Path(out, "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("recipe", "dataset", "table"), [
    ("cityscapes", "cityscapes", "cityscapes"), ("coco", "coco", "coco"),
    ("mapillary_vistas", "vistas", "mapillary_vistas"), ("camvid", "camvid", "camvid"),
    ("camvid_cross_entropy", "camvid", "camvid")])
def test_a_recipe_starts_on_its_dataset_and_leaves_a_model_with_its_classes(
        streets: Any, elsewhere: Path, recipe: str, dataset: str, table: str) -> None:
    DATASETS[dataset](streets, elsewhere / "datasets" / dataset)
    assert train(recipe, "run") == 0
    classes = load_class_table(table)
    model = load_model("run/model")
    assert model.classes == classes
    has_things = bool(classes.thing_mask.any())
    assert model.training["score"].keys() == {"miou", "on", *(["pq", "pq_things", "pq_stuff"] if has_things else [])}
    [first, second] = terms("run")
    assert second["step"] == 2
    assert first["seg"] > 0
    # Without objects there is nothing for the instance terms to learn.
    assert (first["ins"] > 0, first["ins_var"] > 0) == (has_things, has_things)
    [frame] = Perception(model, "torch", "cpu")([CameraImage(streets.image_and_label(0, classes)[0], "rgb8")])
    assert frame.segment_map.shape == (64, 128)
    assert has_things or not frame.segments.is_thing.any()


@pytest.mark.parametrize(("recipe", "dataset", "table"), [
    ("cityscapes", "cityscapes", "cityscapes"), ("cityscapes_boxes", "cityscapes", "cityscapes"),
    ("coco", "coco", "coco"), ("cityscapes", "vistas", "mapillary_vistas"), ("cityscapes", "camvid", "camvid")])
def test_dense_detections_start_on_every_format_and_leave_a_model_with_its_classes(
        streets: Any, elsewhere: Path, recipe: str, dataset: str, table: str) -> None:
    DATASETS[dataset](streets, elsewhere / "datasets" / dataset)
    # Vistas and CamVid have no recipe of their own; of Cityscapes' only the data change.
    paths = {"vistas": ("vistas/training/panoptic", "vistas/validation/panoptic"),
             "camvid": ("camvid/train", "camvid/val")}.get(dataset, ())
    keys = ("data__train", "data__validation")
    changes = {key: f"datasets/{path}" for key, path in zip(keys, paths, strict=False)}
    assert train(recipe, "run", "dense_detections", **changes) == 0
    classes = load_class_table(table)
    model = load_model("run/model")
    assert (model.method, model.classes) == ("dense_detections", classes)
    [first, second] = terms("run")
    assert second["step"] == 2
    assert first["semantics"] > 0
    # Without things among the classes there are no boxes to learn; boxes alone teach no masks.
    of_boxes = {"box_reg", "center", "box_cls", "levelness"} if classes.thing_mask.any() else set()
    if of_boxes and recipe != "cityscapes_boxes":
        of_boxes.add("mask")
    assert first.keys() & {"box_reg", "center", "box_cls", "levelness", "mask"} == of_boxes
    assert all(np.isfinite(first[name]) for name in of_boxes)
    [frame] = Perception(model, "torch", "cpu")([CameraImage(streets.image_and_label(0, classes)[0], "rgb8")])
    assert frame.segment_map.shape == (64, 128)


SMALL_CITY = {"data__train": "city:1000000x2/12@64x128", "data__validation": "city:500x1@64x128"}


def test_hle_learns_the_city_in_three_stages(elsewhere: Path) -> None:
    assert train("city", "run", **SMALL_CITY) == 0
    assert len(list(Path("runs/cache/city").rglob("*.jpg"))) == 2
    model = load_model("run/model")
    assert (model.method, model.classes) == ("hle", load_class_table("cityscapes"))
    assert model.training["score"]["on"].startswith("city:500-500x1")
    assert {path.parent.name for path in Path("run").glob("*/checkpoint.pt")} == {"coarse", "full", "whole"}


def test_dense_detections_learn_the_city_from_the_backbone_of_hle_s_model(elsewhere: Path) -> None:
    assert train("city", "hle", **SMALL_CITY) == 0
    assert train("city", "run", "dense_detections", **SMALL_CITY, initial_backbone="hle/model") == 0
    model = load_model("run/model")
    assert (model.method, model.classes) == ("dense_detections", load_class_table("cityscapes"))
    assert model.hyperparameters.finest_stride == 4
    assert model.training["score"]["on"].startswith("city:500-500x1")


def test_what_is_near_camvids_validation_clip_is_not_trained_on(streets: Any, elsewhere: Path) -> None:
    write_camvid(streets, elsewhere / "datasets" / "camvid")
    recipe = load_recipe(RECIPES / "hle/camvid.yaml", [f"--{key}={value}" for key, value in TINY["hle"].items()])
    run = Run(recipe, elsewhere, Fabric(accelerator="cpu", devices=1))
    assert [entry.name for entry in run.samples().dataset.entries] == ["0006R0_f00930", "0016E5_08670"]
    assert [entry.name for entry in run.validation.entries] == ["0016E5_07959", "0016E5_07961"]


def test_a_model_without_things_is_tuned_by_mean_iou(streets: Any, elsewhere: Path) -> None:
    write_camvid(streets, elsewhere / "datasets" / "camvid")
    assert train("camvid", "run") == 0
    clip = "datasets/camvid/val"
    assert tune.main(["--model", "run/model", "--data", clip, "--score", clip, "--images", "2", "--trials", "2",
                      "--workers", "0"]) == 0
    score = load_model("run/model").training["score"]
    assert score.keys() == {"miou", "on"}
    assert np.isfinite(score["miou"])


def test_objects_alone_are_no_truth_to_train_on(
        streets: Any, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_camvid(streets, elsewhere / "datasets" / "camvid")
    (elsewhere / "drive" / "image_02").mkdir(parents=True)
    cv2.imwrite("drive/image_02/000000.png", np.zeros((64, 128, 3), np.uint8))
    (elsewhere / "drive" / "instances.txt").write_text("0 1000 1 64 128 P1R1\n")
    for key in ("data__train", "data__validation"):
        assert train("camvid", "run", **{key: "drive"}) == 2
        assert "drive has objects alone as its truth: training needs a class for every pixel" in capsys.readouterr().err
