"""What every method keeps: one test for each line of the contract, swept over all methods."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor
from torchvision.ops import batched_nms

from panoptic_ros.engines import build_engine
from panoptic_ros.engines.onnx_graph import export_onnx
from panoptic_ros.methods import METHODS, Decoded
from panoptic_ros.model import Model, load_model, save_model
from training.augmentation import Augmentation, as_sample
from training.batches import collate
from training.objectives import OBJECTIVES, Objective

SIZE = (64, 128)
CLASS_IS_THING = [False, False, True, True, False]


def random_image(batch: int = 1, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def outputs_of(model: Model, image: Tensor) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = model.network(image)
    return outputs


def eager(model: Model) -> Any:
    """The method's thresholds, so low that random outputs give segments of all kinds."""
    low = {row.name: row.metadata["range"][0] for row in dataclasses.fields(model.thresholds)
           if isinstance(row.default, float) and row.name in ("seed", "mask", "stuff", "score")}
    if model.method == "universal":  # its `overlap` is the share that must be left, not the share that may be hidden
        low["overlap"] = 0.0
    return dataclasses.replace(model.thresholds, **{name: value + 1e-3 for name, value in low.items()})


def objective_of(model: Model) -> Objective:
    kind = OBJECTIVES[model.method]
    return kind(model.network, kind.settings_type(), model.classes)


def has_loss_of_outputs(model: Model) -> bool:
    """Whether the objective computes its loss from the network's outputs; universal's is the library's, inside its
    forward, from points that are drawn at random."""
    return OBJECTIVES[model.method].loss is not Objective.loss


def batch_of(model: Model, class_maps: Tensor, instance_maps: Tensor) -> dict[str, Any]:
    """A batch of these maps (B, h, w), made by the augmentation that training makes it by."""
    plain = Augmentation(crop=SIZE, scale=(1, 1), around_things=0, flip=0, brightness=0, contrast=0, saturation=0,
                         hue=0)
    samples = []
    for class_map, instance_map in zip(class_maps.numpy(), instance_maps.numpy(), strict=True):
        image = torch.randint(0, 256, (1, *SIZE, 3), dtype=torch.uint8).numpy()
        depth, focal = torch.full((1, *SIZE), 8.0).numpy(), torch.full((1,), 90.0).numpy()
        with_depth = (depth, focal) if OBJECTIVES[model.method].uses_depth else (None, None)
        sample = plain.transform()(as_sample(image, class_map[None], instance_map[None], *with_depth))
        samples.append({**{name: value[0].as_subclass(Tensor) if isinstance(value, Tensor) else value[0]
                           for name, value in sample.items()}, "clip": torch.tensor(len(samples))})
    return collate(samples)


def street() -> tuple[Tensor, Tensor]:
    """Two images: a car and a person on a road below the sky; the same road and sky without them."""
    class_map, instance_map = torch.zeros(2, *SIZE, dtype=torch.uint8), torch.zeros(2, *SIZE, dtype=torch.int32)
    class_map[:, :20] = 1
    class_map[0, 30:50, 40:90], instance_map[0, 30:50, 40:90] = 2, 1
    class_map[0, 24:60, 100:112], instance_map[0, 24:60, 100:112] = 3, 7
    return class_map, instance_map


def test_a_network_declares_its_stride_its_maps_and_its_layers(model: Model) -> None:
    network = model.network
    outputs = outputs_of(model, random_image(2))
    assert network.pixel_outputs <= outputs.keys()
    for name in network.pixel_outputs:
        batch, _, height, width = outputs[name].shape
        assert batch == 2
        assert SIZE[0] % height == SIZE[1] % width == 0, name
        assert SIZE[0] // height == SIZE[1] // width, name
    assert network.stride >= 1
    assert len(network.mean) == len(network.std) == 3
    names = [name for name, _ in network.named_parameters()]
    layers = network.layers()
    assert sorted(name for layer in layers.values() for name in layer) == sorted(names)
    assert list(layers)[0] == "stem"
    assert list(layers)[-1] == "head"
    assert network.no_weight_decay() <= set(names)
    below_the_head = [name for layer in list(layers)[:-1] for name in layers[layer]]
    assert all(name.startswith("backbone.") for name in below_the_head)
    assert len(below_the_head) == len(list(network.backbone.parameters()))


