"""The method universal gives what the library that it wraps gives: network, post-processing, loss."""

from __future__ import annotations

import io
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from panoptic_ros.classes import ClassTable
from panoptic_ros.engines import build_engine
from panoptic_ros.errors import InputError
from panoptic_ros.methods import universal
from panoptic_ros.model import Model, load_model, save_model
from training.objectives.universal import Settings, UniversalObjective, mask_targets

pytest.importorskip("transformers")

_NAMES = runpy.run_path(str(Path(__file__).parents[1] / "universal_configs.py"))
CONFIGS, TASK_TOKENS = _NAMES["CONFIGS"], _NAMES["TASK_TOKENS"]
CLASSES = ClassTable("five", ("road", "sky", "car", "person", "tree"), (False, False, True, True, False),
                     tuple((40 * k, 0, 0) for k in range(5)))
IS_THING = torch.tensor(CLASSES.is_thing)
ARCHITECTURES = sorted(CONFIGS)


def hyperparameters(architecture: str) -> universal.Hyperparameters:
    return universal.Hyperparameters(architecture, CONFIGS[architecture], TASK_TOKENS.get(architecture, ()))


def network_of(architecture: str) -> universal.Network:
    torch.manual_seed(0)
    return universal.Network(hyperparameters(architecture), CLASSES.is_thing).eval()


def library_model(architecture: str) -> Any:
    from transformers import AutoConfig, AutoModelForUniversalSegmentation

    torch.manual_seed(1)
    config = AutoConfig.for_model(architecture, num_labels=5, **CONFIGS[architecture])
    return AutoModelForUniversalSegmentation.from_config(config).eval()


