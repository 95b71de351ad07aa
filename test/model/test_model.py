"""Model folders: what is saved is loaded, and what does not fit is refused with the reason."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from panoptic_ros.errors import InputError
from panoptic_ros.methods import METHODS, dense_detections, hle
from panoptic_ros.model import load_model, save_model


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def edit(folder: Path, **changes: object) -> None:
    text = yaml.safe_load((folder / "model.yaml").read_text())
    (folder / "model.yaml").write_text(yaml.safe_dump({**text, **changes}))


def test_a_saved_model_is_loaded_as_it_was(model_folder: Path, tmp_path: Path) -> None:
    model = load_model(model_folder)
    save_model(model, tmp_path / "again")
    again = load_model(tmp_path / "again")
    image = torch.randn(1, 3, 64, 128)
    with torch.no_grad():
        for name, output in model.network(image).items():
            assert torch.equal(output, again.network(image)[name])
    assert (again.classes, again.thresholds, again.input_size) == (model.classes, model.thresholds, model.input_size)
    assert model.model_id.startswith("tiny@")
    assert model.model_id.split("@")[1] == again.model_id.split("@")[1]


def test_thresholds_and_hyperparameters_by_names_of_an_earlier_version_are_loaded(
        copy: Path, dense_model: Path, tmp_path: Path) -> None:
    edit(copy, thresholds={"seed": 0.3, "instances": 7})
    assert load_model(copy).thresholds == hle.Thresholds(seed=0.3, max_instances=7)

    dense = Path(shutil.copytree(dense_model, tmp_path / "dense"))
    hyperparameters = yaml.safe_load((dense / "model.yaml").read_text())["hyperparameters"]
    depth = hyperparameters.pop("tower_depth")
    edit(dense, hyperparameters={**hyperparameters, "depth": depth},
         thresholds={"suppression": 0.4, "instances": 9, "mask_score": "generalised"})
    model = load_model(dense)
    assert model.thresholds == dense_detections.Thresholds(nms_iou=0.4, max_instances=9, mask_score="giou")
    assert model.hyperparameters.tower_depth == depth == 1
    save_model(model, tmp_path / "again")
    written = yaml.safe_load((tmp_path / "again/model.yaml").read_text())
    assert {"nms_iou", "max_instances"} <= written["thresholds"].keys()
    assert not {"suppression", "instances"} & written["thresholds"].keys()


@pytest.mark.parametrize("method", METHODS)
def test_names_of_an_earlier_version_stand_for_fields_that_are_there(method: str) -> None:
    for kind in (METHODS[method].hyperparameters, METHODS[method].thresholds):
        names, renamed = {field.name for field in fields(kind)}, getattr(kind, "renamed", {})
        assert set(renamed.values()) <= names
        assert not set(renamed) & names


def test_a_model_predicts_depth_where_its_network_says_so(model_folder: Path) -> None:
    model = load_model(model_folder)
    assert not model.predicts_depth
    model.network.pixel_outputs = ("embedding", "depth")
    assert model.predicts_depth


def test_other_weights_have_another_id(copy: Path) -> None:
    before = load_model(copy).model_id
    state = load_file(copy / "weights.safetensors")
    save_file({**state, "head.bias": state["head.bias"] + 1}, copy / "weights.safetensors")
    assert load_model(copy).model_id != before


def test_a_folder_that_is_not_there_is_named_with_the_shipped_models() -> None:
    with pytest.raises(InputError, match="nowhere.*shipped model"):
        load_model("nowhere")


@pytest.mark.parametrize("name", ["model.yaml", "weights.safetensors"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"has no {name}"):
        load_model(copy)


def test_damaged_weights_are_refused(copy: Path) -> None:
    file = copy / "weights.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match="not a safetensors file, or is damaged"):
        load_model(copy)


def test_missing_wrong_shaped_and_unexpected_tensors_are_counted_and_the_first_is_named(copy: Path) -> None:
    state = load_file(copy / "weights.safetensors")
    del state["head.bias"]
    state["class_mean"] = state["class_mean"][:3].contiguous()
    save_file({**state, "intruder": torch.zeros(1)}, copy / "weights.safetensors")
    with pytest.raises(InputError) as error:
        load_model(copy)
    for part in ("1 missing (first: head.bias)", "1 unexpected (first: intruder)", "1 of the wrong shape",
                 "class_mean is (3, 12) and should be (19, 12)"):
        assert part in str(error.value)


def test_weights_that_are_not_finite_are_refused(copy: Path) -> None:
    state = load_file(copy / "weights.safetensors")
    save_file({**state, "head.bias": state["head.bias"] * float("nan")}, copy / "weights.safetensors")
    with pytest.raises(InputError, match="not finite, first in head.bias"):
        load_model(copy)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"method": "magic"}, "'magic' is not one of"),
    ({"hyperparameters": {"backbnoe": "resnet50"}}, "unknown backbnoe; known are"),
    ({"thresholds": {"sead": 1}}, "unknown sead"),
    ({"classes": {"name": "x"}}, "class table"),
    ({"input_size": "large"}, "not a model description"),
    ({"input_size": [16, 64]}, "at least 32 x 32"),
    ({"mean": [0.5]}, "three values"),
])
def test_a_wrong_description_is_refused_with_the_reason(copy: Path, changes: dict[str, object], reason: str) -> None:
    edit(copy, **changes)
    with pytest.raises(InputError, match=reason):
        load_model(copy)


def test_a_description_that_is_no_yaml_is_refused(copy: Path) -> None:
    (copy / "model.yaml").write_text("method: [")
    with pytest.raises(InputError, match="not a model description"):
        load_model(copy)


def test_input_shapes_keep_the_aspect_ratio_and_the_number_of_pixels(copy: Path) -> None:
    edit(copy, input_size=[512, 1024])
    model = load_model(copy)
    assert model.input_shape(512, 1024) == (512, 1024)
    assert model.input_shape(1024, 2048) == (512, 1024)
    assert model.input_shape(375, 1242) == (384, 1376)
    assert model.input_shape(540, 960) == (544, 960)
    assert model.input_shape(1, 100_000)[0] == 32


def test_a_backbone_that_timm_does_not_have_is_named_with_those_that_are_near(copy: Path) -> None:
    text = yaml.safe_load((copy / "model.yaml").read_text())
    edit(copy, hyperparameters={**text["hyperparameters"], "backbone": "mobilenetv2_05"})
    with pytest.raises(InputError, match="model.yaml: timm has no backbone 'mobilenetv2_05'; near are .*_050"):
        load_model(copy)


def test_a_variance_beyond_half_precision_is_kept(model_folder: Path, tmp_path: Path) -> None:
    model = load_model(model_folder)
    name = next(name for name, _ in model.network.named_buffers() if name.endswith("running_var"))
    model.network.get_buffer(name).fill_(1e6)
    save_model(model, tmp_path / "model")
    assert (load_model(tmp_path / "model").network.get_buffer(name) == 1e6).all()


def test_weights_that_are_not_finite_are_not_written_over_those_that_are(model_folder: Path, tmp_path: Path) -> None:
    model = load_model(model_folder)
    save_model(model, tmp_path / "model")
    before = (tmp_path / "model/weights.safetensors").read_bytes()
    with torch.no_grad():
        model.network.head.bias[0] = 1e6  # infinite in half precision
    with pytest.raises(InputError, match="head.bias has values that are not finite in half precision"):
        save_model(model, tmp_path / "model")
    assert (tmp_path / "model/weights.safetensors").read_bytes() == before


@pytest.mark.parametrize(("name", "content", "told"), [
    ("weights.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 1\n", "git lfs pull"),
    ("model.yaml", b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 1\n", "git lfs pull"),
    ("weights.safetensors", b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
    ("weights.safetensors", b"", "cut off after 0 bytes"),
    ("weights.safetensors", (1 << 62).to_bytes(8, "little") + b"{}", "damaged or cut off after 10 bytes"),
    ("weights.safetensors", (2).to_bytes(8, "little") + b"{}" + b"x" * 9, "damaged"),
])
def test_what_lies_in_the_place_of_a_file_is_named_with_what_to_do(
        model_folder: Path, tmp_path: Path, name: str, content: bytes, told: str) -> None:
    copy = shutil.copytree(model_folder, tmp_path / "model")
    (copy / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        load_model(copy)


def test_a_description_that_an_editor_of_windows_wrote_is_read(model_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model_folder, tmp_path / "mit leer ü")
    text = (copy / "model.yaml").read_text()
    (copy / "model.yaml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_model(copy).method == "hle"


def test_a_file_in_the_place_of_the_folder_is_told_what_to_give(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a file: give the folder"):
        load_model(model_folder / "model.yaml")
    (tmp_path / "weights.pth").write_bytes(b"PK")
    with pytest.raises(InputError, match="checkpoints with pickles are not loaded"):
        load_model(tmp_path / "weights.pth")