def test_what_the_decode_needs_besides_is_no_output_of_the_network(model: Model) -> None:
    assert not model.network.decode_parameters().keys() & outputs_of(model, random_image()).keys()


@pytest.mark.parametrize("shape", [(1, 3, *SIZE), (2, 3, 96, 64)])
def test_openvino_gives_what_torch_gives(model: Model, shape: tuple[int, ...]) -> None:
    pytest.importorskip("openvino")
    image = random_image(shape[0], (shape[2], shape[3]))
    expected = build_engine(model.network, "torch", "cpu", "single")(image)
    outputs = build_engine(model.network, "openvino", precision="single")(image)
    assert outputs.keys() == expected.keys()
    for name, output in expected.items():
        torch.testing.assert_close(outputs[name], output, atol=1e-3, rtol=1e-3, msg=name)


def test_onnx_runtime_gives_what_torch_gives(model: Model) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    image = random_image(2)
    expected = outputs_of(model, image)
    graph = export_onnx(model.network, (2, 3, *SIZE))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == list(expected)
    assert all(isinstance(side, int) for output in session.get_outputs() for side in output.shape)  # static
    for name, value in zip(expected, session.run(None, {"image": image.numpy()}), strict=True):
        torch.testing.assert_close(torch.from_numpy(value), expected[name], atol=1e-3, rtol=1e-3, msg=name)


def test_engines_leave_the_network_as_and_where_it_was(model: Model) -> None:
    pytest.importorskip("openvino")
    network = model.network.train().to(memory_format=torch.contiguous_format)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for engine in ("torch", "openvino"):
        build_engine(network, engine, "cpu", "single")(random_image())
    assert network.training
    assert all(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.is_contiguous() for parameter in network.parameters())


def test_a_batch_equals_its_images_one_by_one(model: Model) -> None:
    image = random_image(3)
    outputs, thresholds = outputs_of(model, image), eager(model)
    together = model.decode(outputs, thresholds, (60, 120), with_semantics=True)
    for b in range(3):
        alone = outputs_of(model, image[b:b + 1])
        for name, output in alone.items():
            torch.testing.assert_close(outputs[name][b:b + 1], output, atol=1e-4, rtol=1e-4, msg=name)
        # The very outputs of the batch, since rounding may decide at edges.
        decoded = model.decode({name: output[b:b + 1] for name, output in outputs.items()}, thresholds, (60, 120),
                               with_semantics=True)
        assert torch.equal(decoded.segment_map[0], together.segment_map[b])
        for first, second in zip(columns(decoded, 0), columns(together, b), strict=True):
            assert torch.equal(first, second)


def columns(decoded: Decoded, image: int) -> list[Tensor]:
    rows = decoded.segments[image]
    found = [getattr(rows, row.name) for row in dataclasses.fields(rows)]
    maps = [values[image] for values in (decoded.depth, decoded.semantic_map) if values is not None]
    return [column for column in found if column is not None] + maps


def test_the_semantic_map_is_made_on_request_and_changes_nothing_else(model: Model) -> None:
    outputs = outputs_of(model, random_image(2))
    plain, asked = (model.decode(outputs, eager(model), (60, 120), with_semantics) for with_semantics in (False, True))
    assert plain.semantic_map is None
    assert asked.semantic_map is not None
    assert (asked.semantic_map.shape, asked.semantic_map.dtype) == ((2, 60, 120), torch.uint8)
    assert int(asked.semantic_map.max()) < len(CLASS_IS_THING)  # no void: every pixel has a likeliest class
    assert torch.equal(asked.segment_map, plain.segment_map)
    for b in range(2):
        for first, second in zip(columns(plain, b), columns(asked, b), strict=False):
            assert torch.equal(first, second)
    # No threshold changes it.
    high = {name: 1.0 for name in ("seed", "stuff", "score") if hasattr(model.thresholds, name)}
    strict = model.decode(outputs, dataclasses.replace(model.thresholds, **high), (60, 120), with_semantics=True)
    assert strict.semantic_map is not None
    assert torch.equal(strict.semantic_map, asked.semantic_map)