def random_outputs(queries: int = 30, size: tuple[int, int] = (16, 32), seed: int = 0) -> dict[str, Tensor]:
    """Blobs of all sizes with classes of all certainties."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(2, queries, 5, 9, generator=random) * 6 - 3
    masks = torch.nn.functional.interpolate(coarse, size, mode="bicubic")
    return {"class_logits": torch.randn(2, queries, 6, generator=random) * 4, "mask_logits": masks,
            "query_embedding": torch.randn(2, queries, 8, generator=random)}


def library_segments(rule: str, outputs: dict[str, Tensor], settings: dict[str, float],
                     size: tuple[int, int]) -> list[tuple[Tensor, list[dict[str, Any]]]]:
    """(H, W) ids and the segments of each image, as the library's image processor gives them.

    Mask2Former's and OneFormer's are fused here and not there, where numbers are given twice after a fused segment.
    """
    import transformers

    kind = {"mask2former": "Mask2FormerImageProcessor", "oneformer": "OneFormerImageProcessor",
            "eomt": "EomtImageProcessor"}[rule]
    given = SimpleNamespace(class_queries_logits=outputs["class_logits"].clone(),
                            masks_queries_logits=outputs["mask_logits"].clone())
    keywords: dict[str, Any] = {"threshold": settings["score"], "mask_threshold": settings["mask"],
                                "overlap_mask_area_threshold": settings["overlap"], "target_sizes": [size, size]}
    stuff = {0, 1, 4}
    if rule == "eomt":
        height, width = (4 * side for side in outputs["mask_logits"].shape[2:])
        processor = transformers.EomtImageProcessor()
        found = processor.post_process_panoptic_segmentation(
            given, stuff_classes=list(stuff), size={"shortest_edge": height, "longest_edge": width}, **keywords)
        return [(one["segmentation"] + 1, [{**row, "id": row["id"] + 1} for row in one["segments_info"]])
                for one in found]
    processor = {} if rule == "mask2former" else {"repo_path": None, "class_info_file": None}
    found = getattr(transformers, kind).post_process_panoptic_segmentation(
        SimpleNamespace(**processor), given, label_ids_to_fuse=set(), **keywords)
    fused = []
    for one in found:
        ids, rows, first = one["segmentation"].clamp(min=0), [], {}
        for row in one["segments_info"]:
            if row["label_id"] in first:
                ids[ids == row["id"]] = first[row["label_id"]]
            else:
                rows.append(row)
                if row["label_id"] in stuff:
                    first[row["label_id"]] = row["id"]
        fused.append((ids, rows))
    return fused


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("rule", ARCHITECTURES)
def test_the_decode_is_the_library_s_post_processing(rule: str, overlap: float) -> None:
    size, seen, fused = (64, 128), 0, 0
    for seed in range(4):
        outputs = random_outputs(seed=seed)
        settings = {"score": 0.4, "mask": 0.4, "overlap": overlap}
        decoded = universal.decode(outputs, IS_THING, universal.Thresholds(rule=rule, **settings), size)
        for b, (ids, rows) in enumerate(library_segments(rule, outputs, settings, size)):
            ours, segments = decoded.segment_map[b].long(), decoded.segments[b]
            assert len(segments) == len(rows)
            table = torch.zeros(len(rows) + 1, dtype=torch.long)
            for row in rows:
                (number,) = ours[ids == row["id"]].unique().tolist()  # one of ours for each of theirs
                assert number > 0
                table[number] = row["id"]
                assert int(segments.class_id[number - 1]) == row["label_id"]
                assert abs(float(segments.score[number - 1]) - row["score"]) < 1e-6
            assert torch.equal(table[ours], ids.long())
            seen += len(rows)
            wins = outputs["class_logits"][b].argmax(1)
            fused += sum(int((wins == k).sum()) > 1 for k in (0, 1, 4))
    assert seen >= 6
    assert fused


@pytest.mark.parametrize("rule", ARCHITECTURES)
def test_at_the_network_s_resolution_little_else_is_found(rule: str) -> None:
    outputs = random_outputs()
    exact, fast = (universal.decode(outputs, IS_THING, universal.Thresholds(rule=rule, overlap=0.02,
                                                                            full_resolution=full), (64, 128))
                   for full in (True, False))
    for b in range(2):
        classes = [torch.cat([torch.tensor([255]), one.segments[b].class_id])[one.segment_map[b].long()]
                   for one in (exact, fast)]
        assert (classes[0] == classes[1]).float().mean() > 0.8


def test_a_segment_has_its_query_s_embedding_and_stuff_is_one_segment_for_each_class() -> None:
    class_logits = torch.full((1, 4, 6), -9.0)
    for query, class_id in enumerate((0, 2, 0, 5)):  # road, car, road, nothing
        class_logits[0, query, class_id] = 9 - query
    mask_logits = torch.full((1, 4, 8, 8), -9.0)
    mask_logits[0, 0, :, :2] = mask_logits[0, 1, :, 2:4] = mask_logits[0, 2, :, 4:6] = 9.0
    mask_logits[0, 3] = 20.0
    embedding = torch.randn(1, 4, 3)
    decoded = universal.decode({"class_logits": class_logits, "mask_logits": mask_logits,
                                "query_embedding": embedding}, IS_THING, universal.Thresholds(rule="eomt"), (8, 8))
    segments = decoded.segments[0]
    assert segments.class_id.tolist() == [2, 0]
    assert decoded.segment_map[0, 0].tolist() == [2, 2, 1, 1, 2, 2, 0, 0]
    assert segments.embedding is not None
    torch.testing.assert_close(segments.embedding, torch.nn.functional.normalize(embedding[0, [1, 0]], dim=1))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_network_gives_what_the_library_s_model_gives(architecture: str) -> None:
    library, network = library_model(architecture), network_of(architecture)
    network.load_library_state(library.state_dict())
    image = torch.randn(2, 3, 64, 64)
    keywords = {"task_inputs": network.task_tokens.expand(2, -1)} if architecture == "oneformer" else {}
    with torch.no_grad():
        expected, outputs = library(pixel_values=image, **keywords), network(image)
    torch.testing.assert_close(outputs["class_logits"], expected.class_queries_logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(outputs["mask_logits"], expected.masks_queries_logits, atol=1e-4, rtol=1e-5)
    # The embedding is what the class is predicted from, up to a normalisation.
    assert outputs["query_embedding"].shape == (2, 20, 32)


# The sweep of all methods has EoMT; OneFormer has the parts of Mask2Former.
def test_openvino_runs_mask2former_as_torch_does() -> None:
    pytest.importorskip("openvino")
    network, image = network_of("mask2former"), torch.randn(1, 3, 64, 96)
    expected = build_engine(network, "torch", "cpu", "single")(image)
    outputs = build_engine(network, "openvino", precision="single")(image)
    for name, output in expected.items():
        torch.testing.assert_close(outputs[name], output, atol=1e-3, rtol=1e-3, msg=name)


@pytest.mark.parametrize("architecture", ["mask2former", "oneformer"])
def test_onnx_runtime_runs_them_as_torch_does(architecture: str) -> None:
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    network, image, file = network_of(architecture), torch.randn(1, 3, 64, 96), io.BytesIO()

    class AsTuple(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.network(image).values())

    with torch.no_grad():
        expected = network(image)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(AsTuple().eval(), (image + 1,), file, dynamo=False, opset_version=17)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    values = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    for name, value in zip(expected, values, strict=True):
        torch.testing.assert_close(torch.from_numpy(value), expected[name], atol=1e-3, rtol=1e-3, msg=name)


def test_eomt_takes_images_of_any_shape_and_remembers_none() -> None:
    network = network_of("eomt")
    square, wide = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 32, 128)
    with torch.no_grad():
        before, other, after = network(square), network(wide), network(square)
    assert other["mask_logits"].shape == (1, 20, 8, 32)
    assert torch.equal(before["mask_logits"], after["mask_logits"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_is_saved_and_loaded(architecture: str, tmp_path: Path) -> None:
    network = network_of(architecture)
    save_model(Model("universal", hyperparameters(architecture), network, CLASSES, (64, 64), network.mean, network.std,
                     universal.Thresholds(rule=architecture), "", {}), tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = network(image), loaded.network(image)
    # Half precision; single pixels may differ by more, where the attention is masked by a prediction.
    assert (ours["mask_logits"] - theirs["mask_logits"]).abs().median() < 0.05


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_library_s_loss_falls_when_it_is_minimised(architecture: str) -> None:
    network = network_of(architecture)
    objective = UniversalObjective(network, Settings(), CLASSES)
    class_map = torch.zeros(1, 64, 64, dtype=torch.uint8)
    class_map[:, :20] = 1
    class_map[:, 30:50, 10:40] = 2
    instance_map = (class_map == 2).int()
    batch, image = {"class_map": class_map, "instance_map": instance_map}, torch.randn(1, 3, 64, 64)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    totals = []
    for _ in range(25):
        terms = objective.train()(image, batch)
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
        totals.append(float(terms["total"].detach()))
    assert sum(totals[-3:]) < 0.9 * sum(totals[:3])
    assert set(terms) == {"total", "cross_entropy", "mask", "dice"}


def test_terms_are_weighted_by_the_settings() -> None:
    class_map = torch.zeros(1, 64, 64, dtype=torch.uint8)
    batch, image = {"class_map": class_map, "instance_map": class_map.int()}, torch.randn(1, 3, 64, 64)
    network = network_of("eomt")
    objective = UniversalObjective(network, Settings(cross_entropy=3.0, mask=0.0, dice=0.0), CLASSES).eval()
    terms = objective(image, batch)
    torch.testing.assert_close(terms["total"].detach(), terms["cross_entropy"])
    assert float(terms["mask"]) == float(terms["dice"]) == 0


def test_targets_are_instances_and_stuff_without_crowds_and_void() -> None:
    class_map = torch.tensor([[[0, 2, 2], [255, 2, 4]]], dtype=torch.uint8)
    instance_map = torch.tensor([[[0, 1, 2], [0, 0, 0]]])
    masks, classes = mask_targets(class_map, instance_map, IS_THING)
    rows = {(int(c), tuple(m.flatten().tolist())) for c, m in zip(classes[0], masks[0], strict=True)}
    assert rows == {(0, (1, 0, 0, 0, 0, 0)), (2, (0, 1, 0, 0, 0, 0)), (2, (0, 0, 1, 0, 0, 0)), (4, (0, 0, 0, 0, 0, 1))}


def test_a_copy_of_an_image_with_its_queries_in_another_order_is_averaged_with_it() -> None:
    outputs = {name: output[:1] for name, output in random_outputs(12, (8, 8)).items()}

    class Shuffling:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, image: Tensor) -> dict[str, Tensor]:
            order = torch.randperm(12, generator=torch.Generator().manual_seed(self.calls))
            self.calls += 1
            return {name: output[:, order] for name, output in outputs.items()}

    averaged = universal.test_time_augmentation(Shuffling(), torch.zeros(1, 3, 32, 32), (1.0, 1.0, 1.0), False, 32)
    order = outputs["class_logits"].softmax(2)[..., :-1].amax(2).argsort(1, descending=True)[0]
    torch.testing.assert_close(averaged["class_logits"].softmax(2), outputs["class_logits"][:, order].softmax(2),
                               atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(averaged["mask_logits"].sigmoid(), outputs["mask_logits"][:, order].sigmoid(),
                               atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("make", "text"), [
    (lambda: universal.Hyperparameters("maskformer"), "must be one of mask2former, oneformer, eomt"),
    (lambda: universal.Network(universal.Hyperparameters("eomt", {"hidden_size": "wide"}), [True]), "of this config"),
    (lambda: universal.Network(universal.Hyperparameters("oneformer", CONFIGS["oneformer"]), [True]), "task_tokens"),
    (lambda: universal.Network(universal.Hyperparameters(), [True], True), "panoptic-ros fetch"),
    (lambda: universal.Thresholds(rule="maskformer"), "must be one of"),
])
def test_what_cannot_be_made_says_why(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()


def test_the_package_works_without_transformers() -> None:
    program = ("import sys; sys.modules['transformers'] = None\n"
               "from panoptic_ros.methods import METHODS\n"
               "from panoptic_ros.errors import InputError\n"
               "row = METHODS['universal']\n"
               "try: row.network(row.hyperparameters(), [True])\n"
               "except InputError as error: print(error)\n")
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, timeout=120)
    assert "pip install 'panoptic-ros[universal]'" in done.stdout, done.stderr
