"""A teacher's soft outputs and pseudo-labels as parts of a training run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from panoptic_ros.classes import VOID, ClassTable, load_class_table
from panoptic_ros.errors import InputError
from panoptic_ros.methods import hle
from panoptic_ros.model import Model, load_model
from training.augmentation import Augmentation
from training.distillation import Distillation, Teacher
from training.objectives.hle import Settings
from training.recipe import Recipe, TrainingData, Validation, load_recipe
from training.run import Run
from training.schedules import Schedule
from training.self_training import PseudoLabels, SelfTraining, UnlabelledImages, objects_of
from training.train import train

CPU = torch.device("cpu")


@pytest.fixture
def tiny(street_folder: Path) -> Recipe:
    return Recipe(
        TrainingData(str(street_folder)), "hle",
        hle.Hyperparameters("test_efficientnet", output_stride=32, atrous_rates=(1,), decoder_channels=16),
        Settings(thomson=False), input_size=(64, 128), augmentation=Augmentation(crop=(64, 96), scale=(0.8, 1.2)),
        batch_size=2, steps=4, schedule=Schedule(warm_up=1), validation=Validation(every=0), precision="32-true")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Images without labels, in folders."""
    (tmp_path / "drive/camera").mkdir(parents=True)
    for k in range(3):
        random = np.random.default_rng(k).integers(0, 256, (64, 128, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"drive/camera/{k}.jpg"), random)
    return tmp_path / "drive"


def cpu() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(out / "checkpoint.pt", weights_only=True)["objective"])


class Outputs(torch.nn.Module):
    """A network that finds a road (score 0.9) on the left and a car (0.6) on the right."""

    stride, pixel_outputs = 32, frozenset({"map"})

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"map": torch.zeros(len(image), 1, 16, 16)}

    def decode_parameters(self) -> dict[str, torch.Tensor]:
        return {}


@pytest.fixture
def road_and_car(monkeypatch: pytest.MonkeyPatch) -> Model:
    from panoptic_ros.decoding.segments import Decoded, make_segments
    from panoptic_ros.methods import METHODS

    classes = ClassTable("two", ("road", "car"), (False, True), ((0, 0, 0), (9, 9, 9)))

    def decode(outputs: dict[str, torch.Tensor], is_thing: torch.Tensor, thresholds: Any, size: tuple[int, int],
               with_semantics: bool = False) -> Decoded:
        segment_map = torch.ones(size, dtype=torch.int32)
        segment_map[:, size[1] // 2:] = 2
        return Decoded.of_images([(*make_segments(segment_map, torch.tensor([0, 1]), is_thing, torch.tensor([0.9, 0.6]),
                                                  None), None)] * len(outputs["map"]))

    monkeypatch.setitem(METHODS, "hle", dataclasses.replace(METHODS["hle"], decode=decode))
    return Model("hle", None, Outputs(), classes, (64, 64), (0, 0, 0), (1, 1, 1), None, "", {})


def unlabelled(beyond: int = 0) -> dict[str, Any]:
    class_map = torch.zeros(1, 64, 64, dtype=torch.uint8)
    class_map[:, 64 - beyond:] = VOID
    return {"image": torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8), "class_map": class_map}


def test_segments_that_are_not_sure_and_what_lies_beyond_the_image_are_void(road_and_car: Model) -> None:
    labels = PseudoLabels(SelfTraining("x", confidence=0.7, class_balanced=False), road_and_car, CPU)
    batch, share = labels.batch(unlabelled(beyond=16), Outputs(), 0)
    assert batch["class_map"][0, 0].tolist() == [0] * 32 + [VOID] * 32
    assert (batch["class_map"][0, 48:] == VOID).all()
    assert share == pytest.approx(0.5 * 0.75)
    assert not batch["instance_map"].any()
    assert len(batch["objects"].number) == 0


def test_class_balanced_a_class_of_low_scores_has_a_lower_threshold(road_and_car: Model) -> None:
    labels = PseudoLabels(SelfTraining("x", confidence=0.7), road_and_car, CPU)
    assert labels.thresholds()[1] == pytest.approx(0.7)
    for _ in range(150):
        batch, _ = labels.batch(unlabelled(), Outputs(), 0)
    assert labels.thresholds()[1] < 0.55
    assert (batch["class_map"][0, :, 32:] == 1).all()
    objects = batch["objects"]
    assert (objects.class_id.tolist(), objects.box.tolist()) == ([1], [[32, 0, 64, 64]])
    assert objects.cut.tolist() == [[False, True, True, True]]
    assert (batch["instance_map"][0, 0] == objects.number[0]).tolist() == [False] * 32 + [True] * 32


def test_the_student_sees_other_colours_than_the_teacher_the_same_for_a_seed(road_and_car: Model) -> None:
    labels = PseudoLabels(SelfTraining("x"), road_and_car, CPU)
    given = unlabelled()
    first, again, other = (labels.batch(given, Outputs(), seed)[0]["image"] for seed in (1, 1, 2))
    assert not torch.equal(first, given["image"])
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_objects_of_several_images_keep_their_numbers() -> None:
    instance_map = torch.zeros(2, 8, 8, dtype=torch.int64)
    instance_map[0, 2:4, 2:6], instance_map[1, :, :3] = 5, 2
    objects = objects_of(torch.where(instance_map > 0, 13, 0), instance_map)
    assert objects.image.tolist() == [0, 1]
    assert objects.number.tolist() == [5, 2]
    assert objects.box.tolist() == [[2, 2, 6, 4], [0, 0, 3, 8]]
    assert objects.cut.tolist() == [[False] * 4, [True, True, False, True]]