def test_the_decode_s_map_and_rows_say_the_same(model: Model) -> None:
    decoded = model.decode(outputs_of(model, random_image()), eager(model), (60, 120))
    segment_map, rows = decoded.segment_map[0], decoded.segments[0]
    assert segment_map.dtype == torch.int32
    assert segment_map.shape == (60, 120)
    assert len(rows) > 0
    assert rows.area.tolist() == torch.bincount(segment_map.flatten().long(), minlength=len(rows) + 1)[1:].tolist()
    assert (rows.area > 0).all()
    assert rows.is_thing.tolist() == torch.as_tensor(CLASS_IS_THING)[rows.class_id.long()].tolist()
    assert ((rows.score >= 0) & (rows.score <= 1)).all()
    for number, (x0, y0, x1, y1) in enumerate(rows.box.tolist(), 1):
        y, x = (segment_map == number).nonzero(as_tuple=True)
        assert (x0, y0, x1, y1) == (x.min(), y.min(), x.max() + 1, y.max() + 1)
    if rows.embedding is not None:
        length = rows.embedding.norm(dim=1)[rows.is_thing]  # stuff may have none
        torch.testing.assert_close(length, torch.ones_like(length))
    assert (decoded.depth is None) != model.predicts_depth
    if decoded.depth is not None:
        assert decoded.depth.shape == (1, 60, 120)
        assert (decoded.depth > 0).all()