def test_unlabelled_images_are_of_a_folder_or_a_dataset_whose_labels_are_hidden(pictures: Path,
                                                                                street_folder: Path) -> None:
    classes, empty = load_class_table("cityscapes"), pictures / "empty"
    empty.mkdir()
    for path, count in ((pictures, 3), (street_folder, 4)):
        images = UnlabelledImages(str(path), classes)
        assert len(images) == count
        assert images.image(0).shape == (64, 128, 3)
        assert images.label(0).class_id.tolist() == [0]
    with pytest.raises(InputError, match="neither a dataset nor a folder with images"):
        UnlabelledImages(str(empty), classes)


@pytest.mark.parametrize("teacher", ["mean teacher", "of another method"])
def test_a_run_learns_from_unlabelled_images_and_goes_on_after_an_interruption_alike(
        teacher: str, tiny: Recipe, pictures: Path, dense_model: Path, tmp_path: Path) -> None:
    settings = SelfTraining(str(pictures), "" if teacher == "mean teacher" else str(dense_model), batch_size=2, start=1,
                            confidence=0.0)
    recipe = dataclasses.replace(tiny, self_training=settings, augmentation=Augmentation(crop=(64, 128)))
    assert train(recipe, tmp_path / "whole", cpu(), 0, Event())
    lines = log(tmp_path / "whole")
    assert "unlabelled" not in lines[0]
    assert {"unlabelled", "pseudo_labelled"} <= lines[1].keys()
    if teacher != "mean teacher":
        assert all(line["pseudo_labelled"] > 0 for line in lines[1:])
    stop = Event()
    stop.set()  # after one step
    while not train(recipe, tmp_path / "parts", cpu(), 0, stop):
        pass
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    train(dataclasses.replace(recipe, self_training=SelfTraining()), tmp_path / "plain", cpu(), 0, Event())
    plain = weights(tmp_path / "plain")
    if teacher != "mean teacher":
        assert not all(torch.equal(value, plain[name]) for name, value in whole.items())


def test_soft_outputs_of_a_teacher_draw_the_student_s_maps_to_them(tiny: Recipe, tmp_path: Path) -> None:
    assert train(tiny, tmp_path / "teacher", cpu(), 0, Event())
    recipe = dataclasses.replace(tiny, distillation=Distillation(str(tmp_path / "teacher/model"), 20.0), seed=1,
                                 steps=12)
    assert train(recipe, tmp_path / "student", cpu(), 0, Event())
    terms = [line["distillation"] for line in log(tmp_path / "student")]
    assert sum(terms[-3:]) < 0.9 * sum(terms[:3])
    assert not any("teacher" in name for name in weights(tmp_path / "student"))
    assert load_model(tmp_path / "student/model").method == "hle"


def test_logits_are_compared_as_distributions_and_other_maps_by_distance(tiny: Recipe, tmp_path: Path) -> None:
    train(dataclasses.replace(tiny, steps=1), tmp_path, cpu(), 0, Event())
    model = load_model(tmp_path / "model")
    teacher = Teacher(Distillation(str(tmp_path / "model"), temperature=1), "hle", model.classes, model.mean, model.std,
                      CPU)
    one = torch.tensor([[0.0, 0.0]]).view(1, 2, 1, 1)
    other = torch.tensor([[0.0, 1.0986123]]).view(1, 2, 1, 1)  # 1/4 and 3/4
    expected = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    assert float(teacher.loss({"a_logits": one}, {"a_logits": other})) == pytest.approx(expected, rel=1e-4)
    assert float(teacher.loss({"seed": one}, {"seed": one + 3.0})) == pytest.approx(2 * 2.5)
    with pytest.raises(InputError, match="the same stride"):
        teacher.loss({"seed": one}, {"seed": torch.zeros(1, 2, 2, 2)})


def test_a_teacher_that_does_not_fit_is_refused(tiny: Recipe, dense_model: Path, pictures: Path,
                                                tmp_path: Path) -> None:
    other = dataclasses.replace(tiny, distillation=Distillation(str(dense_model)))
    with pytest.raises(InputError, match="of the method dense_detections"):
        Run(other, tmp_path, cpu())
    with pytest.raises(InputError, match="set ema_decay"):
        dataclasses.replace(tiny, self_training=SelfTraining(str(pictures)), ema_decay=0)
    labels = PseudoLabels(SelfTraining(str(pictures), str(dense_model)), Run(tiny, tmp_path, cpu()).model(), CPU)
    with pytest.raises(InputError, match="the stride of the teacher"):
        labels.batch({"image": torch.zeros(1, 3, 48, 64, dtype=torch.uint8)}, None, 0)


def test_a_recipe_file_may_have_both(tmp_path: Path, street_folder: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"data: {{train: {street_folder}}}\ndistillation: {{teacher: city, weight: 2}}\n"
                    "self_training: {data: images, confidence: 0.8}\n")
    recipe = load_recipe(file, ["--self_training.batch_size", "3"])
    assert recipe.distillation == Distillation("city", 2.0)
    assert (recipe.self_training.data, recipe.self_training.confidence, recipe.self_training.batch_size) == (
        "images", 0.8, 3)