def test_a_saved_model_is_the_same_model(model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.hyperparameters == model.hyperparameters
    assert loaded.thresholds == model.thresholds
    for name, value in model.network.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            assert torch.equal(loaded.network.state_dict()[name], value), name
        elif value.is_floating_point():
            assert torch.equal(loaded.network.state_dict()[name], value.half().float()), name
    again = tmp_path / "again"
    save_model(loaded, again)
    assert (again / "weights.safetensors").read_bytes() == (tmp_path / "model/weights.safetensors").read_bytes()


def test_averaged_over_its_mirror_image_an_image_and_its_mirror_image_give_the_same(model: Model) -> None:
    augmented = METHODS[model.method].test_time_augmentation
    if augmented is None:
        pytest.skip(f"{model.method} has no test-time augmentation")
    image, stride = random_image(), model.network.stride
    with torch.no_grad():
        plain, mirrored = (augmented(model.network, one, (1.0,), True, stride) for one in (image, image.flip(3)))
    for name in model.network.pixel_outputs:
        torch.testing.assert_close(plain[name], mirrored[name].flip(3), atol=1e-3, rtol=1e-3, msg=name)


@pytest.mark.parametrize("kind", ["street", "without things", "without anything"])
def test_the_loss_and_its_gradient_are_finite(model: Model, kind: str) -> None:
    class_map, instance_map = street()
    if kind != "street":
        instance_map.zero_()
        class_map[class_map > 1] = 0
    if kind == "without anything":
        class_map.fill_(255)
    objective = objective_of(model).train()
    terms = objective(random_image(2), batch_of(model, class_map, instance_map))
    assert terms.keys() > {"total"}
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values()), terms
    terms["total"].backward()
    gradients = [parameter.grad for parameter in model.network.parameters() if parameter.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    if kind == "street":
        assert any((gradient != 0).any() for gradient in gradients)


def test_an_objective_s_loss_falls_when_it_is_minimised(model: Model) -> None:
    torch.manual_seed(0)
    objective, batch, image = objective_of(model), batch_of(model, *street()), random_image(2)
    optimiser = torch.optim.Adam(model.network.parameters(), 3e-3)
    totals = []
    for _ in range(20):
        total = objective(image, batch)["total"]
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.9 * totals[0]


def test_a_table_without_things_and_one_without_stuff_can_be_decoded(model: Model) -> None:
    method = METHODS[model.method]
    for is_thing in ((False, False), (True, True)):
        network: Any = method.network(model.hyperparameters, is_thing).eval()
        with torch.no_grad():
            outputs = {**network(random_image()), **network.decode_parameters()}
        decoded = method.decode(outputs, torch.tensor(is_thing), eager(model), SIZE)
        assert decoded.segment_map.shape == (1, *SIZE)
        assert set(decoded.segments[0].is_thing.tolist()) <= {is_thing[0]}


def test_thresholds_have_a_range_and_a_description(model: Model) -> None:
    for row in dataclasses.fields(model.thresholds):
        assert row.metadata["description"]
        if isinstance(row.default, int | float) and not isinstance(row.default, bool):
            low, high = row.metadata["range"]
            assert low <= row.default <= high


def _on_the_cpu(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """torchvision's own, which makes a number without a device and sends it to that of the boxes."""
    def run(*args: Any) -> Tensor:
        with torch.device("cpu"):
            return operation(*args)
    return run


def test_nothing_is_made_on_another_device_than_the_inputs(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = {**outputs_of(model, random_image()),
               **{name: value.detach() for name, value in model.network.decode_parameters().items()}}
    method, is_thing, thresholds = METHODS[model.method], torch.tensor(CLASS_IS_THING), eager(model)
    batch = batch_of(model, *(maps[:1] for maps in street()))
    expected = method.decode(outputs, is_thing, thresholds, SIZE, True)
    monkeypatch.setattr("panoptic_ros.methods.dense_detections.boxes.batched_nms", _on_the_cpu(batched_nms))
    # Every tensor that is made without a device now has no memory, and cannot be mixed with those on the CPU.
    with torch.device("meta"):
        decoded = method.decode(outputs, is_thing, thresholds, SIZE, True)
    assert torch.equal(decoded.segment_map, expected.segment_map)
    assert decoded.segments[0].box.device.type == "cpu"
    if not has_loss_of_outputs(model):
        return
    objective = objective_of(model).eval()
    with torch.no_grad():
        trained = objective.network_outputs(random_image())
    terms = objective.loss(trained, batch)
    with torch.device("meta"):
        again = objective.loss(trained, batch)
    assert {name: float(term.detach()) for name, term in again.items()} == {
        name: float(term.detach()) for name, term in terms.items()}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_what_the_cpu_gives(model: Model) -> None:
    image, batch = random_image(), batch_of(model, *(maps[:1] for maps in street()))
    outputs = outputs_of(model, image)
    expected = model.decode(outputs, eager(model), SIZE)
    for name, output in build_engine(model.network, "torch", "cuda", "single")(image).items():
        torch.testing.assert_close(output.cpu(), outputs[name], atol=1e-3, rtol=1e-3, msg=name)
    moved = {name: output.cuda() for name, output in outputs.items()}
    decoded = model.decode(moved, eager(model), SIZE)
    assert decoded.segment_map.device.type == decoded.segments[0].box.device.type == "cuda"
    assert (decoded.segment_map.cpu() == expected.segment_map).float().mean() > 0.99  # rounding decides at the edges
    if not has_loss_of_outputs(model):
        return
    with torch.no_grad():
        trained = objective_of(model).cpu().network_outputs(image)
    terms = objective_of(model).eval().loss(trained, batch)
    objective = objective_of(model).eval().cuda()
    moved = {name: output.cuda() for name, output in trained.items()}
    for name, term in objective.loss(moved, move_data_to_device(batch, torch.device("cuda"))).items():
        torch.testing.assert_close(term.cpu(), terms[name], rtol=1e-3, atol=1e-4)
